"""Bars of trades: of a duration, of as many trades, as much volume or money, or imbalances of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from daedalus_features.arrays import NANOSECONDS, FloatArray, IntArray
from daedalus_features.bar_lines import AMOUNT, BUY, COUNT, NOTIONAL, NUMBERS, SELL, Line, finished
from daedalus_features.closings import Imbalance, closed_by_count, closed_by_imbalance, closed_by_sum
from daedalus_features.config import Channel, FeatureConfig
from daedalus_features.row_maker import RowMaker
from daedalus_features.tables import Rows, Table
from daedalus_features.trade_bar_features import KINDS, SIZED, TimeBars
from daedalus_features.transforms import BaseTransform, register_transform

_BLOCK = 1024
"""Trades added to bars at once: ten lines of them, nine numbers each, are 740 KB, which stays in a core's cache."""


@dataclass(frozen=True)
class TradeBarState:
    """The unfinished bars: `numbers` (lines, 9) as in `TradeBars`, time bars first and then the kinds of SIZED.

    `stamp` (durations,) are the ends of the time bars; a bar of no trades holds zeros. `volume` and `notional` are the
    sums that end a volume and a dollar bar, each added up trade by trade.
    """

    numbers: FloatArray
    stamp: IntArray
    volume: float
    notional: float
    tick_imbalance: Imbalance
    volume_imbalance: Imbalance
    notional_imbalance: Imbalance


