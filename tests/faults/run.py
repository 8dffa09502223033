"""One run: a seed, a stack, every cell once, and the oracle's judgement of all that was recorded."""

import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from daedalus.summary.sent import parse_sent
from faults.applying import MIN_EVENTS, Say, apply_round
from faults.cells import NOBODY_WATCHED, Cell, Window, nothing
from faults.evidence import Evidence, Violation
from faults.oracle import judge
from faults.rig import Rig
from faults.schedule import rounds
from faults.setup import setup_of

AUDIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run showed."""

    seed: int
    store: str
    seconds: float
    windows: tuple[Window, ...]
    missing: dict[str, str]
    """Why a cell was not applicable, by its name."""
    violations: tuple[Violation, ...]
    peaks: dict[str, int]
    error: str | None = None
    """Why the run came to no end; then nothing of it counts."""


def run_seed(seed: int, cells: Sequence[Cell], folder: Path, say: Say) -> Outcome:
    """Everything for one seed; its data stays in `folder`."""
    began = time.monotonic()
    rng = Random(seed)
    setup = setup_of(seed, cells)
    missing = {cell.name: reason for cell in cells if (reason := setup.missing(cell)) is not None}
    windows: list[Window] = []
    peaks: dict[str, int] = {}
    try:
        with Rig(folder, seed, setup) as rig:
            starting = time.time_ns()
            rig.wait_until_flowing()
            windows.append(own_window("start", starting))
            for round_ in rounds([cell for cell in cells if cell.name not in missing], rng):
                windows += apply_round(rig, round_, str(seed), say)
            evidence = collect(rig, windows)
            peaks = dict(rig.usage.peaks())
        violations = judge(evidence)
    except Exception:
        seconds, error = time.monotonic() - began, traceback.format_exc()
        return Outcome(seed, setup.store, seconds, tuple(windows), missing, (), peaks, error)
    return Outcome(
        seed, setup.store, time.monotonic() - began, tuple(windows), missing, tuple(violations), peaks
    )  # fmt: skip


def own_window(name: str, began: int, gaps: frozenset[str] = NOBODY_WATCHED) -> Window:
    """The harness's own doing, which gives markets owners too."""
    cell = Cell("stack", name, nothing, gaps=gaps)
    now = time.time_ns()
    return Window(cell, began, now, now, 0.0, MIN_EVENTS, None, None)


def collect(rig: Rig, windows: list[Window]) -> Evidence:
    """Stops everything in order; what it left behind."""
    stopping = time.time_ns()
    ledger = rig.stop()
    # The exchange falls silent first.
    windows.append(own_window("stop", stopping, NOBODY_WATCHED | {"stale"}))
    sent = parse_sent(ledger, rig.settings)
    return Evidence(
        data=rig.lake.fetch(),
        settings=rig.settings,
        sent=sent.feeds,
        last_seq=rig.progress.sequences(),
        windows=tuple(windows),
        lives=tuple(rig.usage.lives),
        deaths=tuple(rig.deaths),
        lags=rig.progress.lags(),
        audit=audit(rig),
    )


def audit(rig: Rig) -> str | None:
    """What `daedalus audit` finds wrong with the recording; None: it adds up."""
    command = [sys.executable, "-m", "daedalus", "audit", "--config", str(rig.stack.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False)
    return None if done.returncode == 0 else f"daedalus audit ended with {done.returncode}:\n{done.stdout}{done.stderr}"
