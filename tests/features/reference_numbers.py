"""Numbers of the second implementation: each carries the room in which two correct ones may differ."""

import math
from dataclasses import dataclass
from typing import NamedTuple

EPSILON = 2.0**-30


class Number(NamedTuple):
    value: float
    scale: float


Cell = Number | None


def usable(number: float) -> bool:
    return math.isfinite(number) and 1e-15 <= number <= 1e15


def exact(value: float) -> Number:
    return Number(value, 0.0)


def total(terms: list[float]) -> Number:
    return Number(math.fsum(terms), math.fsum(abs(term) for term in terms))


def total_of(terms: list[Number]) -> Number:
    return Number(math.fsum(term.value for term in terms), math.fsum(max(abs(t.value), t.scale) for t in terms))


def minus(a: Cell, b: Cell) -> Cell:
    if a is None or b is None:
        return None
    return Number(a.value - b.value, max(abs(a.value), a.scale) + max(abs(b.value), b.scale))


def over(a: Cell, b: Number) -> Cell:
    """a/b, null for a null a or a zero b; the room of the denominator counts in proportion to it."""
    if a is None or b.value == 0:
        return None
    value = a.value / b.value
    return Number(value, a.scale / abs(b.value) + abs(value) * b.scale / abs(b.value))


def agree(found: float, expected: Cell) -> bool:
    """Whether a column's value (NaN for null) agrees with the reference."""
    if expected is None or math.isnan(found):
        return expected is None and math.isnan(found)
    x, y = found, expected.value
    return math.isfinite(x) and abs(x - y) <= 1e-9 * max(abs(x), abs(y)) + 1e-12 * expected.scale


@dataclass
class Row:
    timestamp: int
    cells: dict[str, Cell]
