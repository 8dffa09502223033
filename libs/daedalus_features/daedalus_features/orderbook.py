"""The order-book table: from a market's events to one row per interval that holds a valid book."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from daedalus_features.arrays import BoolArray, FloatArray, IntArray
from daedalus_features.config import Channel, FeatureConfig, history_limit
from daedalus_features.events import Events, Kind
from daedalus_features.grid import BookGroups, OpenInterval, gaps_before, group_books
from daedalus_features.history import WINDOW_COLUMNS, History
from daedalus_features.inputs import BookUpdates, Intervals, RowSteps, SampledBooks, TradeFlow, VolumeBuckets
from daedalus_features.levels import recorded_width, stack_levels
from daedalus_features.registry import Input, features_reading
from daedalus_features.row_maker import RowMaker
from daedalus_features.tables import Rows, Table
from daedalus_features.trades import TradeState, TradeSums, sum_trades
from daedalus_features.transforms import BaseTransform, register_transform
from daedalus_features.windows import RowWindows


@dataclass(frozen=True)
class PreviousRow:
    """The last emitted row: nanoseconds, mid price, and velocity, the latter two NaN where there is none."""

    timestamp: int
    mid: float
    velocity: float


@dataclass(frozen=True)
class OrderBookState:
    """All that the rows to come need of the events before: `book` (4, levels) is the last valid book."""

    book: FloatArray
    open: OpenInterval
    trades: TradeState
    row: PreviousRow
    history: History


_OF_ROWS: tuple[type[Input], ...] = (Intervals, SampledBooks, TradeFlow, VolumeBuckets, RowSteps, RowWindows)


@register_transform
class OrderBookTransform(BaseTransform):
    """Valid books and trades to the order-book table."""

    name: ClassVar[str] = "orderbook"
    channel: ClassVar[Channel] = "orderbook"

    def __init__(self, params: FeatureConfig) -> None:
        super().__init__(params)
        self._maker = RowMaker("orderbook", params, BookUpdates, *_OF_ROWS)
        self.tables: tuple[Table, ...] = (self._maker.table,)
        self._history_limit = history_limit(params)
        self._flow_levels = min(params.depth_levels, BookUpdates.LEVELS)
        self._updates = features_reading(BookUpdates)
        self._sum_of = {each.name: place for place, each in enumerate(self._updates, 1)}
        self.state_names = tuple(self._sum_of)

    def initial(self) -> OrderBookState:
        """Before the first event: no book, no trade, no row."""
        return OrderBookState(
            book=np.zeros((4, 0)),
            open=OpenInterval(-1, False, False, False, np.zeros(1 + len(self._updates))),
            trades=TradeState.initial(),
            row=PreviousRow(-1, np.nan, np.nan),
            history=History.empty(),
        )

    def process(self, events: Events, state: OrderBookState) -> tuple[tuple[Rows, ...], OrderBookState]:
        """The rows whose interval ends at or before the last event; `events` holds valid books and trades only."""
        if not len(events):
            return (), state
        gaps = (events.kind == Kind.GAP.value).nonzero()[0]
        groups = self._groups(events, gaps, state)
        sums, trades = sum_trades(events, gaps, groups.interval, self.params, state.trades)
        books, book = events.books, state.book
        if len(books):
            book = stack_levels(books, slice(len(books) - 1, None), recorded_width(books), None)[:, 0]
        if not len(groups.interval):
            return (), OrderBookState(book, groups.open, trades, state.row, state.history)
        rows, row, history = self._rows(self._sampled(events, groups, state), groups, sums, state)
        return (rows,), OrderBookState(book, groups.open, trades, row, history)

    def _groups(self, events: Events, gaps: IntArray, state: OrderBookState) -> BookGroups:
        """The books by interval, with their number and the sum of each feature of updates."""
        books, count = events.books, len(events.books)
        gap_count = gaps_before(gaps, books.position, state.open)
        interval = np.empty(count + 1, np.int64)
        interval[0] = state.open.interval
        series = np.empty((1 + len(self._updates), count + 1))
        series[:, 0] = state.open.sums
        if count:
            interval[1:] = events.ts[books.position] // self.params.emit_interval_ns
            series[0, 1:] = 1.0
            levels = stack_levels(books, slice(None), self._flow_levels, state.book)
            updates = BookUpdates(levels, gap_count[1:] == gap_count[:-1], self.params)
            for place, each in enumerate(self._updates, 1):
                series[place, 1:] = each.compute(updates)
        now = int(events.ts[-1]) // self.params.emit_interval_ns
        return group_books(interval, series, gap_count, len(gaps), now, state.open)

    def _sampled(self, events: Events, groups: BookGroups, state: OrderBookState) -> SampledBooks:
        """The sampled book of each row; only the first row's can be older than the events."""
        chosen = groups.sampled - 1
        width = recorded_width(events.books)
        before = None
        if chosen[0] < 0:
            chosen, before = chosen[1:], state.book
            width = max(width, before.shape[1]) if len(chosen) else before.shape[1]
        levels = stack_levels(events.books, chosen, width, before)
        return SampledBooks(levels[:2], levels[2:], self.params)

    def _rows(
        self, book: SampledBooks, groups: BookGroups, trades: TradeSums, state: OrderBookState
    ) -> tuple[Rows, PreviousRow, History]:
        """The rows that are due, the last of them, and the history with them."""
        timestamp = (groups.interval + 1) * self.params.emit_interval_ns
        count = len(timestamp)
        steps = _row_steps(timestamp, book.mid, groups.gap, state.row)
        flow = TradeFlow(trades.sums)
        new = np.empty((len(WINDOW_COLUMNS), count))
        new[:] = (
            steps.log_return,
            steps.mid_change,
            flow.signed,
            flow.classified,
            book.spread,
            book.relative_spread,
            groups.sums[self._sum_of["ofi"]],
        )
        history = state.history.extended(timestamp, new)
        inputs: dict[type[Input], Any] = {
            Intervals: Intervals(groups.gap, groups.sums[0]),
            SampledBooks: book,
            TradeFlow: flow,
            VolumeBuckets: VolumeBuckets(trades.imbalances, trades.buckets_known, self.params),
            RowSteps: steps,
            RowWindows: RowWindows(history, count, self.params),
        }
        updates = {name: groups.sums[place] for name, place in self._sum_of.items()}
        rows = self._maker.rows(timestamp, inputs, updates)
        row = PreviousRow(int(timestamp[-1]), float(book.mid[-1]), float(steps.velocity[-1]))
        return rows, row, history.newest(self._history_limit)


def _row_steps(timestamp: IntArray, mid: FloatArray, gap: BoolArray, before: PreviousRow) -> RowSteps:
    previous_mid = np.concatenate(((before.mid,), mid[:-1]))
    previous_mid[gap] = np.nan
    previous_timestamp = np.concatenate(((before.timestamp,), timestamp[:-1]))
    seconds = (timestamp - previous_timestamp) / 1e9
    return RowSteps(mid - previous_mid, np.log(mid / previous_mid), seconds, before.velocity)
