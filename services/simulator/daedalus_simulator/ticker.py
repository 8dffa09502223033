"""The statistics of a ticker, over the trades since the market began."""

from dataclasses import dataclass

from daedalus_simulator.book import Book
from daedalus_simulator.instrument import Instrument


@dataclass(slots=True)
class TickerStatistics:
    """Prices in ticks, sizes in lots. Before the first trade every price is the opening one."""

    instrument: Instrument
    open: int
    opened_ms: int | None = None
    high: int = 0
    low: int = 0
    last: int = 0
    last_lots: int = 0
    lots: int = 0
    tick_lots: int = 0
    first_trade_id: int = -1
    last_trade_id: int = -1
    trades: int = 0

    def __post_init__(self) -> None:
        self.high = self.low = self.last = self.open

    def trade(self, trade_id: int, price: int, lots: int) -> None:
        self.high, self.low, self.last = max(self.high, price), min(self.low, price), price
        self.last_lots = lots
        self.lots += lots
        self.tick_lots += price * lots
        if self.trades == 0:
            self.first_trade_id = trade_id
        self.last_trade_id = trade_id
        self.trades += 1

    def mini(self, event_ms: int) -> dict[str, object]:
        """A ``24hrMiniTicker``."""
        i = self.instrument
        return {
            "e": "24hrMiniTicker",
            "E": event_ms,
            "s": i.id,
            "c": i.price_text(self.last),
            "o": i.price_text(self.open),
            "h": i.price_text(self.high),
            "l": i.price_text(self.low),
            "v": i.size_text(self.lots),
            "q": self._quote_volume_text(),
        }

    def full(self, event_ms: int, book: Book) -> dict[str, object]:
        """A ``24hrTicker``, with the book's touch."""
        i = self.instrument
        if self.opened_ms is None:
            self.opened_ms = event_ms
        bid, bid_lots, ask, ask_lots = book.top()
        average = self.tick_lots / self.lots if self.lots else float(self.last)
        return {
            "e": "24hrTicker",
            "E": event_ms,
            "s": i.id,
            "p": i.price_text(self.last - self.open),
            "P": f"{(self.last - self.open) / self.open * 100:.3f}",
            "w": "%.8f" % (average / 10**i.price_decimals),
            "x": i.price_text(self.open),
            "c": i.price_text(self.last),
            "Q": i.size_text(self.last_lots),
            "b": i.price_text(bid),
            "B": i.size_text(bid_lots),
            "a": i.price_text(ask),
            "A": i.size_text(ask_lots),
            "o": i.price_text(self.open),
            "h": i.price_text(self.high),
            "l": i.price_text(self.low),
            "v": i.size_text(self.lots),
            "q": self._quote_volume_text(),
            "O": self.opened_ms,
            "C": event_ms,
            "F": self.first_trade_id,
            "L": self.last_trade_id,
            "n": self.trades,
        }

    def _quote_volume_text(self) -> str:
        return "%.8f" % (self.tick_lots / 10 ** (self.instrument.price_decimals + self.instrument.size_decimals))
