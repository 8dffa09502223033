"""Events a second of the featurizer process on one core, all columns, and of its parts without Redis.

A row is due each second of the market's time, so the fewer events a second, the more of the work is rows.
"""

import time
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.backlog import CONFIG, MARKET, seconds_to_drain, standing_before, with_end
from benchmarks.market_events import START_NS, Event, Mix, market_events
from benchmarks.results import Aim, Measurement, Yardstick, medians
from benchmarks.workbench import Workbench
from daedalus_common.batches import RawEntry, decode_batch
from daedalus_common.config import parse_config
from daedalus_common.entries import encode
from daedalus_common.events import Genesis
from daedalus_common.leases import Lease, Role
from daedalus_featurizer.market_work import MarketWork
from daedalus_featurizer.settings import params_for
from support.stack import Stack

DENSITIES = {"40 events/s": Mix(40.0, 3), "1,000 events/s": Mix(1000.0, 3)}
"""Of the market's time, a quarter of them books: the first is what BTC/USDT has in the real recording."""
STEP_ENTRIES, STEP_ROWS = 500, 50
"""The defaults of the configuration."""
_ONE_CORE = [0]


def measure(bench: Workbench) -> list[Measurement]:
    count = bench.pick(short=20_000, full=60_000)
    repeats = bench.pick(short=1, full=3)
    found: list[Measurement] = []
    for density, mix in DENSITIES.items():
        events = with_end(market_events(bench, count, mix))
        runs = []
        for number in range(repeats):
            bench.say(f"{density}: the process drains {len(events):,} events, run {number + 1} of {repeats}")
            runs.append(_process_rates(bench, events))
        bench.say(f"{density}: the same events without Redis")
        entries = _entries(events)
        steps = median(_step_rate(entries) for _ in range(repeats))
        decoding = median(_decode_rate(entries) for _ in range(repeats))
        found += _lines(density, medians(runs), steps, Yardstick(decoding, "/s, decoding alone"))
    return found


def _lines(density: str, rates: Mapping[str, float], steps: float, yardstick: Yardstick) -> list[Measurement]:
    aim = Aim(20_000, "at least", "value")
    what = f"featurizer: events on one core, all columns, {density} of market time"
    return [
        Measurement(what, rates["wall"], "events/s", yardstick, aim),
        Measurement("…per second of its own CPU time", rates["cpu"], "events/s", yardstick),
        Measurement("…its steps alone, no Redis", steps, "events/s", yardstick),
    ]


def _process_rates(bench: Workbench, events: Sequence[Event]) -> dict[str, float]:
    with (
        bench.folder() as folder,
        Stack(folder, CONFIG) as stack,
        standing_before(stack, Role.FEATURIZER, events) as services,
    ):
        [service] = services
        service.usage.cpu_affinity(_ONE_CORE)
        cpu = service.cpu_seconds()
        wall = seconds_to_drain(stack, services, Role.FEATURIZER, left=1)
        return {"wall": len(events) / wall, "cpu": len(events) / (service.cpu_seconds() - cpu)}


def _step_rate(entries: Sequence[RawEntry]) -> float:
    params = params_for(parse_config(CONFIG), MARKET)
    genesis = Genesis(START_NS, f"{params.hash}-benchmark", params.to_json())
    work = MarketWork(Lease(MARKET, 1, "benchmark"), params, "0-0", None)
    work.accept([_entry(0, START_NS, encode(genesis))], 0.0)
    began = time.perf_counter()
    for start in range(0, len(entries), STEP_ENTRIES):
        work.accept(list(entries[start : start + STEP_ENTRIES]), 0.0)
        while count := work.due(0.0, commit_after=1e9, max_entries=STEP_ENTRIES, max_rows=STEP_ROWS):
            work.committed(work.step(count), 0.0)
    return len(entries) / (time.perf_counter() - began)


def _decode_rate(entries: Sequence[RawEntry]) -> float:
    began = time.perf_counter()
    for start in range(0, len(entries), STEP_ENTRIES):
        decode_batch(entries[start : start + STEP_ENTRIES])
    return len(entries) / (time.perf_counter() - began)


def _entries(events: Sequence[Event]) -> list[RawEntry]:
    return [_entry(number, ts, payload) for number, (ts, payload) in enumerate(events, start=1)]


def _entry(number: int, ts: int, payload: bytes) -> RawEntry:
    """As XRANGE would give it."""
    fields = {b"g": b"0", b"s": b"%d" % (number + 1), b"t": b"%d" % ts, b"e": payload}
    return b"%d-%d" % (ts // 1_000_000, number), fields
