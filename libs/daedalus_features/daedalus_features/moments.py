"""Sums and moments of many runs of rows at once, each run merged from blocks: no sum runs on and drifts."""

from collections.abc import Callable

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray

Merge = Callable[[FloatArray, FloatArray], FloatArray]
"""What two neighbours are together: the statistics of k pairs, (m, k) each, to those of the k wholes, (m, k)."""


class NestedRuns:
    """Rows `[start, stop)` for each of the starts, (w, r), in ascending order by w, that share a stop, (r,).

    The rows are cut into blocks at every start and stop. From one start to the next are then n blocks in a row,
    whose statistics are put together from those of 1, 2, 4, ... neighbours, one for each bit of n. So a number is
    merged from the run's own rows alone, 900 of them in 9 steps, and runs may be of any lengths. One run alone, as
    in a live step, is as many blocks as starts.
    """

    def __init__(self, start: IntArray, stop: IntArray) -> None:
        edges = np.concatenate((start, stop[None]))
        self._cuts: IntArray = np.unique(edges)
        place = self._cuts.searchsorted(edges)
        self._begin = place[:-1]
        self._count = place[1:] - place[:-1]
        self._first = self._cuts[:-1] - self._cuts[0]
        self.rows = slice(int(self._cuts[0]), int(self._cuts[-1]))
        """The rows of all runs: the numbers that the others take are of these."""

    def reduced(self, merge: np.ufunc, numbers: FloatArray) -> FloatArray:
        """The numbers, (c, rows), of each run reduced by np.add, or np.maximum of positive ones: (c, w, r)."""
        return self._merged(merge, merge.reduceat(numbers, self._first, axis=1))

    def moments(self, numbers: FloatArray) -> FloatArray:
        """Of the rows that have all c numbers, (c, rows), and no NaN: (1 + 2c, w, r).

        Their number, the c sums, and the c sums of the first number times each, both less their means.
        """
        missing = np.isnan(numbers).any(axis=0)
        size = np.diff(self._cuts)
        count = size
        if missing.any():
            numbers = np.where(missing, 0.0, numbers)
            count = size - np.add.reduceat(missing, self._first, dtype=np.int64)
        sums = np.add.reduceat(numbers, self._first, axis=1)
        centred = numbers - np.repeat(sums / np.maximum(count, 1), size, axis=1)
        centred[:, missing] = 0.0
        products = np.add.reduceat(centred[0] * centred, self._first, axis=1)
        return self._merged(merged_moments, np.concatenate((count[None], sums, products)))

    def _merged(self, merge: Merge, blocks: FloatArray) -> FloatArray:
        found = self._between_starts(merge, blocks)
        reach = 1
        while reach < found.shape[1]:
            found[:, :-reach] = merge(found[:, :-reach], found[:, reach:])
            reach *= 2
        return found

    def _between_starts(self, merge: Merge, blocks: FloatArray) -> FloatArray:
        """The blocks, (m, blocks), from each start to the next merged: (m, w, r), 0 where there is none."""
        count, begin = self._count.ravel(), self._begin.ravel()
        found = np.zeros((len(blocks), len(count)))
        taken, longest = 1, int(count.max())
        while True:
            some = (count & taken).nonzero()[0]
            found[:, some] = merge(found[:, some], blocks[:, begin[some]])
            if 2 * taken > longest:
                return found.reshape(-1, *self._count.shape)
            begin[some] += taken
            blocks = merge(blocks[:, :-taken], blocks[:, taken:])
            taken *= 2


def merged_moments(one: FloatArray, other: FloatArray) -> FloatArray:
    """The moments of two sets of rows together (Chan, Golub & LeVeque 1979), either of which may be empty."""
    both = one + other
    products = 1 + len(one) // 2
    apart = one[0] * other[1:products] - other[0] * one[1:products]
    both[products:] += apart[0] * apart / np.maximum(one[0] * other[0] * both[0], 1.0)
    return both
