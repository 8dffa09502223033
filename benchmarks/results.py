"""What a benchmark finds: values, the yardsticks they are held against, and the aims."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal


class Skipped(Exception):
    """The benchmark cannot run here; the text says why."""


class CheckFailed(Exception):
    """What was measured is wrong in itself: events lost, double or different. Its numbers mean nothing."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What the value is held against, measured in the same run and unit."""

    value: float
    what: str


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound on the value or on its ratio to the yardstick."""

    bound: float
    side: Literal["at least", "at most"]
    of: Literal["value", "ratio"]

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.side == "at least" else value <= self.bound


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the result. `value` and the yardstick's are in `unit`."""

    what: str
    value: float
    unit: str
    yardstick: Yardstick | None = None
    aim: Aim | None = None

    @property
    def ratio(self) -> float | None:
        """Value by yardstick; None where there is none, or it is 0."""
        return self.value / self.yardstick.value if self.yardstick and self.yardstick.value else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without an aim."""
        if self.aim is None:
            return None
        aimed = self.value if self.aim.of == "value" else self.ratio
        return aimed is not None and self.aim.is_met(aimed)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one benchmark: its measurements, or why there are none."""

    name: str
    seconds: float
    measurements: tuple[Measurement, ...] = ()
    skipped: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All outcomes of one run, and what they were measured on."""

    size: str
    machine: Mapping[str, str]
    outcomes: tuple[Outcome, ...] = field(default=())

    @property
    def failed(self) -> bool:
        return any(outcome.failed for outcome in self.outcomes)


def medians(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Per name the median over the runs, all of which have the same names."""
    listed = list(runs)
    return {name: median(run[name] for run in listed) for name in listed[0]}
