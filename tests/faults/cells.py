"""One cell of the fault matrix: a fault of a component, how to bring it about, and what it may cost.

A cell's action is a context manager: entering brings the fault about, leaving heals it. What it yields, a `Trial`,
takes what only the action can see: violations of I8, and how often the fault really touched something.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faults.rig import Rig

NOBODY_WATCHED = frozenset({"start", "takeover"})
"""Reasons of the gaps with which a market's new owner begins."""
EXCHANGE_GAPS = frozenset({"reconnect", "resync", "sequence", "stale", "bad_frame", "refused"})


@dataclass(slots=True)
class Trial:
    """What the action of one cell tells of one application."""

    touched: Callable[[], int] | None = None
    """How often the fault has touched something so far; None where the action itself is proof, such as a kill."""
    zombie: list[str] = field(default_factory=list)
    """Violations of I8."""
    is_zombie: bool = False
    lost_from_ns: int | None = None
    """When the oldest entry was made that Redis lost, or the newest before it; None: it lost none."""


Action = Callable[["Rig", Random], AbstractContextManager[Trial]]


@contextmanager
def nothing(_: "Rig", __: Random) -> Iterator[Trial]:
    """No fault at all."""
    yield Trial()


@dataclass(frozen=True, slots=True)
class Cell:
    """`hold` is how long the fault lasts, in seconds, drawn evenly between the two."""

    component: str
    fault: str
    action: Action
    hold: tuple[float, float] = (0.5, 2.0)
    moves: str = "published"
    """What of `progress.Moved` went through the component: published, written, featurized or rows."""
    gaps: frozenset[str] = frozenset()
    """Reasons of gaps that this fault may cause; any other gap in its time is a needless one."""
    may_end: frozenset[str] = frozenset()
    """Services that may end by this fault, to be started again by their supervisor."""
    alone: bool = False
    """Not at the same time as another fault."""
    first: bool = False
    """Only as the first fault of a run."""
    needs: frozenset[str] = frozenset()
    """What the run must be built of: s3, local, disks, clocks, older."""

    @property
    def name(self) -> str:
        return f"{self.component}:{self.fault}"


@dataclass(frozen=True, slots=True)
class Window:
    """One application of a cell; times are ns since the epoch."""

    cell: Cell
    began_ns: int
    healed_ns: int
    ended_ns: int
    """When all lags were back to zero, or the time for that was over."""
    recovery_seconds: float | None
    """None: it did not recover in time."""
    moved: int
    """Events that moved through the component between `began_ns` and `ended_ns`."""
    touched: int | None
    zombie: tuple[str, ...] | None
    """Violations of I8; None where no zombie was made."""
    error: str | None = None
    """Why the fault could not be brought about or healed."""
    lost_from_ns: int | None = None
    """Where Redis lost its newest entries: about when the oldest of them was made. It alone explains `server_lost`."""
