"""The features alone: what a live step costs, and what a market's state weighs."""

import time
from collections.abc import Sequence
from statistics import median

from benchmarks.market_events import Mix, market_events
from benchmarks.results import CheckFailed, Measurement
from benchmarks.workbench import Workbench
from daedalus_common.batches import RawEntry, decode_batch
from daedalus_common.entries import encode
from daedalus_common.events import Genesis as GenesisEvent
from daedalus_features import Events, FeatureConfig, MarketState, advance, dump
from daedalus_featurizer.decoding import events_of

PER_SECOND = 40.0
STEPS = {"1 event": 1, "1 s of events": int(PER_SECOND)}
"""Events a step: the smallest there is, and what falls due with each row."""


def measure(bench: Workbench) -> list[Measurement]:
    count = bench.pick(short=44_000, full=120_000)
    bench.say(f"{count:,} events, {PER_SECOND:g} a second, all tables")
    events = _events(bench, count)
    # Beyond the longest window of 900 s, so that every row looks back on full ones.
    settled = advance(None, events.part(0, count * 9 // 10)).state
    if settled is None:
        raise CheckFailed("no state after the genesis")
    rest = events.part(count * 9 // 10, count)
    found = [
        Measurement(f"live step of {name}", _step_seconds(settled, rest, size) * 1e6 / size, "µs an event")
        for name, size in STEPS.items()
    ]
    hot = [
        Measurement("state of a market: hot part", len(dump(settled)), "bytes"),
        Measurement("… ring of recent rows", settled.history.nbytes, "bytes"),
    ]
    return found + hot


def _events(bench: Workbench, count: int) -> Events:
    made = market_events(bench, count, Mix(PER_SECOND, 3))
    start = made[0][0]
    genesis = encode(GenesisEvent(start, "benchmark", FeatureConfig().to_json()))
    entries: list[RawEntry] = [_entry(number, *event) for number, event in enumerate([(start, genesis), *made], 1)]
    return events_of(decode_batch(entries))


def _entry(number: int, ts: int, payload: bytes) -> RawEntry:
    return b"%d-%d" % (ts // 1_000_000, number), {b"e": payload, b"g": b"0", b"s": b"%d" % number, b"t": b"%d" % ts}


def _step_seconds(state: MarketState, events: Events, size: int) -> float:
    """Median of the steps over the events, so many at a time; rows fall due on the way."""
    seconds: list[float] = []
    after: MarketState | None = state
    for portion in _portions(events, size):
        began = time.perf_counter()
        after = advance(after, portion).state
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def _portions(events: Events, size: int) -> Sequence[Events]:
    return [events.part(begin, begin + size) for begin in range(0, min(len(events) - size, 4_000), size)]
