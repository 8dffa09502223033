"""What a look at the host gives."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is, best first."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `fix` is what to do about it, empty where there is nothing to do."""

    level: Level
    subject: str
    seen: str
    fix: str = ""


def ok(subject: str, seen: str) -> Finding:
    return Finding(Level.OK, subject, seen)


def info(subject: str, seen: str, fix: str = "") -> Finding:
    return Finding(Level.INFO, subject, seen, fix)


def warning(subject: str, seen: str, fix: str) -> Finding:
    return Finding(Level.WARNING, subject, seen, fix)


def error(subject: str, seen: str, fix: str) -> Finding:
    return Finding(Level.ERROR, subject, seen, fix)


def worst(findings: Iterable[Finding]) -> Level:
    """OK where nothing was found."""
    return max((finding.level for finding in findings), key=list(Level).index, default=Level.OK)
