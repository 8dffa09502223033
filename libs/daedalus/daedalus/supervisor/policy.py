"""What to do when a child has ended, and when it has grown too large: pure decisions over what was seen."""

import signal
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto

EXIT_CONFIGURATION = 2
"""A service's exit code for a configuration that cannot work: starting it again would change nothing."""

SAMPLES_FOR_RESTART = 3
"""So many samples in a row must be critical: encoding a large Parquet object is a peak of a second, a leak stays."""

_REARM_SHARE = 0.9
"""A warning is given again only after memory fell below this share of the threshold, so that one at the edge is one."""

_OWN_FAULTS = frozenset(-number for number in (signal.SIGILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS))


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Delays double from `first_delay` to `max_delay`; a run of `healthy_after` begins them anew.

    A child that fails `startup_attempts` times in a row, each within `startup_window`, cannot start.
    """

    first_delay: timedelta = timedelta(seconds=1)
    max_delay: timedelta = timedelta(seconds=60)
    healthy_after: timedelta = timedelta(seconds=60)
    startup_window: timedelta = timedelta(seconds=10)
    startup_attempts: int = 3


@dataclass(frozen=True, slots=True)
class History:
    """The ends of one child so far, as far as they still matter."""

    ends: int = 0
    """Ends since it last ran for `healthy_after`."""
    startup_failures: int = 0
    """Failures within `startup_window`, in a row."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after `delay`."""

    delay: timedelta
    history: History


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Starting it again would not help; `reason` completes "the writer …"."""

    reason: str


def after_exit(code: int, lived: timedelta, history: History, policy: RestartPolicy) -> Restart | GiveUp:
    """What to do about a child that ended unasked; `code` is negative for a signal, as subprocess gives it."""
    if code == EXIT_CONFIGURATION:
        return GiveUp("does not accept its configuration (exit code 2)")
    failed_at_start = lived < policy.startup_window and (code > 0 or code in _OWN_FAULTS)
    failures = history.startup_failures + 1 if failed_at_start else 0
    if failures >= policy.startup_attempts:
        return GiveUp(f"failed {failures} times in a row while starting ({describe_exit(code)})")
    ends = 0 if lived >= policy.healthy_after else history.ends
    return Restart(backoff(ends, policy), History(ends + 1, failures))


def backoff(ends: int, policy: RestartPolicy) -> timedelta:
    """`first_delay` doubled `ends` times, at most `max_delay`."""
    # 2**20 times any delay is beyond every cap, and far from overflowing a timedelta.
    return min(policy.first_delay * (1 << min(ends, 20)), policy.max_delay)


def describe_exit(code: int) -> str:
    """`exit code 1`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """Resident memory of one child, in bytes."""

    warning_size_bytes: int
    critical_size_bytes: int


class MemoryAction(Enum):
    """What to do about a child's memory."""

    NOTHING = auto()
    WARN = auto()
    RESTART = auto()


@dataclass(frozen=True, slots=True)
class MemoryState:
    """What of a child's earlier samples still matters."""

    warned: bool = False
    critical_samples: int = 0


def judge_memory(rss_bytes: int, state: MemoryState, limits: MemoryLimits) -> tuple[MemoryAction, MemoryState]:
    """One sample more: warn once on crossing the warning threshold, restart when it stays above the critical one."""
    critical = state.critical_samples + 1 if rss_bytes >= limits.critical_size_bytes else 0
    if critical >= SAMPLES_FOR_RESTART:
        return MemoryAction.RESTART, MemoryState()
    if rss_bytes >= limits.warning_size_bytes:
        action = MemoryAction.NOTHING if state.warned else MemoryAction.WARN
        return action, MemoryState(warned=True, critical_samples=critical)
    still_warned = state.warned and rss_bytes >= _REARM_SHARE * limits.warning_size_bytes
    return MemoryAction.NOTHING, replace(state, warned=still_warned, critical_samples=critical)
