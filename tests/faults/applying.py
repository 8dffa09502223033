"""Brings about the faults of one round, heals them, and measures what moved and how long the recovery took."""

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import redis

from faults.cells import Cell, Trial, Window
from faults.progress import Ends, Moved
from faults.rig import Rig

RECOVERY_SECONDS = 30.0
"""The bound of I6: from the end of a fault until every group has passed what was there, and events are fresh."""
MIN_EVENTS = 20
"""A cell counts only if so many events moved through its component, from the fault's beginning to the recovery."""
MOVING_SECONDS = 6.0
"""The time events get to move after the recovery, where they were too few so far."""
TOUCH_SECONDS = 4.0
"""A fault is held so much longer where it has touched nothing yet."""
POLL_SECONDS = 0.1

Say = Callable[[str], None]


@dataclass(slots=True)
class _Applied:
    cell: Cell
    began_ns: int = 0
    healed_ns: int = 0
    before: Moved = Moved()  # noqa: RUF009
    trial: Trial | None = None
    error: str | None = None


def apply_round(rig: Rig, round_: Sequence[Cell], seed: str, say: Say) -> list[Window]:
    """Brings about the faults of one round at once, heals them, and waits until all lags are back to zero."""
    before = rig.progress.moved_patiently()
    with ThreadPoolExecutor(len(round_)) as pool:
        applied = list(pool.map(lambda cell: _hold(rig, cell, Random(f"{seed} {cell.name}")), round_))
    at_heal = rig.progress.moved_patiently()
    healed = time.monotonic()
    recovery = _recovered(rig, healed)
    after = _moved_enough(rig, round_, before)
    ended_ns = time.time_ns()
    windows = [_window(one, recovery, before, at_heal, after, ended_ns) for one in applied]
    for window in windows:
        say(_line(window, len(windows)))
    return windows


def _hold(rig: Rig, cell: Cell, rng: Random) -> _Applied:
    applied = _Applied(cell, time.time_ns())
    try:
        with cell.action(rig, rng) as trial:
            applied.trial = trial
            time.sleep(rng.uniform(*cell.hold))
            _wait_for_touch(trial)
    except Exception:
        applied.error = traceback.format_exc()
    applied.healed_ns = time.time_ns()
    return applied


def _wait_for_touch(trial: Trial) -> None:
    """Some faults meet only what happens now and then, such as an upload."""
    deadline = time.monotonic() + TOUCH_SECONDS
    while trial.touched is not None and not trial.is_zombie and not trial.touched() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _recovered(rig: Rig, healed: float) -> float | None:
    """Seconds from `healed` until everybody has caught up; None: not within the bound."""
    ends: Ends | None = None
    while time.monotonic() - healed < RECOVERY_SECONDS:
        try:
            if ends is None and rig.is_subscribed():
                ends = rig.progress.ends()
            if ends is not None and rig.progress.behind(ends, time.time_ns()) is None:
                return time.monotonic() - healed
        except (OSError, redis.RedisError):
            pass
        time.sleep(POLL_SECONDS)
    return None


def _moved_enough(rig: Rig, round_: Sequence[Cell], before: Moved) -> Moved:
    deadline = time.monotonic() + MOVING_SECONDS
    while True:
        after = rig.progress.moved_patiently()
        enough = all(after.of(cell.moves) - before.of(cell.moves) >= MIN_EVENTS for cell in round_)
        if enough or time.monotonic() > deadline:
            return after
        time.sleep(POLL_SECONDS)


def _window(
    applied: _Applied, recovery: float | None, before: Moved, at_heal: Moved, after: Moved, ended_ns: int
) -> Window:
    cell, trial = applied.cell, applied.trial
    # A server that lost its tail counts from further back.
    start = min(before.of(cell.moves), at_heal.of(cell.moves))
    return Window(
        cell=cell,
        began_ns=applied.began_ns,
        healed_ns=applied.healed_ns,
        ended_ns=ended_ns,
        recovery_seconds=recovery,
        moved=after.of(cell.moves) - start,
        touched=None if trial is None or trial.touched is None else trial.touched(),
        zombie=tuple(trial.zombie) if trial is not None and trial.is_zombie else None,
        error=applied.error,
        lost_from_ns=None if trial is None else trial.lost_from_ns,
    )


def _line(window: Window, together: int) -> str:
    took = (window.healed_ns - window.began_ns) / 1e9
    recovery = "NOT RECOVERED" if window.recovery_seconds is None else f"recovered in {window.recovery_seconds:.1f} s"
    touched = "" if window.touched is None else f", touched {window.touched}"
    error = "" if window.error is None else f"\n{window.error}"
    pair = " (with the other)" if together > 1 else ""
    return f"{window.cell.name:40} {took:4.1f} s, {recovery}, moved {window.moved}{touched}{pair}{error}"
