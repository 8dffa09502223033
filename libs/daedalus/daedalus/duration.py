"""Durations as people type them."""

import re
from datetime import timedelta

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
EXPECTED = "a duration such as 60s, 5m, 1h30m or 2d"


def parse_duration(text: str) -> timedelta:
    """`60s`, `5m`, `1h30m`, `1.5h`, or a plain number of seconds. Raises ValueError unless it is longer than 0."""
    compact = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        compact += "s"
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is not {EXPECTED}")
    if len({unit for _, unit in parts}) < len(parts):
        raise ValueError(f"{text!r} names a unit twice; expected {EXPECTED}")
    try:
        total = sum((float(number) * _UNITS[unit] for number, unit in parts), timedelta())
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None
    if not total:
        raise ValueError(f"{text!r} is no time at all; expected {EXPECTED}")
    return total


def format_duration(duration: timedelta) -> str:
    """`45s`, `3m 05s`, `1h 02m`, `2d 03h`: two units at most."""
    seconds = int(duration.total_seconds())
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 86_400}d {seconds % 86_400 // 3600:02d}h"
