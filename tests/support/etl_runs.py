"""Recorded histories for batch to read, what it should make of them, and the command as a process."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from daedalus_common.batches import decode_batch
from daedalus_common.entries import encode
from daedalus_common.events import Event, Genesis, Ticker
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from daedalus_features import FeatureConfig, Rows, advance
from daedalus_featurizer.decoding import events_of
from support.bronze import BronzeBuilder
from support.market_events import market_events

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("binanceus", "ETH/USDT")
DAY_SECONDS = 86_400
PARAMS = FeatureConfig(rolling_windows=(5, 60), tick_bar_size=20, volume_bar_size=2.0, dollar_bar_size=500.0)
AN_HOUR_AGO = 3600.0


@dataclass(frozen=True)
class History:
    """A market's events in their order, with the genesis first."""

    market: Market
    events: tuple[Event, ...]


def history(market: Market = BTC, seed: int = 1, *, days: float = 3.0, count: int = 3000) -> History:
    """`count` events evenly over some days: books, trades, gaps, heartbeats, and a ticker now and then."""
    made = market_events(seed, count, rate_per_second=count / (days * DAY_SECONDS), levels=10)
    events: list[Event] = [Genesis(made[0].capture_ts, f"genesis-{seed}", PARAMS.to_json())]
    for number, event in enumerate(made):
        events.append(event)
        if number % 25 == 0:
            events.append(_ticker(event.capture_ts, 100.0 + number / 1000))
    return History(market, tuple(events))


def write_history(folder: Path, *histories: History, flush: timedelta | None = None, settled: bool = True) -> list[str]:
    """Bronze of these histories; the keys. `settled`: as if it had been written an hour ago."""
    keys: list[str] = []
    for each in histories:
        keys += BronzeBuilder(LocalDisk(folder, fsync=False), each.market, flush).write(each.events)
    if settled:
        settle(folder)
    return keys


def settle(folder: Path) -> None:
    """As if all objects had been written an hour ago."""
    then = time.time() - AN_HOUR_AGO
    for path in folder.rglob("*.parquet"):
        os.utime(path, (then, then))


def expected(history: History) -> dict[str, pl.DataFrame]:
    """Its tables by name, such as `silver/trades`, computed at one go."""
    fields = []
    ts = 0
    for seq, event in enumerate(history.events, start=1):
        ts = max(ts, event.capture_ts)
        fields.append((b"%d-%d" % (seq, 0), {b"e": encode(event), b"g": b"0", b"s": b"%d" % seq, b"t": b"%d" % ts}))
    tables: dict[str, list[Rows]] = {}
    for rows in advance(None, events_of(decode_batch(fields))).rows:
        tables.setdefault(f"{rows.table.layer}/{rows.table.name}", []).append(rows)
    return {name: _frame(rows) for name, rows in tables.items()}


def stored(output: Path, market: Market, table: str) -> pl.DataFrame:
    """The rows of one table in the order of their `seq`: `timestamp` as ns, and the columns as floats."""
    paths = sorted((output / table).rglob(f"{market.partition}/**/*.parquet"))
    frame = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths], how="diagonal_relaxed")
    assert frame["seq"].is_unique().all()
    return frame.sort("seq")


def assert_holds(output: Path, history: History, tables: Sequence[str] | None = None) -> None:
    """Fails where a row of a table is missing, double, out of order or different."""
    for name, rows in expected(history).items():
        if tables is not None and name not in tables:
            continue
        found = stored(output, history.market, name)
        assert found["timestamp"].cast(pl.Int64).to_list() == rows["timestamp"].to_list(), name
        assert found["seq"].to_list() == list(range(1, rows.height + 1)), name
        for column in (column for column in rows.columns if column != "timestamp"):
            if found[column].dtype in (pl.String, pl.Categorical):
                continue
            np.testing.assert_allclose(
                found[column].cast(pl.Float64).to_numpy(),
                rows[column].to_numpy(),
                rtol=1e-9,
                atol=1e-12,
                err_msg=column,
            )


def parts(output: Path) -> list[str]:
    """The keys of all parts, sorted."""
    return sorted(path.relative_to(output).as_posix() for path in output.rglob("*.parquet"))


class EtlProcess:
    """`daedalus etl …` that runs beside the test."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "daedalus", "etl", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ended(self, seconds: float = 60.0) -> tuple[int, str, str]:
        """The exit code and what it wrote."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def _ticker(ts: int, price: float) -> Ticker:
    spread = 0.01
    return Ticker(
        ts, ts // 1_000_000, price - spread, 1.0, price + spread, 2.0, price, 99.0, 101.0, 98.0, None, 1000.0, None
    )


def _frame(rows: list[Rows]) -> pl.DataFrame:
    values = np.concatenate([each.values for each in rows])
    columns = {column.name: values[:, place] for place, column in enumerate(rows[0].table.columns)}
    return pl.DataFrame({"timestamp": np.concatenate([each.timestamp for each in rows]), **columns})
