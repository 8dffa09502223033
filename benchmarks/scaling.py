"""What a second featurizer brings: both drain the same markets that one alone drains, on all cores of the machine."""

import multiprocessing
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.backlog import CONFIG, seconds_to_drain, standing_before, with_end
from benchmarks.market_events import Event, Mix, market_events
from benchmarks.results import Aim, Measurement, Yardstick
from benchmarks.workbench import Workbench
from daedalus_common.leases import Role
from support.stack import Stack

SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT"]
_MIX = Mix(1000.0, 3)
_BURN = 4_000_000


def measure(bench: Workbench) -> list[Measurement]:
    events = with_end(market_events(bench, bench.pick(short=8_000, full=25_000), _MIX))
    repeats = bench.pick(short=1, full=7)
    one, two, gains, machine = [], [], [], []
    for number in range(repeats):
        bench.say(f"one and two featurizers drain {len(SYMBOLS)} x {len(events):,} events, {number + 1} of {repeats}")
        one.append(_rate(bench, events, replicas=1))
        two.append(_rate(bench, events, replicas=2))
        gains.append(two[-1] / one[-1])
        machine.append(_machine_gain())
    return [
        Measurement("featurizer: one replica, all cores", median(one), "events/s"),
        Measurement(
            "…two replicas", median(two), "events/s", Yardstick(median(two) / median(gains), "/s, one replica"),
            Aim(1.7, "at least", "ratio"),
        ),
        Measurement("…two processes that only compute, against one", median(machine), "x"),
    ]  # fmt: skip


def _rate(bench: Workbench, events: Sequence[Event], replicas: int) -> float:
    with (
        bench.folder() as folder,
        Stack(folder, _config()) as stack,
        standing_before(stack, Role.FEATURIZER, events, replicas) as services,
    ):
        seconds = seconds_to_drain(stack, services, Role.FEATURIZER, left=1)
    return len(SYMBOLS) * len(events) / seconds


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
