"""Statistics of many runs of rows at once, each merged from blocks of that run: nothing runs on and drifts."""

from collections.abc import Callable

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray

Merge = Callable[[FloatArray, FloatArray], FloatArray]
"""The statistics of k wholes, (m, k), from those of their two parts, (m, k) each."""


class NestedRuns:
    """Runs of rows `[start, stop)`: w starts, (w, r), that do not decrease along w, to each of r stops, (r,).

    The rows are cut at every start and stop into blocks. The n blocks between a start and the next are merged from
    aggregates of 1, 2, 4, ... neighbours, one for each bit of n: a run of 900 rows takes 10 steps of arithmetic in
    place of 900, whatever the lengths of the others. One stop alone, as in a live step, makes w blocks and no step.
    """

    def __init__(self, start: IntArray, stop: IntArray) -> None:
        edges = np.concatenate((start, stop[None]))
        cuts = np.unique(edges)
        self.rows = slice(int(cuts[0]), int(cuts[-1]))
        """The rows that the runs are of, whose numbers the methods take."""
        self._first: IntArray = cuts[:-1] - cuts[0]
        self._size: IntArray = np.diff(cuts)
        place = cuts.searchsorted(edges)
        self._begin: IntArray = place[:-1].ravel()
        self._count: IntArray = np.diff(place, axis=0).ravel()
        self._shape = start.shape

    def sums(self, numbers: FloatArray) -> FloatArray:
        """Sums of numbers, (c, rows), over each run: (c, w, r)."""
        return self._merged(np.add, np.add.reduceat(numbers, self._first, axis=1), 0.0)

    def highest(self, numbers: FloatArray) -> FloatArray:
        """The greatest of numbers, (c, rows), in each run: (c, w, r), -inf where it is empty."""
        return self._merged(np.maximum, np.maximum.reduceat(numbers, self._first, axis=1), -np.inf)

    def moments(self, numbers: FloatArray) -> FloatArray:
        """Of numbers, (c, rows), in each run, but for rows with a NaN among them: (1 + 2c, w, r).

        The number of rows, the c sums, and the c sums of products of the first number with each, both less their mean.
        """
        missing = np.isnan(numbers).any(axis=0)
        some_missing = missing.any()
        count = self._size
        if some_missing:
            numbers = np.where(missing, 0.0, numbers)
            count = count - np.add.reduceat(missing, self._first, dtype=np.int64)
        sums = np.add.reduceat(numbers, self._first, axis=1)
        centred = numbers - np.repeat(sums / np.maximum(count, 1), self._size, axis=1)
        if some_missing:
            centred[:, missing] = 0.0
        products = np.add.reduceat(centred[0] * centred, self._first, axis=1)
        return self._merged(merged_moments, np.concatenate((count[None], sums, products)), 0.0)

    def _merged(self, merge: Merge, blocks: FloatArray, nothing: float) -> FloatArray:
        """What the runs' blocks, (m, blocks), merge to: (m, w, r)."""
        found = self._between_starts(merge, blocks, nothing).reshape(-1, *self._shape)
        reach = 1
        while reach < len(found[0]):
            found[:, :-reach] = merge(found[:, :-reach], found[:, reach:])
            reach *= 2
        return found

    def _between_starts(self, merge: Merge, blocks: FloatArray, nothing: float) -> FloatArray:
        """The blocks from each start to the next merged, (m, w * r)."""
        begin, longest, width = self._begin.copy(), self._count.max(), 1
        found = np.full((len(blocks), len(begin)), nothing)
        some = (self._count & width).nonzero()[0]
        found[:, some] = blocks[:, begin[some]]
        while 2 * width <= longest:
            begin[some] += width
            blocks = merge(blocks[:, :-width], blocks[:, width:])
            width *= 2
            some = (self._count & width).nonzero()[0]
            found[:, some] = merge(found[:, some], blocks[:, begin[some]])
        return found


def merged_moments(one: FloatArray, other: FloatArray) -> FloatArray:
    """The moments of two sets of rows taken together (Chan, Golub & LeVeque 1979); either may be empty."""
    both = one + other
    products = 1 + len(one) // 2
    apart = one[0] * other[1:products] - other[0] * one[1:products]
    both[products:] += apart[0] * apart / np.maximum(one[0] * other[0] * both[0], 1.0)
    return both
