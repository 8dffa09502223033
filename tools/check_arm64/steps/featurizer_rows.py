"""Computes features of made-up events as the featurizer does, entry by entry and step by step, and keeps the rows.

    featurizer_rows.py FILE

Runs in the emulated machine and on this one; the events are the same on both, to the last bit. FILE is a msgpack of
(layer, table, columns as JSON, packed rows) for each table.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from daedalus_common.batches import RawEntry
from daedalus_common.broker.steps import StoredState
from daedalus_common.entries import encode
from daedalus_common.events import Book, Event, Genesis, Heartbeat, Ticker, Trade
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_features import FeatureConfig
from daedalus_featurizer.market_work import MarketWork
from daedalus_featurizer.row_schemas import row_schemas
from daedalus_featurizer.stored_state import restore

EVENTS = 1_500
START = 1_770_000_000_000_000_000
MS = 1_000_000
LEVELS = 20
# Small windows and bars, so that two minutes of events fill every table.
PARAMS = FeatureConfig(
    rolling_windows=(5, 15, 60), bar_durations=(10, 60), kyle_window=25, regime_window=45, vpin_bucket_size=2.0,
    vpin_buckets=8, tick_bar_size=20, volume_bar_size=10.0, dollar_bar_size=1_000.0, imbalance_bar_ticks=10,
    imbalance_bar_span=20, imbalance_bar_min_ticks=4, imbalance_bar_max_ticks=40,
)  # fmt: skip


def main(file: Path) -> int:
    rows = computed(entries())
    schemas = {(schema.layer, schema.table): schema for schema in row_schemas(PARAMS)}
    kept = [(layer, table, msgspec.json.encode(schemas[layer, table]), rows[layer, table]) for layer, table in rows]
    file.write_bytes(msgspec.msgpack.encode(kept))
    print(f"{EVENTS} events, {sum(map(len, rows.values()))} rows of {len(rows)} tables, numpy {np.__version__}")
    return 0 if len(rows) == len(schemas) else 1


def computed(waiting: list[RawEntry]) -> dict[tuple[str, str], list[bytes]]:
    """The packed rows by layer and table. Between steps the state goes through the bytes that Redis would keep."""
    lease = Lease(Market("binanceus", "BTC/USDT"), 1, "token")
    cursor, stored, rows = "0-0", StoredState(None, None, ()), dict[tuple[str, str], list[bytes]]()
    while waiting:
        work = MarketWork(lease, PARAMS, cursor, restore(stored))
        work.accept(waiting[:200], 0.0)
        taken = work.step(work.due(10.0, commit_after=5.0, max_entries=200, max_rows=50))
        if taken.foreign:
            raise RuntimeError(f"foreign entries in a step: {taken}")
        step = taken.step
        kept = (*stored.history, *step.history)[-step.keep_history :] if step.keep_history else ()
        stored = StoredState(None, step.hot, kept)
        cursor = step.to_id
        for row in step.rows:
            rows.setdefault((row.layer, row.table), []).append(row.payload)
        waiting = waiting[step.entries :]
    return rows


def entries() -> list[RawEntry]:
    """As redis-py returns them."""
    return [
        (b"%d-0" % seq, {b"g": b"0", b"s": b"%d" % seq, b"t": b"%d" % event.capture_ts, b"e": encode(event)})
        for seq, event in enumerate(events(random.Random(5)), start=1)
    ]


def events(chance: random.Random) -> Iterator[Event]:
    """About 12 a second: a price that wanders, books around it, trades on both sides, a ticker now and then."""
    ts, price = START, 100.0
    yield Genesis(ts, "made-up", PARAMS.to_json())
    for number in range(EVENTS):
        ts += chance.randrange(20, 140) * MS
        price += chance.choice((-0.02, -0.01, 0.0, 0.01, 0.02))
        kind = chance.random()
        if kind < 0.6:
            yield Book(ts, ts // MS, number, side(chance, price, -0.01), side(chance, price, 0.01))
        elif kind < 0.9:
            bought = chance.random() < 0.5
            size = chance.uniform(0.1, 2.0)
            yield Trade(ts, ts // MS, str(number), price + 0.01 * bought, size, "buy" if bought else "sell")
        elif kind < 0.98:
            day = (price, 99.0, 101.0, 98.0, 100.0, 1_000.0, 100_000.0)
            yield Ticker(ts, ts // MS, price - 0.01, 1.0, price + 0.01, 1.0, *day)
        else:
            yield Heartbeat(ts)


def side(chance: random.Random, price: float, tick: float) -> tuple[tuple[float, float], ...]:
    return tuple((price + tick * (level + 1), chance.uniform(0.1, 5.0)) for level in range(LEVELS))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
