"""When to write what has been gathered: pure decisions over a look at every buffer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

Name = TypeVar("Name")


class Reason(StrEnum):
    """Why a buffer is flushed; of several that hold, the first."""

    STOP = "stop"
    HOUR = "hour"
    BYTES = "bytes"
    ROWS = "rows"
    INTERVAL = "interval"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Limits:
    """`interval`, `size_bytes` and `rows` are per buffer, `memory_bytes` over all of them and what is being written."""

    interval: timedelta
    size_bytes: int
    rows: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Look(Generic[Name]):
    """One buffer as it is now. `size_bytes` counts payloads, `memory_bytes` what its entries take in this process."""

    name: Name
    entries: int
    size_bytes: int
    memory_bytes: int
    age: timedelta
    """Since its first entry came."""
    crosses_hour: bool
    """Its entries lie in more than one hour, so a partition is complete."""
    writing: bool
    """An earlier flush of the same stream is not finished: this one must wait for it."""
    last: bool = False
    """Nothing more is read of its market."""


def flushes_due(looks: Sequence[Look[Name]], limits: Limits) -> list[tuple[Name, Reason]]:
    """Which buffers to flush now, and why."""
    free = [look for look in looks if look.entries and not look.writing]
    due = {look.name: reason for look in free if (reason := _own_reason(look, limits))}
    # Half of the budget is for what waits, the other half for what is being written and for reading on meanwhile.
    waiting = sum(look.memory_bytes for look in looks if look.name not in due)
    for look in sorted(free, key=lambda look: look.memory_bytes, reverse=True):
        if waiting <= limits.memory_bytes // 2:
            break
        if look.name not in due:
            due[look.name] = Reason.MEMORY
            waiting -= look.memory_bytes
    return list(due.items())


def _own_reason(look: Look[Name], limits: Limits) -> Reason | None:
    reasons = (
        (Reason.STOP, look.last),
        (Reason.HOUR, look.crosses_hour),
        (Reason.BYTES, look.size_bytes >= limits.size_bytes),
        (Reason.ROWS, look.entries >= limits.rows),
        (Reason.INTERVAL, look.age >= limits.interval),
    )
    return next((reason for reason, holds in reasons if holds), None)
