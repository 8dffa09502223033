"""What was found, as a table for a terminal and as values for JSON."""

from collections import Counter

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daedalus.doctor.examination import Examination
from daedalus.doctor.findings import Finding, Level, worst
from daedalus.operations.pages import printable

_STYLES = {Level.OK: "green", Level.INFO: "cyan", Level.WARNING: "bold yellow", Level.ERROR: "bold red"}


def findings_page(findings: tuple[Finding, ...]) -> RenderableType:
    """A line a finding, its fix below it; then how many of each level."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("level", "what", "seen, and what to do"):
        table.add_column(name, overflow="fold")
    for each in findings:
        text = Text(printable(each.seen))
        if each.fix:
            text.append(f"\n→ {printable(each.fix)}", "bold" if each.level in (Level.WARNING, Level.ERROR) else "dim")
        table.add_row(Text(each.level, _STYLES[each.level]), Text(printable(each.subject)), text)
    return Group(table, Text(), Text(summary(findings), _STYLES[worst(findings)]))


def summary(findings: tuple[Finding, ...]) -> str:
    """`1 error, 2 warnings, 3 infos, 9 ok`"""
    counts = Counter(finding.level for finding in findings)
    words = [
        f"{counts[level]} {level}{'s' if counts[level] != 1 and level is not Level.OK else ''}"
        for level in reversed(Level)
        if counts[level]
    ]
    return ", ".join(words) or "nothing was looked at"


def examination_json(examination: Examination) -> object:
    """`worst` is the level that decides the exit code; `host` and `directories` are what the findings rest on."""
    return {
        "worst": worst(examination.findings),
        "findings": msgspec.to_builtins(examination.findings),
        "host": msgspec.to_builtins(examination.host),
        "directories": msgspec.to_builtins(examination.directories),
    }
