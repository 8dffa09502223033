"""The report as a table for people and as JSON for machines."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results import Aim, Measurement, Outcome, Report

_MARKS = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}


def print_table(report: Report, console: Console) -> None:
    """One line a measurement, and below them what was skipped or failed."""
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    table = Table(title=f"Benchmarks, size {report.size}; {machine}", title_justify="left")
    for name in ("what", "measured", "yardstick", "ratio", "aim", "met?"):
        table.add_column(name, justify="right" if name in ("measured", "ratio") else "left", overflow="fold")
    for outcome in report.outcomes:
        for measurement in outcome.measurements:
            table.add_row(*_cells(measurement))
        table.add_section()
    console.print(table)
    for outcome in report.outcomes:
        if outcome.skipped:
            console.print(f"{outcome.name}: skipped, {outcome.skipped}", markup=False)
        if outcome.failed:
            console.print(f"{outcome.name}: FAILED, {outcome.failed}", markup=False, style="red")


def as_json(report: Report) -> str:
    return json.dumps(
        {
            "size": report.size,
            "machine": dict(report.machine),
            "benchmarks": [_outcome(outcome) for outcome in report.outcomes],
        },
        indent=2,
    )


def _cells(measurement: Measurement) -> tuple[str, ...]:
    yardstick, ratio, unit = measurement.yardstick, measurement.ratio, measurement.unit
    return (
        measurement.what,
        f"{number(measurement.value)} {unit}".strip(),
        "" if yardstick is None else f"{number(yardstick.value)} {yardstick.what}",
        "" if ratio is None else f"{number(ratio)}×",
        "" if measurement.aim is None else aim_text(measurement.aim),
        _MARKS[measurement.met],
    )


def aim_text(aim: Aim) -> str:
    """`≤ 1.3×` for a ratio, `≥ 20,000` for a value."""
    sign = "≥" if aim.side == "at least" else "≤"
    return f"{sign} {aim.bound:g}×" if aim.of == "ratio" else f"{sign} {number(aim.bound)}"


def number(value: float) -> str:
    """Three digits that matter below 1000, whole numbers above."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def _outcome(outcome: Outcome) -> dict[str, Any]:
    said = {name: text for name, text in (("skipped", outcome.skipped), ("failed", outcome.failed)) if text}
    return {
        "name": outcome.name,
        "seconds": round(outcome.seconds, 1),
        **said,
        "measurements": [_measurement(each) for each in outcome.measurements],
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    yardstick, aim = measurement.yardstick, measurement.aim
    return {
        "what": measurement.what,
        "value": measurement.value,
        "unit": measurement.unit,
        "yardstick": None if yardstick is None else {"what": yardstick.what, "value": yardstick.value},
        "ratio": measurement.ratio,
        "aim": None if aim is None else {"bound": aim.bound, "side": aim.side, "of": aim.of},
        "met": measurement.met,
    }
