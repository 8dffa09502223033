"""Milliseconds through the pipeline on a synthetic run with the default settings.

Exchange to stream: from an update's event time, which the simulator stamps just before it sends, to the entry's id.
Grid to Silver: from a row's timestamp, the end of its second, to the id of its entry in the Silver stream. Both clocks
are this machine's and count whole milliseconds. A row waits for the market's first event after its second ends.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.results import Measurement
from benchmarks.workbench import Workbench
from support.offline import bronze
from support.stack import Stack

SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
CONFIG: dict[str, Any] = {
    "ccxt": {
        "exchanges": {
            "binanceus": {"channels": {"watchOrderBook": SYMBOLS, "watchTrades": SYMBOLS, "watchTicker": SYMBOLS}}
        }
    }
}
STARTING_MS = 3_000
"""After a market's first entry: the snapshots of all markets are parsed in this time."""
_TIMESTAMP_OF_ROW = slice(8, 16)


def measure(bench: Workbench) -> list[Measurement]:
    seconds = bench.pick(short=12, full=60)
    bench.say(f"{len(SYMBOLS)} synthetic markets through all services for {seconds} s")
    with bench.folder() as folder, Stack(folder, CONFIG) as stack:
        for name in ("writer", "featurizer"):
            stack.start(name)
        for market in _names():
            stack.wait_for_featurizer([market])
        stack.simulate("--symbols", *SYMBOLS, "--seed", "1")
        stack.start("ingestor")
        stack.wait_until(lambda: all(_silver_delays(stack, market).size for market in _names()), "rows come", 60)
        time.sleep(seconds)
        to_silver = np.concatenate([_silver_delays(stack, market) for market in _names()])
        stack.stop_in_order()
        to_stream = np.concatenate([_stream_delays(stack.data, table) for table in ("orderbook", "trades")])
    return [
        *_percentiles("latency, exchange to stream", to_stream),
        *_percentiles("latency, grid end to Silver entry", to_silver),
    ]


def _names() -> list[str]:
    return [f"binanceus:{symbol.replace('/', '-')}" for symbol in SYMBOLS]


def _stream_delays(data: Path, table: str) -> NDArray[np.float64]:
    events = bronze(data, table).filter(pl.col("stream_ms") > pl.col("stream_ms").min().over("symbol") + STARTING_MS)
    delays = events.select(pl.col("stream_ms") - pl.col("exchange_ts").dt.epoch("ms")).to_series()
    return np.array(delays.drop_nulls().to_list(), dtype=np.float64)


def _silver_delays(stack: Stack, market: str) -> NDArray[np.float64]:
    with stack.client() as client:
        entries = client.xrange(f"{{{market}}}:silver")
    ends = [int.from_bytes(fields[b"p"][_TIMESTAMP_OF_ROW], "little") / 1e6 for _, fields in entries]
    return np.array([int(id_.split(b"-")[0]) for id_, _ in entries], dtype=np.float64) - np.array(
        ends, dtype=np.float64
    )


def _percentiles(what: str, delays: NDArray[np.float64]) -> list[Measurement]:
    return [
        Measurement(f"{what}, p{percent} of {delays.size:,}", float(np.percentile(delays, percent)), "ms")
        for percent in (50, 99)
    ]