@register_transform
class TradeBarTransform(BaseTransform):
    """Rows of the trades table to bars.

    A time bar is given when a trade with ts >= T has been read, any other with its last trade, an unfinished one never.
    """

    name: ClassVar[str] = "trade_bars"
    input: ClassVar[str] = "trades"
    channel: ClassVar[Channel] = "trades"

    def __init__(self, params: FeatureConfig) -> None:
        super().__init__(params)
        self._makers = [RowMaker(kind.table, params, kind) for kind in KINDS]
        self.tables: tuple[Table, ...] = tuple(maker.table for maker in self._makers)
        self._seconds = np.array(params.bar_durations, np.int64)

    def initial(self) -> TradeBarState:
        """No bar begun."""
        durations = len(self._seconds)
        return TradeBarState(
            numbers=np.zeros((durations + len(SIZED), NUMBERS)),
            stamp=np.zeros(durations, np.int64),
            volume=0.0,
            notional=0.0,
            tick_imbalance=Imbalance.initial(),
            volume_imbalance=Imbalance.initial(),
            notional_imbalance=Imbalance.initial(),
        )

    def process(self, rows: Rows, state: TradeBarState) -> tuple[tuple[Rows, ...], TradeBarState]:
        """The bars that these trades complete; time bars in order of stamp and then duration."""
        numbers = _numbers(rows)
        given: list[list[Rows]] = [[] for _ in self._makers]
        for begin in range(0, len(rows), _BLOCK):
            some = slice(begin, begin + _BLOCK)
            bars, state = self._block(rows.timestamp[some], numbers[:, some], state)
            for of_table, part in zip(given, bars, strict=True):
                if len(part):
                    of_table.append(part)
        return tuple(_joined(parts) for parts in given if parts), state

    def _block(self, ts: IntArray, numbers: FloatArray, state: TradeBarState) -> tuple[list[Rows], TradeBarState]:
        times, stamp = self._time_lines(ts, numbers, state)
        sized, volume, notional, imbalances = self._sized_lines(ts, numbers, state)
        bars, unfinished = finished([*times, *sized], state.numbers)
        after = TradeBarState(unfinished, stamp, volume, notional, *imbalances)
        stamps = [line.stamp for line in times]
        seconds = np.repeat(self._seconds, [len(each) for each in stamps])
        count = len(times)
        given = [_time_bars(self._makers[0], stamps, seconds, bars[:count])]
        for kind, maker, line, numbers in zip(SIZED, self._makers[1:], sized, bars[count:], strict=True):
            given.append(maker.rows(line.stamp, {kind: kind(numbers, np.zeros(len(line.stamp), np.int64))}))
        return given, after

    def _time_lines(self, ts: IntArray, numbers: FloatArray, state: TradeBarState) -> tuple[list[Line], IntArray]:
        """Time bars, a line for each duration, and the stamps of those that stay open."""
        durations = self._seconds[:, None] * NANOSECONDS
        stamp = np.empty((len(durations), 1 + len(ts)), np.int64)
        stamp[:, 0] = state.stamp
        stamp[:, 1:] = (ts // durations + 1) * durations
        changes = stamp[:, 1:] != stamp[:, :-1]
        changes[:, 0] &= state.numbers[: len(durations), COUNT] > 0
        lines = []
        for of_duration, changed in zip(stamp, changes, strict=True):
            places = changed.nonzero()[0]
            lines.append(Line(numbers, places - 1, of_duration[places]))
        return lines, stamp[:, -1].copy()

    def _sized_lines(
        self, ts: IntArray, numbers: FloatArray, state: TradeBarState
    ) -> tuple[list[Line], float, float, list[Imbalance]]:
        """Bars that their trades end, in the order of SIZED, and what is added up towards the ends of the next ones."""
        params, amount, notional = self.params, numbers[AMOUNT], numbers[NOTIONAL]
        waiting = int(state.numbers[len(self._seconds), COUNT])
        ticks = closed_by_count(waiting, len(ts), params.tick_bar_size)
        volumes, volume = closed_by_sum(state.volume, amount, params.volume_bar_size)
        dollars, dollar = closed_by_sum(state.notional, notional, params.dollar_bar_size)
        lines = [_line(ts, numbers, ends) for ends in (ticks, volumes, dollars)]
        sign = np.sign(numbers[BUY] - numbers[SELL])
        classified = sign.nonzero()[0]
        if len(classified) < len(ts):
            ts, numbers, sign = ts[classified], numbers[:, classified], sign[classified]
        after = []
        for before, terms in (
            (state.tick_imbalance, sign),
            (state.volume_imbalance, sign * numbers[AMOUNT]),
            (state.notional_imbalance, sign * numbers[NOTIONAL]),
        ):
            ends, imbalance = closed_by_imbalance(before, terms, params)
            lines.append(_line(ts, numbers, ends))
            after.append(imbalance)
        return lines, volume, dollar, after


def _numbers(rows: Rows) -> FloatArray:
    """What each trade is to a bar, (9, n)."""
    numbers = np.empty((NUMBERS, len(rows)))
    direction = rows.column("direction")
    numbers[:AMOUNT] = rows.column("price")
    numbers[AMOUNT] = amount = rows.column("amount")
    numbers[NOTIONAL] = rows.column("dollar_volume")
    numbers[BUY] = np.where(direction > 0, amount, 0.0)
    numbers[SELL] = np.where(direction < 0, amount, 0.0)
    numbers[COUNT] = 1.0
    return numbers


def _line(ts: IntArray, numbers: FloatArray, ends: IntArray | list[int]) -> Line:
    places = np.asarray(ends, np.int64)
    return Line(numbers, places, ts[places])


def _time_bars(maker: RowMaker, stamps: list[IntArray], seconds: IntArray, bars: list[FloatArray]) -> Rows:
    """The time bars of every duration in order of stamp and then duration."""
    if not len(seconds):
        return Rows(maker.table, seconds, np.zeros((0, len(maker.table.columns))))
    stamp = np.concatenate(stamps)
    order = stamp.argsort(kind="stable")
    numbers = np.concatenate(bars, axis=1)[:, order]
    return maker.rows(stamp[order], {TimeBars: TimeBars(numbers, seconds[order])})


def _joined(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    timestamp = np.concatenate([rows.timestamp for rows in parts])
    return Rows(parts[0].table, timestamp, np.concatenate([rows.values for rows in parts]))
