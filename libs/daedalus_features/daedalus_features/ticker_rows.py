"""The ticker table: one row per ticker event."""

from typing import ClassVar

import numpy as np

from daedalus_features.arrays import FloatArray, usable
from daedalus_features.config import Channel, FeatureConfig
from daedalus_features.events import Events, Tickers
from daedalus_features.registry import Section, feature
from daedalus_features.row_maker import RowMaker
from daedalus_features.tables import Rows, Table
from daedalus_features.transforms import BaseTransform, NoState, register_transform


class TickerQuotes:
    """n tickers, (n,) each: `given` fields by name, NaN where not finite, and what follows from bid and ask.

    `mid`, `spread` and `last` are NaN unless bid and ask are usable and bid < ask, `last` also unless it is usable.
    """

    table: ClassVar[str] = "ticker"
    section: ClassVar[Section] = "ticker"
    reads: ClassVar[str] = "every ticker event"
    remembers: ClassVar[str] = "nothing"

    def __init__(self, values: FloatArray) -> None:
        finite = np.where(np.isfinite(values), values, np.nan)
        self.given: dict[str, FloatArray] = dict(zip(Tickers.FIELDS, finite, strict=True))
        bid, ask, last = (self.given[name] for name in ("bid", "ask", "last"))
        sound = usable(bid) & usable(ask) & (bid < ask)
        self.mid: FloatArray = np.where(sound, (bid + ask) / 2, np.nan)
        self.spread: FloatArray = np.where(sound, ask - bid, np.nan)
        self.last: FloatArray = np.where(sound & usable(last), last, np.nan)


@feature(unit="quote")
def mid_price(ticker: TickerQuotes) -> FloatArray:
    """Middle of bid and ask: (bid + ask)/2; null unless both are usable and bid < ask."""
    return ticker.mid


@feature(unit="quote")
def spread(ticker: TickerQuotes) -> FloatArray:
    """ask - bid; null with mid_price."""
    return ticker.spread


@feature(unit="1")
def relative_spread(ticker: TickerQuotes) -> FloatArray:
    """spread / mid_price; null with mid_price."""
    return ticker.spread / ticker.mid


@feature(unit="1")
def last_vs_mid(ticker: TickerQuotes) -> FloatArray:
    """(last - mid_price)/mid_price; null with mid_price, and unless last is usable."""
    return (ticker.last - ticker.mid) / ticker.mid


@feature(unit="quote")
def bid(ticker: TickerQuotes) -> FloatArray:
    """Best bid, as given."""
    return ticker.given["bid"]


@feature(unit="base")
def bid_size(ticker: TickerQuotes) -> FloatArray:
    """Size of the best bid, as given."""
    return ticker.given["bid_size"]


@feature(unit="quote")
def ask(ticker: TickerQuotes) -> FloatArray:
    """Best ask, as given."""
    return ticker.given["ask"]


@feature(unit="base")
def ask_size(ticker: TickerQuotes) -> FloatArray:
    """Size of the best ask, as given."""
    return ticker.given["ask_size"]


@feature(unit="quote")
def last(ticker: TickerQuotes) -> FloatArray:
    """Price of the last trade, as given."""
    return ticker.given["last"]


@feature(unit="quote", name="open")
def first(ticker: TickerQuotes) -> FloatArray:
    """First price of the exchange's period (most often the last 24 hours), as given."""
    return ticker.given["open"]


@feature(unit="quote")
def high(ticker: TickerQuotes) -> FloatArray:
    """Highest price of the exchange's period, as given."""
    return ticker.given["high"]


@feature(unit="quote")
def low(ticker: TickerQuotes) -> FloatArray:
    """Lowest price of the exchange's period, as given."""
    return ticker.given["low"]


@feature(unit="quote")
def vwap(ticker: TickerQuotes) -> FloatArray:
    """Volume-weighted mean price of the exchange's period, as given."""
    return ticker.given["vwap"]


@feature(unit="base")
def base_volume(ticker: TickerQuotes) -> FloatArray:
    """Base units traded in the exchange's period, as given."""
    return ticker.given["base_volume"]


@feature(unit="quote", powers=(1, 1))
def quote_volume(ticker: TickerQuotes) -> FloatArray:
    """Quote units traded in the exchange's period, as given."""
    return ticker.given["quote_volume"]


@register_transform
class TickerTransform(BaseTransform):
    """Ticker events to the ticker table."""

    name: ClassVar[str] = "ticker"
    channel: ClassVar[Channel] = "ticker"

    def __init__(self, params: FeatureConfig) -> None:
        super().__init__(params)
        self._maker = RowMaker("ticker", params, TickerQuotes)
        self.tables: tuple[Table, ...] = (self._maker.table,)

    def initial(self) -> NoState:
        """Each ticker stands for itself."""
        return NoState()

    def process(self, events: Events, state: NoState) -> tuple[tuple[Rows, ...], NoState]:
        """A row per ticker."""
        tickers = events.tickers
        if not len(tickers):
            return (), state
        ts = events.ts[tickers.position]
        return (self._maker.rows(ts, {TickerQuotes: TickerQuotes(tickers.values)}),), state
