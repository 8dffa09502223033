"""A seeded synthetic market: one book, its traders, and the frames that tell of them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from daedalus_simulator.arrivals import Arrivals, Excitation, FairValue
from daedalus_simulator.book import Book, Diff, DiffWindow, Side
from daedalus_simulator.draws import Draws
from daedalus_simulator.frames import Channel, Frame, frame_of
from daedalus_simulator.instrument import Instrument
from daedalus_simulator.liquidity import liquidity_of, seed_book
from daedalus_simulator.orderflow import MarketOrder, OrderFlow
from daedalus_simulator.ticker import TickerStatistics

STEP_MS = 10
_SLOW_INTERVAL_MS = 1000
"""`@depth` without a rate, and tickers, come once a second."""
_FIRST_UPDATE_ID = 1_000_000_000
_FIRST_TRADE_ID = 1_000_000


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """``depth_rate`` book changes and ``trade_rate`` trades a second on average; changes are gathered into one
    depth update per ``depth_interval_ms``, or sent one by one at 0. ``first_id`` is added to all update and trade
    ids, and changes nothing else: the ids of a real exchange never go back, whoever restarts."""

    depth_rate: float = 20.0
    trade_rate: float = 5.0
    depth_interval_ms: int = 100
    levels: int = 1000
    annual_volatility: float = 0.6
    first_id: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The answer to a depth request: [price, size] texts, best first."""

    last_update_id: int
    bids: list[list[str]]
    asks: list[list[str]]

    def limited(self, levels: int) -> "Snapshot":
        return Snapshot(self.last_update_id, self.bids[:levels], self.asks[:levels])

    def as_json(self) -> dict[str, object]:
        return {"lastUpdateId": self.last_update_id, "bids": self.bids, "asks": self.asks}


