"""Windows over rows, each computed from its own rows: nothing runs on from one row to the next and drifts."""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np

from daedalus_features.arrays import NANOSECONDS, FloatArray, IntArray
from daedalus_features.config import FeatureConfig
from daedalus_features.history import WINDOW_COLUMNS, History
from daedalus_features.moments import NestedRuns
from daedalus_features.registry import Section


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
        self._lengths = (*params.rolling_windows, params.kyle_window, params.regime_window)
        before = rows.timestamp[len(rows) - new :] - _nanoseconds(self._lengths)
        self._edges: IntArray = np.empty((len(before) + 1, new), np.int64)
        self._edges[:-1] = rows.timestamp.searchsorted(before, side="right")
        self._edges[-1] = np.arange(len(rows) - new + 1, len(rows) + 1)
        """The first row of each window, and in the end the row after the last one of all: (windows + 1, r)."""

    def current(self, column: str) -> FloatArray:
        """A column of the new rows, (r,)."""
        return self._column(column)[len(self._rows) - self.new :]

    def length(self, *seconds: int) -> IntArray:
        """Number of rows, at least 1, in the windows of each of these lengths: (lengths, r)."""
        length: IntArray = self._edges[-1] - self._edges.take([*map(self._lengths.index, seconds)], axis=0)
        return length

    def each(self, column: str, seconds: int) -> Iterator[FloatArray]:
        """The column over one window after the other, (its length,) each."""
        numbers = self._column(column)
        starts, stops = self._edges[self._lengths.index(seconds)], self._edges[-1]
        return (numbers[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True))

    def nested(self, *seconds: int) -> NestedRuns:
        """The windows of each of these lengths, the longest first."""
        return NestedRuns(self._edges.take([*map(self._lengths.index, seconds), -1], axis=0))

    def columns(self, runs: NestedRuns, *columns: str) -> FloatArray:
        """A copy of columns of the rows that the runs are of: (columns, rows)."""
        return self._rows.columns[:, runs.rows].take([*map(WINDOW_COLUMNS.index, columns)], axis=0)

    @cached_property
    def rolling(self) -> "Rolling":
        """Sums and moments over the rolling windows."""
        return Rolling(self)

    def _column(self, column: str) -> FloatArray:
        numbers: FloatArray = self._rows.columns[WINDOW_COLUMNS.index(column)]
        return numbers


@lru_cache
def _nanoseconds(seconds: tuple[int, ...]) -> IntArray:
    return np.array(seconds)[:, None] * NANOSECONDS


class Rolling:
    """Over each of the rolling windows, (windows, r) each, in the order of the parameters.

    `rows` their number, `relative_spread` and `ofi` sums; of the log returns `returns` the number, `mean`, NaN where
    there is none, and `squares` the sum of squared deviations from that mean.
    """

    def __init__(self, windows: RowWindows) -> None:
        wanted = windows.params.rolling_windows
        nested = sorted(wanted, reverse=True)
        runs = windows.nested(*nested)
        moments = runs.moments(windows.columns(runs, "log_return", "relative_spread", "ofi"), paired=1)
        order = [nested.index(seconds) for seconds in wanted]
        every = moments.take(order, axis=1)
        self.rows = windows.length(*wanted)
        self.returns: FloatArray = every[0]
        self.mean: FloatArray = every[1] / every[0]
        self.relative_spread: FloatArray = every[2]
        self.ofi: FloatArray = every[3]
        self.squares: FloatArray = every[4]
