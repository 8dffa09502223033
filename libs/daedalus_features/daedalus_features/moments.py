"""Statistics of many runs of rows at once, each merged from blocks of its own rows: nothing runs on and drifts."""

from typing import Protocol

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray

_AT_ONCE = 2048
"""Stops whose runs are put together at once, which takes 5 MB by default, and not 40 MB for 16,384 of them."""


class NestedRuns:
    """Runs of rows `[start, stop)`, w to each of r stops: `edges` (w + 1, r) are their starts, ascending, and the stop.

    The rows are cut into blocks at every start and stop, and blocks are merged with their neighbours to 2, 4, 8, ...
    The n blocks between a start and the next are then as many parts as n has bits: 10 in place of 900 rows, whatever
    the lengths of the other runs. With one stop, as in a live step, n is 1 and nothing is to merge.
    """

    def __init__(self, edges: IntArray) -> None:
        cuts = np.bincount(edges.ravel()).nonzero()[0]
        place = cuts.searchsorted(edges)
        first, stop = int(cuts[0]), int(cuts[-1])
        self.rows = slice(first, stop)
        """The rows that the runs are of, whose numbers the methods take."""
        self._first: IntArray = cuts[:-1] - first
        self._size: IntArray = cuts[1:] - cuts[:-1]
        self._begin: IntArray = place[:-1]
        self._count: IntArray = place[1:] - self._begin
        self._bits = int(np.maximum.reduce(self._count, axis=None)).bit_length()

    def highest(self, numbers: FloatArray) -> FloatArray:
        """The greatest of numbers, (c, rows), in each run: (c, w, r)."""
        return self._of_runs(np.maximum.reduceat(numbers, self._first, axis=1), _Highest())

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
        return self._of_runs(np.concatenate((count[None], sums, products)), _Moments(paired))

    def _of_runs(self, blocks: FloatArray, statistics: "_Statistics") -> FloatArray:
        """The statistics of each run, (m, w, r), from those of each block, (m, blocks)."""
        merged = [blocks]
        for bit in range(self._bits - 1):
            half = 1 << bit
            merged.append(statistics.merged(merged[bit][:, :-half], merged[bit][:, half:]))
        stops = self._begin.shape[1]
        each = [self._put_together(merged, slice(at, at + _AT_ONCE), statistics) for at in range(0, stops, _AT_ONCE)]
        return each[0] if len(each) == 1 else np.concatenate(each, axis=2)

    def _put_together(self, merged: list[FloatArray], some: slice, statistics: "_Statistics") -> FloatArray:
        """The statistics of the runs to some of the stops, of blocks merged to 1, 2, 4, ..."""
        begin, count = self._begin[:, some], self._count[:, some]
        parts = np.empty((len(merged[0]), len(merged), *begin.shape))
        for bit, blocks in enumerate(merged):
            taken = count & (1 << bit)
            # A run without this part may begin past the last of them: what is taken for it is thrown away.
            parts[:, bit] = np.where(taken, blocks.take(begin, axis=1, mode="clip"), statistics.nothing)
            begin = begin + taken
        left = len(merged)
        while left > 1:
            kept = (left + 1) // 2
            parts[:, : left - kept] = statistics.merged(parts[:, : left - kept], parts[:, kept:left])
            left = kept
        return statistics.from_each_on(parts[:, 0])


class _Statistics(Protocol):
    nothing: float
    """What stands for no rows."""

    def merged(self, one: FloatArray, other: FloatArray) -> FloatArray:
        """The statistics, (m, k), of k sets of rows and k others together."""

    def from_each_on(self, parts: FloatArray) -> FloatArray:
        """Each of the parts, (m, p, r), merged with all after it."""


class _Highest:
    nothing = -np.inf
    merged = np.maximum

    def from_each_on(self, parts: FloatArray) -> FloatArray:
        return _accumulated(np.maximum, parts)


class _Moments:
    nothing = 0.0

    def __init__(self, paired: int) -> None:
        self._paired = paired

    def merged(self, one: FloatArray, other: FloatArray) -> FloatArray:
        both = one + other
        both[-self._paired :] += self._apart(one, other, both[0])
        return both

    def from_each_on(self, parts: FloatArray) -> FloatArray:
        whole = _accumulated(np.add, parts)
        if len(parts[0]) > 1:
            apart = self._apart(parts[:, :-1], whole[:, 1:], whole[0, :-1])
            whole[-self._paired :, :-1] += _accumulated(np.add, apart)
        return whole

    def _apart(self, one: FloatArray, other: FloatArray, count: FloatArray) -> FloatArray:
        """What the products of two sets of rows gain when merged to `count` (Chan, Golub & LeVeque 1979).

        Either may be empty, and then they gain 0.
        """
        sums = slice(1, 1 + self._paired)
        apart = one[0] * other[sums] - other[0] * one[sums]
        gain: FloatArray = apart[0] * apart / np.maximum(one[0] * other[0] * count, 1.0)
        return gain


def _accumulated(reduce: np.ufunc, parts: FloatArray) -> FloatArray:
    """Each of the parts, (m, p, r), reduced with all after it."""
    if len(parts[0]) == 1:
        return parts
    accumulated: FloatArray = reduce.accumulate(parts[:, ::-1], axis=1)[:, ::-1]
    return accumulated
