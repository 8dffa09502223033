"""The whole real recording through every service, many times as fast: is Bronze right, and how large is it?

The size is that of the order-book objects. A flush each 5 s at 30 times the pace makes files of 150 s of the market;
what files of other lengths would take is measured by writing the same rows anew.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.bronze_files import read_rows
from benchmarks.results import Measurement, Yardstick
from benchmarks.workbench import Workbench, seconds_until
from daedalus_common.broker.keys import RAW
from daedalus_common.config import parse_config
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.objects import Draft
from daedalus_common.parquet.stored_rows import StoredRows
from daedalus_common.tables import BRONZE
from daedalus_writer.settings import settings_from
from support.recording import SYMBOLS, check_market, files_of, frames, partition_of, tape_of
from support.stack import Stack

CONFIG: dict[str, Any] = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": [*SYMBOLS], "watchTrades": [*SYMBOLS]}}}}
}
GZIP_LEVEL = 6
FILE_LENGTHS = {"at 5 s of the market a file": 5_000, "at 60 s a file": 60_000, "all in one file": 10**9}
"""In ms of the exchange's time."""


def measure(bench: Workbench) -> list[Measurement]:
    shared_data = bench.recordings().parent
    speed = bench.pick(short=60, full=30)
    paths = {symbol: files_of(shared_data, symbol) for symbol in SYMBOLS}
    with bench.folder() as folder, Stack(folder, CONFIG) as stack:
        _replay(bench, stack, [path for both in paths.values() for path in both], speed)
        bench.say("comparing Bronze with the recording, Silver and Gold with Bronze")
        confirmed = sum(check_market(stack.data, partition_of(symbol), tape_of(paths[symbol])) for symbol in SYMBOLS)
        bench.say("weighing")
        books = {symbol: _objects(stack.data, symbol) for symbol in SYMBOLS}
        compression = settings_from(parse_config(stack.config)).compression
        size = sum(path.stat().st_size for found in books.values() for path in found)
        rows = {symbol: read_rows(found) for symbol, found in books.items()}
    updates = sum(len(table) for table in rows.values())
    gzipped = sum(_gzip_size(paths[symbol], table["nonce"][0].as_py()) for symbol, table in rows.items())
    yardstick = Yardstick(gzipped / updates, f"B, gzip -{GZIP_LEVEL} of the raw frames")
    lines = [
        Measurement("recording: real book updates in Bronze, once and in order", updates, ""),
        Measurement("…books whose top a bookTicker confirms", confirmed, ""),
        Measurement(f"…Bronze bytes per update of 50 levels, {5 * speed} s a file", size / updates, "B", yardstick),
    ]
    for what, length_ms in FILE_LENGTHS.items():
        weighed = sum(_size(symbol, table, length_ms, compression) for symbol, table in rows.items())
        lines.append(Measurement(f"…{what}", weighed / updates, "B", yardstick))
    return lines


def _replay(bench: Workbench, stack: Stack, paths: Sequence[Path], speed: int) -> None:
    bench.say(f"both symbols at {speed}×")
    for name in ("writer", "featurizer"):
        stack.start(name)
    stack.wait_until(lambda: stack.lag("binanceus:ETH-USDT", "raw", "featurizer") == 0, "featurizer is there")
    simulator = stack.simulate(
        "--replay", *(str(path) for path in paths), "--speed", str(speed), "--await-subscriptions", "4"
    )
    stack.start("ingestor")
    seconds_until(lambda: bool(simulator.status()["done"]), "the tape ends", 120, 0.1)
    stack.stop_in_order()


def _objects(data: Path, symbol: str) -> list[Path]:
    return sorted(data.glob(f"bronze/ccxt/orderbook/{partition_of(symbol)}/**/*.parquet"))


def _gzip_size(paths: Sequence[Path], first_update: int) -> int:
    """Bytes of the recorded depth frames, a line each, as one gzip stream."""
    compressor = zlib.compressobj(GZIP_LEVEL, wbits=31)
    size = 0
    for line in _depth_lines(paths, first_update):
        size += len(compressor.compress(line))
    return size + len(compressor.flush())


def _depth_lines(paths: Sequence[Path], first_update: int) -> Iterable[bytes]:
    for frame in frames(paths):
        if frame.get("e") == "depthUpdate" and frame["u"] >= first_update:
            yield json.dumps(frame, separators=(",", ":")).encode() + b"\n"


def _size(symbol: str, table: Any, length_ms: int, compression: Compression) -> int:
    """Bytes of the objects that the writer makes of the rows, one for each `length_ms` of the exchange's time."""
    # A book that came as a snapshot has no time of the exchange.
    times = pc.fill_null_backward(table["exchange_ts"].cast(pa.int64())).to_numpy()
    files = (times - times[0]) // length_ms
    bounds = [0, *(np.flatnonzero(np.diff(files)) + 1).tolist(), len(table)]
    parts = (table.slice(start, end - start) for start, end in pairwise(bounds))
    market = Market("binanceus", symbol)
    return sum(_weigh(part, market, compression) for part in parts)


def _weigh(part: Any, market: Market, compression: Compression) -> int:
    """Bytes of the object that the writer makes of these rows."""
    keys = np.column_stack([part[name].to_numpy() for name in ("stream_ms", "stream_seq", "seq")])
    table = BRONZE["orderbook"]
    draft = Draft(table, "", compression)
    draft.add(StoredRows(table, part, keys))
    return len(draft.finished(market, {"stream": RAW})[0])
