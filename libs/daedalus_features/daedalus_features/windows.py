"""Windows over rows, each computed afresh over its rows: nothing runs on from one row to the next and drifts."""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np

from daedalus_features.arrays import NANOSECONDS, FloatArray, IntArray, einsum
from daedalus_features.config import FeatureConfig
from daedalus_features.history import WINDOW_COLUMNS, History
from daedalus_features.registry import Section

_BLOCK = 1 << 15
"""Rows of windows that are copied at once: three columns of them are 800 KB, which stays in a core's cache."""

_ROLLING = ("log_return", "relative_spread", "ofi")


class RowWindows:
    """The r new rows with their past: for each the rows whose timestamp lies in `(t - seconds, t]`, itself included."""

    table: ClassVar[str] = "orderbook"
    section: ClassVar[Section] = "rolling"
    reads: ClassVar[str] = "the rows of the window"
    remembers: ClassVar[str] = "the rows of the longest window"

    def __init__(self, rows: History, new: int, params: FeatureConfig) -> None:
        self.params = params
        self.new = new
        self._rows = rows
        now = rows.timestamp[len(rows) - new :]
        self.nested = tuple(sorted(params.rolling_windows, reverse=True))
        lengths = (*self.nested, params.kyle_window, params.regime_window)
        self._place = {seconds: place for place, seconds in enumerate(lengths)}
        edges = now - np.array(lengths)[:, None] * NANOSECONDS
        self._starts: IntArray = rows.timestamp.searchsorted(edges, side="right")
        self._stop: IntArray = np.arange(len(rows) - new + 1, len(rows) + 1)

    def current(self, column: str) -> FloatArray:
        """A column of the new rows, (r,)."""
        return self._rows.columns[WINDOW_COLUMNS.index(column), len(self._rows) - self.new :]

    def length(self, seconds: int) -> IntArray:
        """Number of rows in each window, (r,), at least 1."""
        length: IntArray = self._stop - self._start(seconds)
        return length

    def gathered(self, columns: tuple[str, ...], seconds: int) -> Iterator[tuple[slice, FloatArray, IntArray]]:
        """The rows of each window, some windows at a time: (which windows, numbers, lengths).

        The numbers, (columns, sum of lengths), are a copy: window after window, one after the other.
        """
        start, length = self._start(seconds), self.length(seconds)
        size = self.new if self.new == 1 else max(1, _BLOCK // int(length.max()))
        for begin in range(0, self.new, size):
            some = slice(begin, begin + size)
            rows = ragged(start[some], length[some])
            numbers = [self._rows.columns[WINDOW_COLUMNS.index(column), rows] for column in columns]
            yield some, np.array(numbers), length[some]

    @cached_property
    def rolling(self) -> "Rolling":
        """Sums and moments over the rolling windows."""
        return Rolling(self)

    def nested_starts(self, some: slice) -> IntArray:
        """The first row of each rolling window, longest first and counted from the longest one's: (windows, some)."""
        starts = self._starts[: len(self.nested), some]
        counted: IntArray = starts - starts[0]
        return counted

    def _start(self, seconds: int) -> IntArray:
        start: IntArray = self._starts[self._place[seconds]]
        return start


def ragged(start: IntArray, length: IntArray) -> slice | IntArray:
    """The index that takes `length` places from each `start` on, range after range."""
    if len(start) == 1:
        return slice(int(start[0]), int(start[0] + length[0]))
    end = np.cumsum(length)
    index: IntArray = np.arange(end[-1]) + np.repeat(start - (end - length), length)
    return index


def for_each_row(numbers: FloatArray, length: IntArray) -> FloatArray:
    """One number per window, (..., windows), beside each of the window's rows, (..., sum of lengths) or alike."""
    return numbers if len(length) == 1 else np.repeat(numbers, length, axis=-1)


class Rolling:
    """Over each of the rolling windows, (windows, r) each, in the order of the parameters.

    `rows` their number, `relative_spread` and `ofi` sums; of the log returns `returns` the number, `mean`, NaN where
    there is none, and `squares` the sum of squared deviations from that mean.
    """

    def __init__(self, windows: RowWindows) -> None:
        # The windows end together, so the longest is cut at the starts of the others into segments: the moments of a
        # window are those of its segments merged (Chan, Golub & LeVeque 1979), a sum of terms that are all positive.
        nested = windows.nested
        every = np.empty((6, len(nested), windows.new))
        for some, numbers, length in windows.gathered(_ROLLING, nested[0]):
            every[:, :, some] = _merged(numbers, length, windows.nested_starts(some))
        order = [nested.index(seconds) for seconds in windows.params.rolling_windows]
        every = every[:, order]
        self.rows: FloatArray = every[0]
        self.relative_spread: FloatArray = every[1]
        self.ofi: FloatArray = every[2]
        self.returns: FloatArray = every[3]
        self.mean: FloatArray = every[4]
        self.squares: FloatArray = every[5]


def _merged(numbers: FloatArray, length: IntArray, start: IntArray) -> FloatArray:
    """The six of `Rolling` for windows `nested` in `length` rows each: (6, windows, r)."""
    windows, count = start.shape
    returns = numbers[0]
    missing = np.isnan(returns)
    known: FloatArray | None = None
    if missing.any():
        returns[missing] = 0.0
        known = 1.0 - missing
    # Segments in the order of the rows: (windows, r) as r runs of `windows` segments, some of them empty.
    size = np.empty((count, windows), np.int64)
    size[:, :-1] = (start[1:] - start[:-1]).T
    size[:, -1] = length - start[-1]
    segments = _Segments(size.ravel())
    sums = segments.sum(numbers).reshape(3, count, windows)
    rows = size.astype(float)
    present = rows if known is None else segments.sum(known[None]).reshape(count, windows)
    means = sums[0] / np.maximum(present, 1.0)
    returns -= np.repeat(means.ravel(), segments.size)
    if known is not None:
        returns *= known
    within = segments.sum(np.square(returns)[None]).reshape(count, windows)
    merged = np.stack((rows, sums[1], sums[2], present, sums[0], within))
    merged = np.add.accumulate(merged[:, :, ::-1], axis=2)[:, :, ::-1]
    mean = merged[4] / merged[3]
    apart = means[:, None, :] - mean[:, :, None]
    later = _from_on(windows) * present[:, None, :]
    merged[5] += einsum("rws,rws,rws->rw", later, apart, apart)
    merged[4] = mean
    return merged.transpose(0, 2, 1)


@lru_cache
def _from_on(count: int) -> FloatArray:
    """1 where the column is not before the row, (count, count)."""
    return np.tri(count).T


class _Segments:
    """Runs of places one after the other, of the sizes given; a run may be empty, and then sums to 0."""

    def __init__(self, size: IntArray) -> None:
        self.size = size
        self._some = size.nonzero()[0]
        self._first = (np.cumsum(size) - size)[self._some]

    def sum(self, numbers: FloatArray) -> FloatArray:
        """Sums over each run: (columns, runs)."""
        sums = np.zeros((len(numbers), len(self.size)))
        sums[:, self._some] = np.add.reduceat(numbers, self._first, axis=1)
        return sums
