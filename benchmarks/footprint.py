"""What each process takes while it records 10 markets × 3 channels at about 20 events a second a market."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.results import Measurement
from benchmarks.workbench import Workbench, seconds_until
from support.stack import Simulator, Stack

SYMBOLS = [f"{base}/USDT" for base in ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "AVAX", "DOT", "LTC")]
CONFIG: dict[str, Any] = {
    "ccxt": {
        "exchanges": {
            "binanceus": {"channels": {"watchOrderBook": SYMBOLS, "watchTrades": SYMBOLS, "watchTicker": SYMBOLS}}
        }
    }
}
RATES = ("--depth-rate", "60", "--trade-rate", "9")
"""Ten depth updates a second (gathered each 100 ms), nine trades and a ticker."""
WARM_UP_SECONDS = 5.0
DAY_SECONDS = 86_400
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment: CPU seconds by process, events sent, bytes of the append-only file."""

    at: float
    cpu_seconds: Mapping[str, float]
    events: int
    aof_bytes: int


def measure(bench: Workbench) -> list[Measurement]:
    seconds = bench.pick(short=8, full=60)
    with bench.folder() as folder, Stack(folder, CONFIG) as stack:
        processes = {"valkey": psutil.Process(stack.valkey.pid)}
        processes |= {name: stack.start(name).usage for name in ("writer", "featurizer")}
        for symbol in SYMBOLS:
            market = f"binanceus:{symbol.replace('/', '-')}"
            stack.wait_for_featurizer([market])
        simulator = stack.simulate("--symbols", *SYMBOLS, "--seed", "1", *RATES)
        processes["ingestor"] = stack.start("ingestor").usage
        seconds_until(lambda: len(simulator.status()["subscriptions"]) == 3 * len(SYMBOLS), "all flow", 90, 0.2)
        time.sleep(WARM_UP_SECONDS)
        bench.say(f"{len(SYMBOLS)} markets, {seconds} s")
        before = _reading(stack, simulator, processes)
        time.sleep(seconds)
        after = _reading(stack, simulator, processes)
        rss = {name: process.memory_info().rss for name, process in processes.items()}
        bench.say("rewriting the append-only file")
        rewritten = _rewritten_bytes(stack)
        stack.stop_in_order()
    return [*_lines(before, after, rss), Measurement("…append-only file after a rewrite", rewritten / _MB, "MB")]


def _lines(before: Reading, after: Reading, rss: Mapping[str, int]) -> list[Measurement]:
    seconds = after.at - before.at
    lines = [
        Measurement(
            f"footprint: events a market, {len(SYMBOLS)} markets × 3 channels",
            (after.events - before.events) / seconds / len(SYMBOLS),
            "/s",
        )
    ]
    for name, size in rss.items():
        cpu = (after.cpu_seconds[name] - before.cpu_seconds[name]) / seconds
        lines.append(Measurement(f"…{name}: RSS", size / _MB, "MB"))
        lines.append(Measurement(f"…{name}: CPU", 100 * cpu, "% of a core"))
    grown = (after.aof_bytes - before.aof_bytes) / seconds * DAY_SECONDS
    return [*lines, Measurement("…append-only file: written a day", grown / 1e9, "GB")]


def _reading(stack: Stack, simulator: Simulator, processes: Mapping[str, psutil.Process]) -> Reading:
    cpu = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
    symbols = simulator.ledger(ids=False)["symbols"].values()
    events = sum(channel["sent"] for symbol in symbols for channel in symbol["channels"].values())
    return Reading(time.monotonic(), cpu, events, _aof(stack)["aof_current_size"])


def _rewritten_bytes(stack: Stack) -> int:
    with stack.client() as client:
        client.bgrewriteaof()
    time.sleep(0.5)
    seconds_until(lambda: not _aof(stack)["aof_rewrite_in_progress"], "the file is rewritten", 60, 0.1)
    return int(_aof(stack)["aof_current_size"])


def _aof(stack: Stack) -> Any:
    with stack.client() as client:
        return client.info("persistence")
