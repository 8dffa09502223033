"""Statistics of many runs of rows at once, each merged from blocks of its own rows: nothing runs on and drifts."""

from collections.abc import Callable
from functools import partial

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray

Merge = Callable[[FloatArray, FloatArray], FloatArray]
"""The statistics of k wholes, (m, k), from those of their two parts, (m, k) each."""


class NestedRuns:
    """Runs of rows `[start, stop)`, w with each of r stops: `edges` (w + 1, r) are their starts, ascending, and the stop.

    The rows are cut into blocks at every start and stop, so that n blocks lie between a start and the next. Blocks
    are merged with their neighbours to 2, 4, 8, ... at once, and the n are as many of these as n has bits: 900 rows
    take 10 steps, whatever the lengths of the other runs. One stop alone, a live step, makes w blocks and no step.
    """

    def __init__(self, edges: IntArray) -> None:
        cuts = np.unique(edges)
        first, stop = int(cuts[0]), int(cuts[-1])
        self.rows = slice(first, stop)
        """The rows that the runs are of, whose numbers the methods take."""
        self._first: IntArray = cuts[:-1] - first
        self._size: IntArray = cuts[1:] - cuts[:-1]
        place = cuts.searchsorted(edges)
        self._begin: IntArray = place[:-1].ravel()
        self._count: IntArray = (place[1:] - place[:-1]).ravel()
        self._most = int(np.maximum.reduce(self._count))
        self._shape = len(edges) - 1, -1

    def highest(self, numbers: FloatArray) -> FloatArray:
        """The greatest of numbers, (c, rows), in each run: (c, w, r)."""
        blocks = np.maximum.reduceat(numbers, self._first, axis=1)
        return _from_each_on(np.maximum, self._merged(blocks, np.maximum, -np.inf))

    def moments(self, numbers: FloatArray, paired: int) -> FloatArray:
        """Of numbers, (c, rows), in each run: (1 + c + paired, w, r).

        The first `paired` numbers count only in rows where the last of these is no NaN. First the number of such rows,
        then the sums, then those of products of the first number with each of the paired, both less their means.
        """
        missing = np.isnan(numbers[paired - 1])
        some_missing = np.count_nonzero(missing) > 0
        count = self._size
        if some_missing:
            numbers[:paired, missing] = 0.0
            count = count - np.add.reduceat(missing, self._first, dtype=np.int64)
        sums = np.add.reduceat(numbers, self._first, axis=1)
        centred = numbers[:paired] - np.repeat(sums[:paired] / np.maximum(count, 1), self._size, axis=1)
        if some_missing:
            centred[:, missing] = 0.0
        products = np.add.reduceat(centred[0] * centred, self._first, axis=1)
        blocks = np.concatenate((count[None], sums, products))
        parts = self._merged(blocks, partial(_merged_moments, paired=paired), 0.0)
        whole = _from_each_on(np.add, parts)
        if len(parts[0]) > 1:
            whole[-paired:, :-1] += _from_each_on(np.add, _apart(parts[:, :-1], whole[:, 1:], paired))
        return whole

    def _merged(self, blocks: FloatArray, merge: Merge, nothing: float) -> FloatArray:
        """The blocks, (m, blocks), between each start and the next merged: (m, w, r)."""
        count, begin, width = self._count, self._begin, 1
        merged = np.where(count & width, blocks[:, begin], nothing)
        for _ in range(1, self._most.bit_length()):
            begin = begin + (count & width)
            blocks = merge(blocks[:, :-width], blocks[:, width:])
            width *= 2
            some = (count & width).nonzero()[0]
            merged[:, some] = merge(merged[:, some], blocks[:, begin[some]])
        return merged.reshape(len(merged), *self._shape)


def _from_each_on(reduce: np.ufunc, parts: FloatArray) -> FloatArray:
    """Each of the parts, (m, w, r), reduced with those after it."""
    if len(parts[0]) == 1:
        return parts
    reduced: FloatArray = reduce.accumulate(parts[:, ::-1], axis=1)[:, ::-1]
    return reduced


def _merged_moments(one: FloatArray, other: FloatArray, paired: int) -> FloatArray:
    both = one + other
    both[-paired:] += _apart(one, other, paired)
    return both


def _apart(one: FloatArray, other: FloatArray, paired: int) -> FloatArray:
    """What the products of two sets of rows, either maybe empty, gain when merged (Chan, Golub & LeVeque 1979)."""
    count, others = one[0], other[0]
    apart = count * other[1 : 1 + paired] - others * one[1 : 1 + paired]
    return apart[0] * apart / np.maximum(count * others * (count + others), 1.0)
