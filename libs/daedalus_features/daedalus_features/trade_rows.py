"""The trades table: one row per valid trade."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from daedalus_features.arrays import FloatArray
from daedalus_features.config import Channel, FeatureConfig
from daedalus_features.events import Events, Kind
from daedalus_features.registry import Section, feature
from daedalus_features.row_maker import RowMaker
from daedalus_features.tables import Rows, Table
from daedalus_features.trade_classes import Classes, prices_before, trade_classes
from daedalus_features.transforms import BaseTransform, register_transform


class ValidTrades:
    """n valid trades, (n,) each: `price`, `amount`, their product `notional`, and their `classes` +1, -1 or 0.

    `price_before` is that of the valid trade before, and `elapsed_ns` the time since; both NaN for a market's first
    trade and across a gap event.
    """

    table: ClassVar[str] = "trades"
    section: ClassVar[Section] = "trade"
    reads: ClassVar[str] = "every valid trade and its predecessor"
    remembers: ClassVar[str] = "price, time and class of the last trade"

    def __init__(
        self,
        price: FloatArray,
        amount: FloatArray,
        classes: Classes,
        price_before: FloatArray,
        elapsed_ns: FloatArray,
    ) -> None:
        self.price = price
        self.amount = amount
        self.notional: FloatArray = price * amount
        self.classes = classes
        self.price_before = price_before
        self.elapsed_ns = elapsed_ns


@feature(unit="quote")
def price(trades: ValidTrades) -> FloatArray:
    """Price of the trade, as given."""
    return trades.price


@feature(unit="base")
def amount(trades: ValidTrades) -> FloatArray:
    """Size of the trade, as given."""
    return trades.amount


@feature(unit="1", dtype="int64", reference="tick rule: Lee & Ready (1991)")
def direction(trades: ValidTrades) -> FloatArray:
    """+1 for a buy, -1 for a sell, by the aggressor's side or else the tick rule; null for an unclassified trade."""
    return np.where(trades.classes, trades.classes, np.nan)


@feature(unit="quote", powers=(1, 1))
def dollar_volume(trades: ValidTrades) -> FloatArray:
    """price·amount."""
    return trades.notional


@feature(unit="1")
def log_return(trades: ValidTrades) -> FloatArray:
    """log(p / p_prev) to the previous valid trade; null without one or across a gap event."""
    change: FloatArray = np.log(trades.price / trades.price_before)
    return change


@feature(unit="ms")
def inter_trade_ms(trades: ValidTrades) -> FloatArray:
    """Time since the previous valid trade; null without one or across a gap event."""
    return trades.elapsed_ns / 1e6


@dataclass(frozen=True)
class LastTrade:
    """The last valid trade: `price` is NaN when it is no predecessor of the next one, or when there is none."""

    price: float
    ts: int
    side: int


_NONE = LastTrade(np.nan, -1, 0)


@register_transform
class TradeRowTransform(BaseTransform):
    """Valid trades to the trades table."""

    name: ClassVar[str] = "trades"
    channel: ClassVar[Channel] = "trades"

    def __init__(self, params: FeatureConfig) -> None:
        super().__init__(params)
        self._maker = RowMaker("trades", params, ValidTrades)
        self.tables: tuple[Table, ...] = (self._maker.table,)

    def initial(self) -> LastTrade:
        """Before the first trade."""
        return _NONE

    def process(self, events: Events, state: LastTrade) -> tuple[tuple[Rows, ...], LastTrade]:
        """A row per trade."""
        trades = events.trades
        gaps = (events.kind == Kind.GAP.value).nonzero()[0]
        if not len(trades):
            return (), _NONE if len(gaps) else state
        before = prices_before(trades, gaps, state.price)
        classes = trade_classes(trades, before, state.side)
        ts = events.ts[trades.position]
        elapsed = np.diff(ts, prepend=state.ts).astype(float)
        elapsed[np.isnan(before)] = np.nan
        valid = ValidTrades(trades.price, trades.amount, classes, before, elapsed)
        after = LastTrade(float(trades.price[-1]), int(ts[-1]), int(classes[-1]))
        if len(gaps) and gaps[-1] > trades.position[-1]:
            after = _NONE
        return (self._maker.rows(ts, {ValidTrades: valid}),), after