class SyntheticMarket:
    """Advances in steps of ``STEP_MS`` of its own time. Its content depends on the generator's seed and the
    number of steps alone; the wall clock only stamps the frames (E, T), and ``wanted`` only says which of the
    frames are worth building."""

    def __init__(self, instrument: Instrument, rng: np.random.Generator, settings: MarketSettings) -> None:
        self.instrument = instrument
        self._settings = settings
        step_seconds = STEP_MS / 1000
        draws = Draws(rng)
        mid = max(2, round(instrument.initial_price * 10**instrument.price_decimals))
        liquidity = liquidity_of(instrument, settings.levels, settings.annual_volatility)
        self.book = Book(_FIRST_UPDATE_ID + settings.first_id, windows=2)
        seed_book(self.book, liquidity, mid, draws)
        self._window, self._slow_window = self.book.windows
        for window in self.book.windows:
            window.flush(self.book)
        self._draws = draws
        self._flow = OrderFlow(self.book, liquidity, draws)
        self._fair = FairValue(float(mid), settings.annual_volatility, step_seconds)
        self._arrivals = Arrivals(rng, step_seconds, Excitation())
        self._trades_per_order = 1.5
        self._ticker = TickerStatistics(instrument, open=mid)
        self._ticker_ms = 0
        self._next_trade_id = _FIRST_TRADE_ID + settings.first_id
        self._steps = 0
        self._top = self.book.top()

    def snapshot(self, limit: int) -> Snapshot:
        bids, asks = (
            [[self.instrument.price_text(p), self.instrument.size_text(q)] for p, q in side.top(limit)]
            for side in self.book.sides
        )
        return Snapshot(self.book.update_id, bids, asks)

    def step(self, now_ms: int, wanted: Collection[Channel]) -> list[Frame]:
        """The frames of the next ``STEP_MS``, stamped ``now_ms``."""
        self._steps += 1
        self._fair.step(self._draws.normal(), self._draws.normal())
        frames: list[Frame] = []
        order_rate = self._settings.trade_rate / self._trades_per_order
        # Never fewer than a tenth of the changes are quotes: market orders alone would empty the book.
        quote_rate = max(0.1 * self._settings.depth_rate, self._settings.depth_rate - order_rate)
        quotes, orders = self._arrivals.draw(quote_rate, order_rate)
        while quotes + orders > 0:
            if self._draws.uniform() * (quotes + orders) <= orders:
                orders -= 1
                done = self._flow.market_order(self._fair.ticks)
                self._trades_per_order += 0.01 * (len(done.fills) - self._trades_per_order)
                self._trades(done, now_ms, wanted, frames)
            else:
                quotes -= 1
                self._flow.quote(self._fair.ticks)
            self._changed(now_ms, wanted, frames)
        self._timed(now_ms, wanted, frames)
        return frames

    def flush(self, now_ms: int, wanted: Collection[Channel]) -> list[Frame]:
        """The depth updates of the changes not yet sent, so that a client's book equals ours at a pause."""
        frames: list[Frame] = []
        self._depth("depth", self._window, now_ms, wanted, frames)
        self._depth("depth@1000ms", self._slow_window, now_ms, wanted, frames)
        return frames

    def burst(self, trades: int, depth: int, now_ms: int, wanted: Collection[Channel]) -> Iterator[list[Frame]]:
        """Exactly ``trades`` trades and ``depth`` depth updates, evenly mixed, one list per depth update."""
        done = 0
        for update in range(max(depth, 1)):
            frames: list[Frame] = []
            due = trades * (update + 1) // max(depth, 1)
            for _ in range(due - done):
                self._trades(self._flow.small_order(), now_ms, wanted, frames)
            done = due
            if depth > 0:
                self._flow.quote(self._fair.ticks)
                self._depth("depth", self._window, now_ms, wanted, frames)
            self._book_ticker(wanted, frames)
            yield frames

    def _changed(self, now_ms: int, wanted: Collection[Channel], frames: list[Frame]) -> None:
        if self._settings.depth_interval_ms == 0:
            self._depth("depth", self._window, now_ms, wanted, frames)
        self._book_ticker(wanted, frames)

    def _timed(self, now_ms: int, wanted: Collection[Channel], frames: list[Frame]) -> None:
        elapsed_ms = self._steps * STEP_MS
        interval_ms = self._settings.depth_interval_ms
        if interval_ms > 0 and elapsed_ms % interval_ms < STEP_MS:
            self._depth("depth", self._window, now_ms, wanted, frames)
        if elapsed_ms % _SLOW_INTERVAL_MS < STEP_MS:
            self._depth("depth@1000ms", self._slow_window, now_ms, wanted, frames)
            # A consumer may identify tickers by their event time: it must grow even if the wall clock does not.
            self._ticker_ms = max(now_ms, self._ticker_ms + 1)
            if "ticker" in wanted:
                frames.append(frame_of("ticker", self._ticker.full(self._ticker_ms, self.book)))
            if "miniTicker" in wanted:
                frames.append(frame_of("miniTicker", self._ticker.mini(self._ticker_ms)))

    def _trades(self, order: MarketOrder, now_ms: int, wanted: Collection[Channel], frames: list[Frame]) -> None:
        buyer_is_maker = order.taken is Side.BID
        for fill in order.fills:
            trade_id = self._next_trade_id
            self._next_trade_id += 1
            self._ticker.trade(trade_id, fill.price, fill.lots)
            if "trade" in wanted:
                data: dict[str, object] = {
                    "e": "trade",
                    "E": now_ms,
                    "s": self.instrument.id,
                    "t": trade_id,
                    "p": self.instrument.price_text(fill.price),
                    "q": self.instrument.size_text(fill.lots),
                    "T": now_ms,
                    "m": buyer_is_maker,
                    "M": True,
                }
                frames.append(frame_of("trade", data))

    def _depth(
        self, channel: Channel, window: DiffWindow, now_ms: int, wanted: Collection[Channel], frames: list[Frame]
    ) -> None:
        diff = window.flush(self.book)
        if diff is not None and channel in wanted:
            frames.append(frame_of(channel, self._depth_data(diff, now_ms)))

    def _depth_data(self, diff: Diff, now_ms: int) -> dict[str, object]:
        price, size = self.instrument.price_text, self.instrument.size_text
        return {
            "e": "depthUpdate",
            "E": now_ms,
            "s": self.instrument.id,
            "U": diff.first_id,
            "u": diff.last_id,
            "b": [(price(p), size(q)) for p, q in diff.bids],
            "a": [(price(p), size(q)) for p, q in diff.asks],
        }

    def _book_ticker(self, wanted: Collection[Channel], frames: list[Frame]) -> None:
        top = self.book.top()
        if top == self._top:
            return
        self._top = top
        if "bookTicker" in wanted:
            bid, bid_lots, ask, ask_lots = top
            price, size = self.instrument.price_text, self.instrument.size_text
            data: dict[str, object] = {
                "u": self.book.update_id,
                "s": self.instrument.id,
                "b": price(bid),
                "B": size(bid_lots),
                "a": price(ask),
                "A": size(ask_lots),
            }
            frames.append(frame_of("bookTicker", data))


def market_generator(seed: int, instrument: Instrument) -> np.random.Generator:
    """The generator of one market: of its own, so that adding a symbol changes no other market."""
    return np.random.default_rng([seed, *instrument.id.encode()])
