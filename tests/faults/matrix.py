"""The table of all runs: component x fault x invariant -> what the runs showed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from faults.applying import MIN_EVENTS
from faults.cells import Cell, Window
from faults.evidence import Violation
from faults.oracle import PROMISES
from faults.run import Outcome

OK, FAIL, VACUOUS, NONE = "ok", "FAIL", "vacuous", "n.a."
WORST = (NONE, OK, VACUOUS, FAIL)


@dataclass(slots=True)
class Line:
    """One cell over all seeds."""

    component: str
    fault: str
    results: dict[str, str] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    moved: int = 0
    worst_recovery: float = 0.0
    failures: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)

    @property
    def result(self) -> str:
        return max(self.results.values(), key=WORST.index, default=NONE)

    def take(self, invariant: str, result: str) -> None:
        """Keeps the worst."""
        before = self.results.get(invariant, NONE)
        self.results[invariant] = max(before, result, key=WORST.index)


def matrix(cells: Sequence[Cell], outcomes: Iterable[Outcome]) -> list[Line]:
    """A line per cell, and one each for the harness's own starting and stopping where something is wrong there."""
    lines = {cell.name: Line(cell.component, cell.fault) for cell in cells}
    for outcome in outcomes:
        for name, reason in outcome.missing.items():
            lines[name].missing.add(reason)
        blamed = _blamed(outcome)
        for window in outcome.windows:
            mine = blamed.get(id(window), [])
            if window.cell.name in lines or mine:
                line = lines.setdefault(window.cell.name, Line(window.cell.component, window.cell.fault))
                _add(line, outcome, window, mine)
    return list(lines.values())


def _add(line: Line, outcome: Outcome, window: Window, violations: list[Violation]) -> None:
    line.seeds.append(outcome.seed)
    line.moved += window.moved
    line.worst_recovery = max(line.worst_recovery, window.recovery_seconds or 0.0)
    vacuous = window.error is not None or window.moved < MIN_EVENTS or window.touched == 0
    if vacuous:
        why = window.error or f"moved {window.moved} events, touched {window.touched}"
        line.failures.append(f"seed {outcome.seed}: vacuous: {why}")
    for invariant in PROMISES:
        if invariant == "I8" and window.zombie is None:
            line.take(invariant, NONE)
        else:
            line.take(invariant, VACUOUS if vacuous else OK)
    for violation in violations:
        line.take(violation.invariant, FAIL)
        # What has no time is everybody's; it is told once, with its run.
        if violation.at_ns is not None:
            line.failures.append(f"seed {outcome.seed}: {violation.invariant}: {violation.text}")


def _blamed(outcome: Outcome) -> dict[int, list[Violation]]:
    """Violations by the window in whose time they fall (its id); without a time they are everybody's."""
    found: dict[int, list[Violation]] = {}
    for violation in outcome.violations:
        for window in suspects(outcome.windows, violation.at_ns):
            found.setdefault(id(window), []).append(violation)
    return found


def suspects(windows: Sequence[Window], at_ns: int | None) -> list[Window]:
    """The windows that hold the moment; otherwise the last one that began before it."""
    if at_ns is None:
        return list(windows)
    holding = [window for window in windows if window.began_ns <= at_ns <= window.ended_ns]
    if holding:
        return holding
    before = [window for window in windows if window.began_ns <= at_ns]
    return [max(before, key=lambda window: window.began_ns)] if before else list(windows[:1])


def as_text(lines: Sequence[Line]) -> str:
    """For a terminal."""
    head = ["component", "fault", *PROMISES, "seeds", "events", "recovery"]
    rows = [
        [
            line.component,
            line.fault,
            *(line.results.get(invariant, NONE) for invariant in PROMISES),
            str(len(line.seeds)),
            f"{line.moved:,}",
            f"{line.worst_recovery:.1f} s",
        ]
        for line in lines
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]
    )


def as_markdown(lines: Sequence[Line]) -> str:
    """For docs/reliability.md."""
    head = ["component", "fault", *PROMISES, "seeds", "events moved", "slowest recovery"]
    rows = [
        [
            line.component,
            line.fault,
            *(line.results.get(invariant, NONE) for invariant in PROMISES),
            str(len(line.seeds)),
            f"{line.moved:,}",
            f"{line.worst_recovery:.1f} s" if line.seeds else "",
        ]
        for line in lines
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def as_json(lines: Sequence[Line], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "cells": [
            {
                "component": line.component,
                "fault": line.fault,
                "result": line.result,
                "invariants": dict(line.results),
                "seeds": line.seeds,
                "events_moved": line.moved,
                "worst_recovery_seconds": round(line.worst_recovery, 2),
                "failures": line.failures,
                "not_applicable": sorted(line.missing),
            }
            for line in lines
        ],
        "runs": [
            {
                "seed": outcome.seed,
                "store": outcome.store,
                "seconds": round(outcome.seconds, 1),
                "peak_memory_bytes": outcome.peaks,
                "violations": [f"{v.invariant}: {v.text}" for v in outcome.violations],
                "error": outcome.error,
            }
            for outcome in outcomes
        ],
    }
