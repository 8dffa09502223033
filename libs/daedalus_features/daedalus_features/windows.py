"""Windows over rows, each computed from its own rows: nothing runs on from one row to the next and drifts."""

from collections.abc import Iterator
from functools import cached_property
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
        lengths = (*params.rolling_windows, params.kyle_window, params.regime_window)
        self._place = {seconds: place for place, seconds in enumerate(lengths)}
        edges = rows.timestamp[len(rows) - new :] - np.array(lengths)[:, None] * NANOSECONDS
        self._starts: IntArray = rows.timestamp.searchsorted(edges, side="right")
        self._stop: IntArray = np.arange(len(rows) - new + 1, len(rows) + 1)

    def current(self, column: str) -> FloatArray:
        """A column of the new rows, (r,)."""
        return self._column(column)[len(self._rows) - self.new :]

    def length(self, seconds: int) -> IntArray:
        """Number of rows in each window, (r,), at least 1."""
        length: IntArray = self._stop - self._starts[self._place[seconds]]
        return length

    def each(self, column: str, seconds: int) -> Iterator[FloatArray]:
        """The column over one window after the other, (its length,) each."""
        numbers = self._column(column)
        bounds = zip(self._starts[self._place[seconds]].tolist(), self._stop.tolist(), strict=True)
        return (numbers[start:stop] for start, stop in bounds)

    def nested(self, *seconds: int) -> NestedRuns:
        """The windows of these lengths, the longest first."""
        return NestedRuns(self._starts[[self._place[each] for each in seconds]], self._stop)

    def columns(self, runs: NestedRuns, *columns: str) -> FloatArray:
        """Columns of the rows that the runs are of: (columns, rows)."""
        return self._rows.columns[[WINDOW_COLUMNS.index(column) for column in columns], runs.rows]

    @cached_property
    def rolling(self) -> "Rolling":
        """Sums and moments over the rolling windows."""
        return Rolling(self)

    def _column(self, column: str) -> FloatArray:
        return self._rows.columns[WINDOW_COLUMNS.index(column)]


class Rolling:
    """Over each of the rolling windows, (windows, r) each, in the order of the parameters.

    `rows` their number, `relative_spread` and `ofi` sums; of the log returns `returns` the number, `mean`, NaN where
    there is none, and `squares` the sum of squared deviations from that mean.
    """

    def __init__(self, windows: RowWindows) -> None:
        wanted = windows.params.rolling_windows
        nested = sorted(wanted, reverse=True)
        runs = windows.nested(*nested)
        order = [nested.index(seconds) for seconds in wanted]
        sums = runs.sums(windows.columns(runs, "relative_spread", "ofi"))[:, order]
        moments = runs.moments(windows.columns(runs, "log_return"))[:, order]
        self.rows: IntArray = np.array([windows.length(seconds) for seconds in wanted])
        self.relative_spread: FloatArray = sums[0]
        self.ofi: FloatArray = sums[1]
        self.returns: FloatArray = moments[0]
        self.mean: FloatArray = moments[1] / moments[0]
        self.squares: FloatArray = moments[2]
