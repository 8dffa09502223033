"""The catalogue a second time: slow, in plain Python, one event after the other, every window from scratch.

Written from the definitions and sharing no code with the package. Each number carries `scale`, the sum of the absolute
values of the terms that its formula adds and subtracts, carried through products and quotients: the room in which two
correct implementations may differ by cancellation.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from features.reference_bars import bars_of
from features.reference_books import Book, fault, increment, structural
from features.reference_buckets import Pour
from features.reference_numbers import Cell, Row, exact, minus, over, total, usable
from features.reference_trades import (
    TICKER_FIELDS,
    Trade,
    filled_bars,
    imbalance_bars,
    tick_bars,
    ticker_cells,
    time_bars,
    trade_rows,
)
from features.reference_windows import Past, windows


class Event(NamedTuple):
    """One event: `kind` is book, trade, ticker, gap, heartbeat or genesis; levels are (price, size), best first.

    A ticker has its fields in the order of TICKER_FIELDS, NaN for a missing one; a genesis the parameters it starts.
    """

    kind: str
    ts: int
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()
    price: float = math.nan
    amount: float = math.nan
    side: int = 0
    ticker: tuple[float, ...] = (math.nan,) * len(TICKER_FIELDS)
    params: Any = None


CHANNELS = {
    "orderbook": ("orderbook", "bars"),
    "trades": (
        "trades", "trade_bars", "tick_bars", "volume_bars", "dollar_bars",
        "tick_imbalance_bars", "volume_imbalance_bars", "dollar_imbalance_bars",
    ),
    "ticker": ("ticker",),
}  # fmt: skip
"""The tables that each channel becomes."""


@dataclass
class Output:
    """The rows of one market under one genesis. Of a table named in `certain`, only so many rows are beyond doubt."""

    tables: dict[str, list[Row]]
    certain: dict[str, int]
    invalid: dict[str, int]

    @property
    def rows(self) -> list[Row]:
        """The order-book rows."""
        return self.tables["orderbook"]

    @property
    def bars(self) -> list[Row]:
        """The time bars of the order book."""
        return self.tables["bars"]


@dataclass
class Market:
    """One market from its genesis on."""

    params: Any
    invalid: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    tickers: list[Row] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    past: list[Past] = field(default_factory=list)
    ts: int = 0
    position: int = 0
    gaps: list[int] = field(default_factory=list)
    interval: int | None = None
    sampled: Book | None = None
    sampled_at: int = -1
    previous_sampled_at: int = -1
    predecessor: Book | None = None
    trade_before: Trade | None = None
    snapshots: int = 0
    updates: list[list[list[float]]] = field(default_factory=list)
    trades_of_row: list[Trade] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pour = Pour(self.params.vpin_bucket_size)

    def read(self, event: Event) -> None:
        self.ts = max(self.ts, event.ts)
        step = self.params.emit_interval_ns
        if self.interval is not None and self.ts >= (self.interval + 1) * step:
            self._emit((self.interval + 1) * step)
            self.interval = None
        self.position += 1
        if event.kind == "gap":
            self.gaps.append(self.position)
            self.predecessor = None
            self.trade_before = None
        elif event.kind == "book":
            self._book(event)
        elif event.kind == "trade":
            self._trade(event)
        elif event.kind == "ticker":
            self.tickers.append(Row(self.ts, ticker_cells(event.ticker)))

    def _count(self, reason: str) -> None:
        self.invalid[reason] = self.invalid.get(reason, 0) + 1

    def _book(self, event: Event) -> None:
        bids, asks = (list(side[: self.params.book_levels]) for side in (event.bids, event.asks))
        reason = fault(bids, asks)
        if reason is not None:
            self._count(reason)
            return
        book = Book(bids, asks, self.params.depth_levels)
        if self.predecessor is not None:
            self.updates.append([increment(self.predecessor, book, level) for level in range(10)])
        self.predecessor = self.sampled = book
        self.sampled_at = self.position
        self.interval = self.ts // self.params.emit_interval_ns
        self.snapshots += 1

    def _trade(self, event: Event) -> None:
        if not (usable(event.price) and usable(event.amount)):
            self._count("trade")
            return
        side = event.side if event.side in (-1, 1) else 0
        before = self.trade_before
        if side == 0 and before is not None:
            side = before.side if event.price == before.price else (1 if event.price > before.price else -1)
        trade = Trade(self.ts, event.price, event.amount, side, before and (before.ts, before.price))
        self.trade_before = trade
        self.trades.append(trade)
        self.trades_of_row.append(trade)
        if side:
            self.pour.trade(trade.amount, side, self.params.vpin_buckets)

    def _emit(self, timestamp: int) -> None:
        book = self.sampled
        assert book is not None
        gap = any(self.previous_sampled_at < at < self.sampled_at for at in self.gaps)
        cells: dict[str, Cell] = {"gap": exact(float(gap)), "snapshot_count": exact(self.snapshots)}
        cells |= structural(book, self.params)
        cells |= self._flow(timestamp, book, gap)
        cells |= windows(self.past, timestamp, self.params)
        self.rows.append(Row(timestamp, cells))
        self.previous_sampled_at = self.sampled_at
        self.snapshots = 0
        self.updates = []
        self.trades_of_row = []

    def _flow(self, timestamp: int, book: Book, gap: bool) -> dict[str, Cell]:
        trades = self.trades_of_row
        decay = self.params.ofi_decay_alpha
        ofi = total([term for update in self.updates for term in update[0]])
        weighted = [
            math.exp(-decay * level) * term
            for update in self.updates
            for level, terms in enumerate(update)
            for term in terms
        ]
        buys = total([trade.amount for trade in trades if trade.side > 0])
        sells = total([trade.amount for trade in trades if trade.side < 0])
        flow = total([trade.side * trade.amount for trade in trades])
        classified = buys.value + sells.value
        change = log_return = velocity = acceleration = None
        if self.past and not gap:
            before = self.past[-1]
            change, log_return = book.mid - before.mid, math.log(book.mid / before.mid)
            seconds = exact((timestamp - before.timestamp) / 1e9)
            velocity = over(exact(change), seconds)
            acceleration = over(minus(velocity, before.velocity), seconds)
        self.past.append(
            Past(
                timestamp, book.mid, gap, book.spread, book.relative_spread, ofi, flow, classified,
                change, log_return, velocity,
            )
        )  # fmt: skip
        wanted = self.params.vpin_buckets
        toxicity = total(self.pour.closed[-wanted:]) if len(self.pour.closed) >= wanted else None
        return {
            "ofi": ofi,
            "mlofi": total(weighted),
            "tfi": flow,
            "buy_volume": buys,
            "sell_volume": sells,
            "tfi_norm": over(flow, exact(classified)),
            "trade_vwap": over(total([trade.notional for trade in trades]), total([trade.amount for trade in trades])),
            "trade_count": exact(len(trades)),
            "vpin": over(toxicity, exact(wanted)),
            "mid_velocity": velocity,
            "mid_acceleration": acceleration,
        }

    def output(self) -> Output:
        params, trades = self.params, self.trades
        imbalances = {
            "tick_imbalance_bars": imbalance_bars(trades, lambda trade: float(trade.side), params),
            "volume_imbalance_bars": imbalance_bars(trades, lambda trade: trade.side * trade.amount, params),
            "dollar_imbalance_bars": imbalance_bars(trades, lambda trade: trade.side * trade.notional, params),
        }
        tables = {
            "orderbook": self.rows,
            "bars": bars_of(self.rows, params.bar_durations),
            "trades": trade_rows(trades),
            "trade_bars": time_bars(trades, params.bar_durations),
            "tick_bars": tick_bars(trades, params.tick_bar_size),
            "volume_bars": filled_bars(trades, params.volume_bar_size, lambda trade: trade.amount),
            "dollar_bars": filled_bars(trades, params.dollar_bar_size, lambda trade: trade.notional),
            "ticker": self.tickers,
        } | {name: imbalance.rows for name, imbalance in imbalances.items()}
        certain = {name: found.certain for name, found in imbalances.items() if found.certain is not None}
        wanted = {name for channel in params.channels for name in CHANNELS[channel]}
        return Output({name: rows for name, rows in tables.items() if name in wanted}, certain, self.invalid)


def run(events: list[Event], params: Any) -> Output:
    """The rows of a market whose genesis lies before the first event."""
    (output,) = runs([Event("genesis", events[0].ts if events else 0, params=params), *events])
    return output


def runs(events: list[Event]) -> list[Output]:
    """The rows of a market under each genesis that has parameters; what comes before the first is ignored."""
    markets: list[Market] = []
    ts = 0
    for event in events:
        ts = max(ts, event.ts)
        if markets:
            markets[-1].read(event)
        if event.kind == "genesis" and event.params is not None:
            markets.append(Market(event.params, ts=ts))
    return [market.output() for market in markets]
