"""A long run: random faults at random times from the same cells, and at its end nothing is missing and nothing grew.

It begins with a Redis that is down for longer than any of the seeds has time for.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from random import Random

import numpy as np

from faults.applying import Say, apply_round
from faults.catalogue import DOWN_FOR_MINUTES
from faults.cells import Cell, Window
from faults.evidence import Violation
from faults.oracle import judge
from faults.oracle_usage import MIB
from faults.rig import Rig
from faults.run import Outcome, collect, own_window
from faults.setup import setup_of
from faults.usage import Life

MEAN_PAUSE_SECONDS = 4.0
"""Between the recovery from one fault and the next; exponentially distributed, so that faults come at random."""
TWO_AT_ONCE = 0.2
LONG_MINUTES = 10.0
"""A soak of at least so many minutes has time for Redis to be down for some of them."""
WARM_UP_SHARE = 0.3
"""So much of a process's life does not count: modules, pools and caches fill."""
MIN_LIFE_SHARE = 0.4
"""Of the soak, after the warm-up: shorter lives say nothing about growth."""
GROWTH_SHARE, GROWTH_BYTES, GROWTH_FILES = 0.10, 8 * MIB, 8
"""What a fitted line may rise over a process's life after the warm-up."""
LASTING = "2"
"""The replicas of this number are frozen and cut off as the others, but not killed, so that their growth shows."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The fitted rise of one process over what was measured of it."""

    name: str
    minutes: float
    mean_bytes: float
    rise_bytes: float
    rise_files: float

    @property
    def flat(self) -> bool:
        allowed = max(GROWTH_BYTES, GROWTH_SHARE * self.mean_bytes)
        return self.rise_bytes <= allowed and self.rise_files <= GROWTH_FILES


def growth_of(life: Life, least_seconds: float) -> Growth | None:
    """None: it was measured for less than that, which is too short a time to tell."""
    samples = life.samples[int(len(life.samples) * WARM_UP_SHARE) :]
    if len(samples) < 2 or samples[-1].at - samples[0].at < least_seconds:
        return None
    at = np.array([sample.at for sample in samples])
    memory = np.array([sample.rss_bytes for sample in samples], dtype=float)
    files = np.array([sample.files for sample in samples], dtype=float)
    span = float(at[-1] - at[0])
    rises = [float(np.polyfit(at - at[0], values, 1)[0]) * span for values in (memory, files)]
    return Growth(f"{life.name} (pid {life.pid})", span / 60, float(memory.mean()), *rises)


def soak(seed: int, minutes: float, cells: Sequence[Cell], folder: Path, say: Say) -> tuple[Outcome, list[Growth]]:
    """Faults for so many minutes; raises what a pipeline raises that does not start or stop."""
    began = time.monotonic()
    rng = Random(f"soak {seed}")
    # Only what every moment allows: an older build is what a run begins with.
    lasting = [cell for cell in cells if not cell.first]
    setup = replace(setup_of(seed, lasting), older=False)
    windows: list[Window] = []
    with Rig(folder, seed, setup) as rig:
        rig.spared = LASTING
        starting = time.time_ns()
        rig.wait_until_flowing()
        windows.append(own_window("start", starting))
        first = [(DOWN_FOR_MINUTES,)] if minutes >= LONG_MINUTES else []
        drawn = _drawn([cell for cell in lasting if setup.missing(cell) is None], rng)
        for number, round_ in enumerate(chain(first, drawn)):
            if time.monotonic() - began > minutes * 60:
                break
            time.sleep(rng.expovariate(1 / MEAN_PAUSE_SECONDS))
            windows += apply_round(rig, round_, f"{seed} {number}", say)
        evidence = collect(rig, windows, say)
        peaks = dict(rig.usage.peaks())
        least = MIN_LIFE_SHARE * minutes * 60
        growth = [found for life in rig.usage.lives if (found := growth_of(life, least)) is not None]
    violations = judge(evidence)
    violations += [Violation("I5", f"{g.name} grows: {_told(g)}") for g in growth if not g.flat]
    if not growth:
        violations.append(Violation("I5", "no process lived long enough to say whether it grows"))
    seconds = time.monotonic() - began
    return Outcome(seed, setup.store, seconds, tuple(windows), {}, tuple(violations), peaks), growth


def growth_table(growth: Sequence[Growth]) -> str:
    """For a terminal."""
    return "\n".join(f"{'ok  ' if g.flat else 'FAIL'}  {g.name:28} {_told(g)}" for g in growth)


def _told(growth: Growth) -> str:
    memory = f"{growth.mean_bytes / MIB:.0f} MB {growth.rise_bytes / MIB:+.1f} MB"
    return f"{memory}, files {growth.rise_files:+.1f} in {growth.minutes:.1f} min"


def _drawn(cells: Sequence[Cell], rng: Random) -> Iterator[tuple[Cell, ...]]:
    while True:
        first = rng.choice(cells)
        others = [cell for cell in cells if cell.component != first.component and not cell.alone]
        if not first.alone and others and rng.random() < TWO_AT_ONCE:
            yield first, rng.choice(others)
        else:
            yield (first,)
