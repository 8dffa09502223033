"""What a second featurizer brings: both drain the markets that one alone drains; the server works on the same cores.

It has jemalloc where that is installed (Debian: libjemalloc2), as the servers in the images of Redis and Valkey have.
The one from PyPI has glibc's malloc, with which it takes up to twice the processor time of what is measured here.
"""

import ctypes.util
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.backlog import CONFIG, seconds_to_drain, standing_before, with_end
from benchmarks.market_events import Event, Mix, market_events
from benchmarks.results import Aim, Measurement, Yardstick
from benchmarks.workbench import Workbench
from daedalus_common.leases import Role
from support.stack import Stack

SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT"]
_MIX = Mix(1000.0, 3)
_BURN = 4_000_000
_JEMALLOC = ctypes.util.find_library("jemalloc")


def measure(bench: Workbench) -> list[Measurement]:
    events = with_end(market_events(bench, bench.pick(short=8_000, full=50_000), _MIX))
    repeats = bench.pick(short=1, full=5)
    bound, one, two, machine = [], [], [], []
    malloc = "jemalloc" if _JEMALLOC else "glibc's malloc"
    for number in range(repeats):
        what = f"one and two featurizers drain {len(SYMBOLS)} x {len(events):,} events from a server with {malloc}"
        bench.say(f"{what}, {number + 1} of {repeats}")
        bound.append(_rate(bench, events, replicas=1, cores=1))
        one.append(_rate(bench, events, replicas=1, cores=2))
        two.append(_rate(bench, events, replicas=2, cores=2))
        machine.append(_machine_gain())
    return [
        Measurement(
            f"two featurizers and the server ({malloc}) on two cores", median(two), "events/s",
            Yardstick(median(bound), "/s, one and the server on one core"), Aim(1.7, "at least", "ratio"),
        ),
        Measurement("…the same", median(two), "events/s", Yardstick(median(one), "/s, one on the same two cores")),
        Measurement("…two processes that only compute, against one", median(machine), "x"),
    ]  # fmt: skip


def _rate(bench: Workbench, events: Sequence[Event], replicas: int, cores: int) -> float:
    with (
        bench.folder() as folder,
        _stack(folder) as stack,
        standing_before(stack, Role.FEATURIZER, events, replicas) as services,
    ):
        for pid in (stack.valkey.pid, *(service.pid for service in services)):
            _keep_on(cores, pid)
        seconds = seconds_to_drain(stack, services, Role.FEATURIZER, left=1)
    return len(SYMBOLS) * len(events) / seconds


def _stack(folder: Path) -> Stack:
    stack = Stack(folder, _config())
    if _JEMALLOC:
        stack.valkey.env["LD_PRELOAD"] = _JEMALLOC
    return stack


def _keep_on(cores: int, pid: int) -> None:
    """The process, with all threads that it has, on so many of the cores that this one may use."""
    ours = sorted(os.sched_getaffinity(0))[:cores]
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, ours)


def _config() -> dict[str, Any]:
    channels = {"watchOrderBook": SYMBOLS, "watchTrades": SYMBOLS}
    return CONFIG | {"ccxt": {"exchanges": {"binanceus": {"channels": channels}}}}


def _machine_gain() -> float:
    """How much more two processes compute than one here, with whatever else the machine does: the most to hope for."""
    return 2 * _burn(1) / _burn(2)


def _burn(count: int) -> float:
    context = multiprocessing.get_context("spawn")
    began = time.perf_counter()
    processes = [context.Process(target=_count_up) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return time.perf_counter() - began


def _count_up() -> None:
    total = 0
    for number in range(_BURN * 5):
        total += number
