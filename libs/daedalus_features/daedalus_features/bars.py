"""Time bars of the order-book table: rows in `(T - D, T]` make the bar stamped T, for each duration D."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from daedalus_features.arrays import NANOSECONDS, BoolArray, FloatArray, IntArray
from daedalus_features.bar_features import SUMMED, BarRows
from daedalus_features.config import Channel, FeatureConfig
from daedalus_features.registry import table_of
from daedalus_features.row_maker import RowMaker
from daedalus_features.tables import Rows, Table
from daedalus_features.transforms import BaseTransform, register_transform

_OPEN, _HIGH, _LOW, _CLOSE, _FIRST_SUM = range(5)
_SUMS = (*SUMMED, "row_count", "returns", "squared_return")
_NONE = -1
"""The stamp of a bar that holds no row."""


@dataclass(frozen=True)
class BarState:
    """The unfinished bar of each duration: `end` (d,) its stamp or -1, `numbers` (d, 4 + sums) open, high, low,
    close and the sums over its rows. `mid` is the last row's mid price, NaN before the first."""

    end: IntArray
    numbers: FloatArray
    mid: float


@register_transform
class BarTransform(BaseTransform):
    """Order-book rows to bars. A bar is given when a row with timestamp >= T has been read, an unfinished one never."""

    name: ClassVar[str] = "bars"
    input: ClassVar[str] = "orderbook"
    channel: ClassVar[Channel] = "orderbook"

    def __init__(self, params: FeatureConfig) -> None:
        super().__init__(params)
        self._maker = RowMaker("bars", params, BarRows)
        self.tables: tuple[Table, ...] = (self._maker.table,)
        self._seconds = np.array(params.bar_durations, np.int64)
        self._durations = self._seconds[:, None] * NANOSECONDS
        # Where a category is switched off its columns are missing, and so are the features that need them:
        # any other column may stand in for one, unseen.
        places = table_of("orderbook", params).index
        self._columns = [places.get(name, 0) for name in (*["mid_price"] * _FIRST_SUM, *SUMMED)]

    def initial(self) -> BarState:
        """No bar begun."""
        count = len(self._seconds)
        return BarState(np.full(count, _NONE), np.zeros((count, _FIRST_SUM + len(_SUMS))), np.nan)

    def process(self, rows: Rows, state: BarState) -> tuple[tuple[Rows, ...], BarState]:
        """The bars that these order-book rows complete, in order of stamp and then duration."""
        durations, count = len(self._seconds), len(rows)
        if not durations or not count:
            return (), state
        numbers = self._numbers(rows, state.mid)
        # One line per duration: its unfinished bar, then every row. A bar is a run of one stamp in a line.
        end = np.empty((durations, 1 + count), np.int64)
        end[:, 0] = state.end
        end[:, 1:] = -(-rows.timestamp // self._durations) * self._durations
        first = np.empty(end.shape, np.bool_)
        first[:, 0] = True
        np.not_equal(end[:, 1:], end[:, :-1], out=first[:, 1:])
        lines = np.empty((*end.shape, numbers.shape[1]))
        lines[:, 0] = state.numbers
        lines[:, 1:] = numbers
        starts = first.ravel().nonzero()[0]
        bars = _reduced(lines.reshape(-1, numbers.shape[1]), starts)
        stamp, line = end.ravel()[starts], starts // (1 + count)
        done = stamp <= rows.timestamp[-1]
        after = self._unfinished(stamp, line, bars, ~done, float(numbers[-1, _CLOSE]))
        finished = (done & (stamp != _NONE)).nonzero()[0]
        if not len(finished):
            return (), after
        finished = finished[np.lexsort((line[finished], stamp[finished]))]
        return (self._rows(stamp[finished], self._seconds[line[finished]], bars[finished].T),), after

    def _numbers(self, rows: Rows, last_mid: float) -> FloatArray:
        """What each row is to its bar: its mid price as open, high, low and close, then what it adds to each sum."""
        numbers = np.empty((len(rows), _FIRST_SUM + len(_SUMS)))
        numbers[:, : len(self._columns)] = rows.values[:, self._columns]
        mid = numbers[:, _CLOSE]
        previous = np.concatenate(((last_mid,), mid[:-1]))
        previous[rows.column("gap") != 0] = np.nan
        returns = np.log(mid / previous)
        known = ~np.isnan(returns)
        numbers[:, -3] = 1.0
        numbers[:, -2] = known
        numbers[:, -1] = np.where(known, returns * returns, 0.0)
        return numbers

    def _unfinished(self, stamp: IntArray, line: IntArray, bars: FloatArray, open_: BoolArray, mid: float) -> BarState:
        end = np.full(len(self._seconds), _NONE)
        numbers = np.zeros((len(self._seconds), bars.shape[1]))
        end[line[open_]] = stamp[open_]
        numbers[line[open_]] = bars[open_]
        return BarState(end, numbers, mid)

    def _rows(self, stamp: IntArray, duration: IntArray, bars: FloatArray) -> Rows:
        sums = dict(zip(_SUMS, bars[_FIRST_SUM:], strict=True))
        return self._maker.rows(stamp, {BarRows: BarRows(duration, bars[:_FIRST_SUM], sums)})


def _reduced(lines: FloatArray, starts: IntArray) -> FloatArray:
    """The numbers of each bar from those of its rows, (rows of all lines, numbers) to (bars, numbers)."""
    bars: FloatArray = np.add.reduceat(lines, starts, axis=0)
    bars[:, _OPEN] = lines[starts, _OPEN]
    bars[:, _HIGH] = np.maximum.reduceat(lines[:, _HIGH], starts)
    bars[:, _LOW] = np.minimum.reduceat(lines[:, _LOW], starts)
    bars[:-1, _CLOSE] = lines[starts[1:] - 1, _CLOSE]
    bars[-1, _CLOSE] = lines[-1, _CLOSE]
    return bars
