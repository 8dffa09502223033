"""Batch: Bronze to Silver on one core, in two processes, and the memory it takes however long the history is.

The command is run as a user runs it; the CPU of a dry run, which starts and lists as it does, is taken off.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import plain_pandas
from benchmarks.bronze_history import History, bronze_history
from benchmarks.results import Aim, CheckFailed, Measurement, Yardstick
from benchmarks.workbench import Workbench
from daedalus_common.markets import Market

LEVELS = 20
BUSY, REAL = 100.0, 10.0
"""Book updates a second: of a busy market, and of Binance's stream, one each 100 ms."""
_LOOK_SECONDS = 0.02
LISTS = ["bid_price", "bid_size", "ask_price", "ask_size"]
BTC, ETH = (Market("binanceus", symbol) for symbol in ("BTC/USDT", "ETH/USDT"))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command: its time, and the CPU and the largest memory of the process."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    rows: int


def measure(bench: Workbench) -> list[Measurement]:
    found: list[Measurement] = []
    counts = {BUSY: bench.pick(short=120_000, full=720_000), REAL: bench.pick(short=60_000, full=360_000)}
    for per_second, books in counts.items():
        with bench.folder() as folder:
            bench.say(f"{per_second:g} updates/s: making {books:,} books of {LEVELS} levels")
            history = bronze_history(bench, folder / "in", [BTC], books=books, per_second=per_second, levels=LEVELS)
            found += _rates(bench, folder, history)
    found += _two_workers(bench)
    found += _memory(bench)
    return found


def _rates(bench: Workbench, folder: Path, history: History) -> list[Measurement]:
    repeats = bench.pick(short=1, full=3)
    decoding = median(_decode_rate(history) for _ in range(repeats))
    etl(folder, "warm-up", "orderbook")  # bytecode, page cache
    idle = median(etl(folder, f"idle-{number}", "orderbook", "--dry-run").cpu_seconds for number in range(3))
    runs = [etl(folder, f"run-{number}", "orderbook") for number in range(repeats)]
    busy = median(run.cpu_seconds for run in runs) - idle
    if busy <= 0:
        raise CheckFailed(f"a run took no more CPU than a dry run, {idle:.2f} s")
    rate = history.books / busy
    bench.say(f"plain pandas on {history.sample.name}")
    pace = f"{history.per_second:g} updates/s"
    everything = f"Bronze to Silver, all order-book columns, {pace}"
    return [
        Measurement(everything, rate, "updates/s", None, Aim(150_000, "at least", "value")),
        Measurement(
            f"the same against decoding the lists, {pace}",
            rate,
            "updates/s",
            Yardstick(decoding, "updates/s, decoding alone"),
            Aim(0.45, "at least", "ratio"),
        ),
        Measurement(
            f"the same against plain pandas, {pace}",
            rate,
            "updates/s",
            Yardstick(_pandas_rate(history), "updates/s, most columns in plain pandas"),
        ),
    ]


def _decode_rate(history: History) -> float:
    """Books a second of reading their four list columns, on one core."""
    pa.set_cpu_count(1)
    began = time.process_time()
    books = sum(len(pq.ParquetFile(path).read(columns=LISTS, use_threads=False)) for path in history.files)
    if books != history.books:
        raise CheckFailed(f"{books} books in the files, {history.books} written")
    return books / (time.process_time() - began)


def _pandas_rate(history: History) -> float:
    """Books a second of the sketch on one segment."""
    books: int = pq.read_metadata(history.sample).num_rows
    began = time.process_time()
    rows = plain_pandas.orderbook_rows(history.sample)
    if not len(rows):
        raise CheckFailed("the pandas sketch gives no rows")
    return books / (time.process_time() - began)


def _two_workers(bench: Workbench) -> list[Measurement]:
    """Against two commands of one market each, started together: what the machine itself has to give."""
    with bench.folder() as folder:
        books = bench.pick(short=90_000, full=900_000)
        bench.say(f"two markets of {books:,} books, with one worker and with two")
        bronze_history(bench, folder / "in", [BTC, ETH], books=books, per_second=REAL, levels=LEVELS)
        etl(folder, "warm-up", "all", "--limit", "1000")
        runs = [_together_and_apart(folder, number) for number in range(bench.pick(short=1, full=3))]
    speed_up, limit = (median(each) for each in zip(*runs, strict=True))
    aim = None if (os.cpu_count() or 1) < 2 else Aim(1.7, "at least", "value")
    yardstick = Yardstick(limit, "×, two commands at once, of one market each")
    return [Measurement("speed-up with two workers, two markets, all tables", speed_up, "×", yardstick, aim)]


def _together_and_apart(folder: Path, number: int) -> tuple[float, float]:
    """How much faster two workers are than one, and two commands at once than one after the other."""
    one = etl(folder, f"one-{number}", "all", "--workers", "1").wall_seconds
    two = etl(folder, f"two-{number}", "all", "--workers", "2").wall_seconds
    alone = [
        etl(folder, f"alone-{number}-{m.symbol[:3]}", "all", "--symbol", m.symbol).wall_seconds for m in (BTC, ETH)
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        at_once = [
            pool.submit(etl, folder, f"at-once-{number}-{market.symbol[:3]}", "all", "--symbol", market.symbol)
            for market in (BTC, ETH)
        ]
        for each in at_once:
            each.result()
    return one / two, sum(alone) / (time.perf_counter() - began)


def _memory(bench: Workbench) -> list[Measurement]:
    """A day of 86,400 s at a slow pace, and ten of them (short: a tenth of the books)."""
    per_second = bench.pick(short=0.1, full=1.0)
    peaks = {}
    for days in (1, 10):
        with bench.folder() as folder:
            books = int(days * 86_400 * per_second)
            bench.say(f"the peak memory of a backfill of {days} day{'s' if days > 1 else ''}, {books:,} books")
            bronze_history(bench, folder / "in", [BTC], books=books, per_second=per_second, levels=LEVELS)
            peaks[days] = etl(folder, "run", "all").peak_bytes / 1e6
    return [
        Measurement(
            "peak memory of a ten-day backfill",
            peaks[10],
            "MB",
            Yardstick(peaks[1], "MB, of one day"),
            Aim(1.2, "at most", "ratio"),
        )
    ]


def etl(folder: Path, name: str, targets: str, *arguments: str) -> Run:
    """`daedalus etl run` from `in` below the folder to `out-NAME`."""
    output, state = folder / f"out-{name}", folder / f"state-{name}"
    command = [sys.executable, "-m", "daedalus", "etl", "run", targets, "--json", "--input", str(folder / "in")]
    command += ["--output", str(output), "--state-dir", str(state), *arguments]
    began = time.perf_counter()
    log, said = folder / f"{name}.log", folder / f"{name}.json"
    peak_bytes = 0
    with log.open("wb") as errors, said.open("wb") as report:
        process = subprocess.Popen(command, stdout=report, stderr=errors)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            peak_bytes = max(peak_bytes, _peak_bytes(process.pid))
            time.sleep(_LOOK_SECONDS)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise CheckFailed(f"etl run exits with {process.returncode}: {log.read_text()[-500:]}")
    rows = 0
    with suppress(KeyError):
        rows = sum(market["rows"] for market in json.loads(said.read_bytes())["markets"])
    if not rows and "--dry-run" not in arguments:
        raise CheckFailed("etl run wrote no rows")
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak_bytes, rows)


def _peak_bytes(pid: int) -> int:
    """Of a running process, from Linux; what `wait4` tells includes the parent's memory at the time of the fork."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    return 0
