"""A stretch of one market's sequence as columns: what every transform reads."""

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from daedalus_features.arrays import FloatArray, IntArray


class Kind(IntEnum):
    """The kind of an event, as in `Events.kind`."""

    BOOK = 0
    TRADE = 1
    TICKER = 2
    GAP = 3
    HEARTBEAT = 4
    GENESIS = 5


@dataclass(frozen=True, slots=True)
class Books:
    """The n book events; level arrays have shape (n, levels), best first, NaN beyond a side's own levels.

    Bids and asks may differ in width. `position` is the event's place in the sequence; prices are quote, sizes base.
    """

    position: IntArray
    bid_price: FloatArray
    bid_size: FloatArray
    ask_price: FloatArray
    ask_size: FloatArray
    bid_levels: IntArray
    ask_levels: IntArray

    def __len__(self) -> int:
        return len(self.position)

    def take(self, chosen: slice | IntArray) -> "Books":
        """The books at `chosen`, in that order."""
        return Books(
            self.position[chosen],
            self.bid_price[chosen],
            self.bid_size[chosen],
            self.ask_price[chosen],
            self.ask_size[chosen],
            self.bid_levels[chosen],
            self.ask_levels[chosen],
        )

    def top(self, levels: int) -> "Books":
        """The first `levels` levels of each side."""
        if self.bid_price.shape[1] <= levels and self.ask_price.shape[1] <= levels:
            return self
        return Books(
            self.position,
            self.bid_price[:, :levels],
            self.bid_size[:, :levels],
            self.ask_price[:, :levels],
            self.ask_size[:, :levels],
            np.minimum(self.bid_levels, levels),
            np.minimum(self.ask_levels, levels),
        )

    @staticmethod
    def empty() -> "Books":
        """No books."""
        none, levels = np.zeros(0, np.int64), np.zeros((0, 0))
        return Books(none, levels, levels, levels, levels, none, none)


@dataclass(frozen=True, slots=True)
class Trades:
    """The n trade events: price in quote, amount in base, side +1 buy, -1 sell, 0 not given (the aggressor's)."""

    position: IntArray
    price: FloatArray
    amount: FloatArray
    side: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.position)

    def take(self, chosen: slice | IntArray) -> "Trades":
        """The trades at `chosen`, in that order."""
        return Trades(self.position[chosen], self.price[chosen], self.amount[chosen], self.side[chosen])

    @staticmethod
    def empty() -> "Trades":
        """No trades."""
        return Trades(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, np.int8))


@dataclass(frozen=True, slots=True)
class Tickers:
    """The n ticker events: `values` (11, n) holds the exchange's own numbers in the order of FIELDS, NaN for a null.

    Prices in quote, sizes and `base_volume` in base, `quote_volume` in quote; none of them is checked.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "bid", "bid_size", "ask", "ask_size", "last", "open", "high", "low", "vwap", "base_volume", "quote_volume",
    )  # fmt: skip

    position: IntArray
    values: FloatArray

    def __len__(self) -> int:
        return len(self.position)

    def column(self, name: str) -> FloatArray:
        """One field of every ticker, shape (n,); raises ValueError for a name that is none of FIELDS."""
        numbers: FloatArray = self.values[self.FIELDS.index(name)]
        return numbers

    def take(self, chosen: slice | IntArray) -> "Tickers":
        """The tickers at `chosen`, in that order."""
        return Tickers(self.position[chosen], self.values[:, chosen])

    @staticmethod
    def empty() -> "Tickers":
        """No tickers."""
        return Tickers(np.zeros(0, np.int64), np.zeros((len(Tickers.FIELDS), 0)))


@dataclass(frozen=True, slots=True)
class Genesis:
    """A start of a market's computation: from `position` on, its rows follow these parameters and no earlier event."""

    position: int
    id: str
    params_json: bytes


@dataclass(frozen=True, slots=True)
class Events:
    """Events of one market in sequence order; `ts` is nanoseconds UTC and does not decrease.

    Every position below is a place in `ts` and `kind`; each list is in order of position.
    """

    ts: IntArray
    kind: npt.NDArray[np.uint8]
    books: Books
    trades: Trades
    tickers: Tickers = field(default_factory=Tickers.empty)
    geneses: tuple[Genesis, ...] = ()

    def __len__(self) -> int:
        return len(self.ts)

    def part(self, begin: int, end: int) -> "Events":
        """The events from `begin` to before `end`, with their positions counted from `begin`."""
        if begin == 0 and end == len(self):
            return self
        books = self.books.take(_within(self.books.position, begin, end))
        trades = self.trades.take(_within(self.trades.position, begin, end))
        tickers = self.tickers.take(_within(self.tickers.position, begin, end))
        if begin:
            books = replace(books, position=books.position - begin)
            trades = replace(trades, position=trades.position - begin)
            tickers = replace(tickers, position=tickers.position - begin)
        inside = (genesis for genesis in self.geneses if begin <= genesis.position < end)
        geneses = tuple(replace(genesis, position=genesis.position - begin) for genesis in inside)
        return Events(self.ts[begin:end], self.kind[begin:end], books, trades, tickers, geneses)


def _within(position: IntArray, begin: int, end: int) -> slice:
    return slice(*position.searchsorted((begin, end)).tolist())
