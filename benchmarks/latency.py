"""Milliseconds through the pipeline on a synthetic run with the default settings.

Exchange to stream: from an update's event time, which the simulator stamps just before it sends, to the entry's id.
Grid to Silver: from a row's timestamp, the end of its second, to the id of its entry in the Silver stream. Both clocks
are this machine's and count whole milliseconds. A row waits for the market's first event after its second ends: the
last line is without that wait.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.results import Measurement
from benchmarks.workbench import Workbench
from daedalus_common.broker import keys
from daedalus_common.markets import Market
from support.offline import bronze, recorded_events
from support.stack import Stack

SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
CONFIG: dict[str, Any] = {
    "ccxt": {
        "exchanges": {
            "binanceus": {"channels": {"watchOrderBook": SYMBOLS, "watchTrades": SYMBOLS, "watchTicker": SYMBOLS}}
        }
    }
}
_TIMESTAMP_OF_ROW = slice(8, 16)
RATES = ("--depth-rate", "15", "--depth-interval-ms", "0", "--trade-rate", "5")
"""A second and market, at random moments: gathered updates would come at the same moment of every second."""
STARTING_MS = 3_000
"""After a market's first entry: the snapshots of all markets are parsed in this time."""


@dataclass(frozen=True, slots=True)
class SilverRows:
    """One market's rows: their timestamps in ns, and when their entries came into the stream, in ms."""

    timestamp: NDArray[np.int64]
    entry_ms: NDArray[np.int64]


def measure(bench: Workbench) -> list[Measurement]:
    seconds = bench.pick(short=6, full=60)
    bench.say(f"{len(SYMBOLS)} synthetic markets through all services for {seconds} s")
    markets = [Market("binanceus", symbol) for symbol in SYMBOLS]
    with bench.folder() as folder, Stack(folder, CONFIG) as stack:
        for name in ("writer", "featurizer"):
            stack.start(name)
        stack.wait_for_featurizer([market.name for market in markets])
        stack.simulate("--symbols", *SYMBOLS, "--seed", "1", *RATES)
        stack.start("ingestor")
        stack.wait_until(lambda: all(len(_silver(stack, market).entry_ms) for market in markets), "rows come", 60)
        time.sleep(seconds)
        rows = {market: _silver(stack, market) for market in markets}
        stack.stop_in_order()
        to_stream = [_stream_delays(stack.data, table) for table in ("orderbook", "trades")]
        made_due = [_delays_since_due(stack.data, market, rows[market]) for market in markets]
    to_silver = [each.entry_ms - each.timestamp / 1e6 for each in rows.values()]
    return [
        *_percentiles("latency, exchange to stream", np.concatenate(to_stream)),
        *_percentiles("latency, grid end to Silver entry", np.concatenate(to_silver)),
        *_percentiles("…from the event that makes the row due", np.concatenate(made_due)),
    ]


def _stream_delays(data: Path, table: str) -> NDArray[np.float64]:
    events = bronze(data, table).filter(pl.col("stream_ms") > pl.col("stream_ms").min().over("symbol") + STARTING_MS)
    delays = events.select(pl.col("stream_ms") - pl.col("exchange_ts").dt.epoch("ms")).to_series()
    return np.array(delays.drop_nulls().to_list(), dtype=np.float64)


def _silver(stack: Stack, market: Market) -> SilverRows:
    with stack.client() as client:
        entries = client.xrange(keys.stream(market, keys.SILVER))
    entries = [(id_, fields) for id_, fields in entries if fields[b"c"] == b"orderbook"]
    timestamps = [int.from_bytes(fields[b"p"][_TIMESTAMP_OF_ROW], "little") for _, fields in entries]
    entry_ms = [int(id_.split(b"-")[0]) for id_, _ in entries]
    return SilverRows(np.array(timestamps, dtype=np.int64), np.array(entry_ms, dtype=np.int64))


def _delays_since_due(data: Path, market: Market, rows: SilverRows) -> NDArray[np.float64]:
    """Milliseconds since the first event at or after each row's timestamp was captured."""
    ts = recorded_events(data, market.partition).ts
    return np.array(rows.entry_ms - ts[np.searchsorted(ts, rows.timestamp)] / 1e6, dtype=np.float64)


def _percentiles(what: str, delays: NDArray[np.float64]) -> list[Measurement]:
    return [
        Measurement(f"{what}, p{percent} of {delays.size:,}", float(np.percentile(delays, percent)), "ms")
        for percent in (50, 99)
    ]
