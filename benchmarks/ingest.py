"""CPU of the ingestor per book update, against ccxt.pro alone on the same replay at the same pace.

In the CPU: everything the process does from the first updates to the last, its polls and heartbeats included. Not in
it: starting up, loading markets, the depth snapshot, and the CPU of Redis. The slower the pace, the larger the part of
what the process does without any update, which is measured by itself.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.bare_watcher import bare_watcher
from benchmarks.completeness import check_whole, sent_count, sent_ids
from benchmarks.results import Aim, Measurement, Skipped, Yardstick, medians
from benchmarks.workbench import Workbench, seconds_until
from daedalus_common.batches import decode_batch
from support.stack import Simulator, Stack

SYMBOL, RAW = "BTC/USDT", "{binanceus:BTC-USDT}:raw"
CONFIG: dict[str, Any] = {"ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": [SYMBOL]}}}}}
SPEED = 20
ON_THE_WIRE_SECONDS = 0.3
IDLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Source:
    """What the simulator plays; `early` is how many updates may pass before a client has its snapshot and is warm."""

    name: str
    arguments: tuple[str, ...]
    early: int


@dataclass(frozen=True, slots=True)
class Span:
    """Between which counts of updates that the simulator sent a client is measured."""

    simulator: Simulator
    first: int
    last: int

    def cpu(self, cpu_seconds: Callable[[], float]) -> dict[str, float]:
        """The client's CPU per update, in microseconds, and in percent of a core when nothing more is sent."""
        seconds_until(lambda: self.sent() >= self.first, "updates flow", 60, 0.02)
        sent, cpu = self.sent(), cpu_seconds()
        seconds_until(lambda: self.sent() >= self.last, "updates flow on", 120, 0.1)
        self.simulator.post("/control/stop")
        time.sleep(ON_THE_WIRE_SECONDS)
        busy = cpu_seconds() - cpu
        time.sleep(IDLE_SECONDS)
        idle = cpu_seconds() - cpu - busy
        return {"micros": 1e6 * busy / (self.sent() - sent), "idle": 100 * idle / IDLE_SECONDS}

    def sent(self) -> int:
        return sent_count(self.simulator, SYMBOL, "depth")


Client = Callable[[Stack, Span], dict[str, float]]


def measure(bench: Workbench) -> list[Measurement]:
    source = _source(bench)
    updates = source.early + bench.pick(short=800, full=6_000)
    runs: list[dict[str, float]] = []
    for number in range(repeats := bench.pick(short=1, full=3)):
        bench.say(f"{source.name}: ccxt.pro alone, run {number + 1} of {repeats}")
        bare = _run(bench, source, updates, _bare)
        bench.say(f"{source.name}: the ingestor, run {number + 1} of {repeats}")
        recorded = _run(bench, source, updates, _recording)
        runs.append({f"bare {name}": value for name, value in bare.items()} | recorded)
    found = medians(runs)
    return [
        Measurement(
            f"ingestor: CPU per update, 50 levels, {source.name}",
            found["micros"],
            "µs",
            Yardstick(found["bare micros"], "µs, ccxt.pro alone"),
            Aim(1.3, "at most", "ratio"),
        ),
        Measurement(
            "…updates recorded in a run",
            found["updates"],
            "",
            Yardstick(found["bare updates"], "awaited by ccxt.pro alone"),
        ),
        Measurement(
            "…CPU while no update comes",
            found["idle"],
            "% of a core",
            Yardstick(found["bare idle"], "%, ccxt.pro alone"),
        ),
    ]


def _source(bench: Workbench) -> Source:
    try:
        tape = [str(bench.recordings() / f"btcusdt_{day}.gz") for day in ("20240808", "20240809")]
    except Skipped as skipped:
        bench.say(f"a synthetic market instead of the real one: {skipped}")
        rate = ("--depth-rate", "200", "--depth-interval-ms", "0")
        return Source("synthetic, 200 updates/s", ("--symbols", SYMBOL, "--seed", "1", *rate), early=1_000)
    arguments = ("--replay", *tape, "--speed", str(SPEED), "--await-subscriptions", "1")
    return Source(f"real BTC/USDT at {SPEED}×", arguments, early=200)


def _run(bench: Workbench, source: Source, updates: int, client: Client) -> dict[str, float]:
    with bench.folder() as folder, Stack(folder, CONFIG) as stack:
        simulator = stack.simulate(*source.arguments)
        return client(stack, Span(simulator, source.early, updates))


def _bare(stack: Stack, span: Span) -> dict[str, float]:
    with bare_watcher(span.simulator.url, SYMBOL, "books") as watcher:
        return span.cpu(watcher.cpu_seconds) | {"updates": watcher.stop().books}


def _recording(stack: Stack, span: Span) -> dict[str, float]:
    ingestor = stack.start("ingestor")
    cpu = span.cpu(ingestor.cpu_seconds)
    with stack.client() as client:
        nonces = decode_batch(client.xrange(RAW)).books.nonce.tolist()
    check_whole("updates", sent_ids(span.simulator, SYMBOL, "depth"), nonces, span.first)
    return cpu | {"updates": len(nonces)}
