"""Numbers that should follow each other: which are missing, and which are there twice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daedalus_features.arrays import IntArray


@dataclass(frozen=True, slots=True)
class Spans:
    """Ranges of numbers, ends included, ascending and apart from each other; arrays of shape (n,)."""

    first: IntArray
    last: IntArray

    def __len__(self) -> int:
        return len(self.first)

    @property
    def numbers(self) -> int:
        """How many they hold."""
        return int((self.last - self.first + 1).sum())

    @property
    def sizes(self) -> IntArray:
        return self.last - self.first + 1

    def pairs(self) -> tuple[tuple[int, int], ...]:
        return tuple(zip(self.first.tolist(), self.last.tolist(), strict=True))

    def within(self, first: int, last: int) -> "Spans":
        """The part of them from `first` to `last`."""
        begin, end = np.maximum(self.first, first), np.minimum(self.last, last)
        kept = begin <= end
        return Spans(begin[kept], end[kept])

    def holds(self, numbers: IntArray) -> NDArray[np.bool_]:
        """Which of the numbers lie in them, (n,)."""
        if not len(self):
            return np.zeros(len(numbers), np.bool_)
        at = self.first.searchsorted(numbers, side="right") - 1
        inside: NDArray[np.bool_] = (at >= 0) & (numbers <= self.last[np.maximum(at, 0)])
        return inside

    def without(self, numbers: IntArray) -> "Spans":
        """What is left when these numbers, ascending and once each, are taken out."""
        inside = numbers[self.holds(numbers)]
        return self.minus(Spans(inside, inside))

    def minus(self, taken: "Spans") -> "Spans":
        """What is left without `taken`, which lies within."""
        if not len(taken):
            return self
        first = np.sort(np.concatenate([self.first, taken.last + 1]))
        last = np.sort(np.concatenate([self.last, taken.first - 1]))
        kept = first <= last
        return Spans(first[kept], last[kept])


def spans(*pairs: tuple[int, int]) -> Spans:
    """Of these ranges."""
    return Spans(*(np.array([pair[end] for pair in pairs], np.int64) for end in (0, 1)))


def holes(ascending: IntArray, first: int) -> Spans:
    """Which numbers from `first` to the greatest are not among these, ascending."""
    steps = np.concatenate([[first - 1], ascending])
    at = np.flatnonzero(np.diff(steps) > 1)
    return Spans(steps[at] + 1, steps[at + 1] - 1)


def once(numbers: IntArray) -> tuple[IntArray, IntArray]:
    """(the numbers, ascending and once each; those that are there more than once)."""
    found, counts = np.unique(numbers, return_counts=True)
    return found, found[counts > 1]
