"""Trades and tickers of the second implementation: Silver rows, and bars of trades, from all valid trades at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from features.reference_numbers import EPSILON, Cell, Row, exact, minus, over, total, usable

TICKER_FIELDS = (
    "bid", "bid_size", "ask", "ask_size", "last", "open", "high", "low", "vwap", "base_volume", "quote_volume",
)  # fmt: skip


class Trade(NamedTuple):
    """A valid trade: `side` is its class, 0 for none; `before` is (ts, price) of the one before, None across a gap."""

    ts: int
    price: float
    amount: float
    side: int
    before: tuple[int, float] | None

    @property
    def notional(self) -> float:
        return self.price * self.amount


def trade_rows(trades: list[Trade]) -> list[Row]:
    """One row per trade."""
    return [Row(trade.ts, trade_cells(trade)) for trade in trades]


def trade_cells(trade: Trade) -> dict[str, Cell]:
    before = trade.before
    return {
        "price": exact(trade.price),
        "amount": exact(trade.amount),
        "direction": exact(trade.side) if trade.side else None,
        "dollar_volume": exact(trade.notional),
        "log_return": exact(math.log(trade.price / before[1])) if before else None,
        "inter_trade_ms": exact((trade.ts - before[0]) / 1e6) if before else None,
    }


def ticker_cells(given: tuple[float, ...]) -> dict[str, Cell]:
    """The cells of a ticker row from its fields in the order of TICKER_FIELDS, NaN for a missing one."""
    ticker = dict(zip(TICKER_FIELDS, given, strict=True))
    cells: dict[str, Cell] = {name: exact(value) if math.isfinite(value) else None for name, value in ticker.items()}
    bid, ask, last = ticker["bid"], ticker["ask"], ticker["last"]
    cells |= dict.fromkeys(("mid_price", "spread", "relative_spread", "last_vs_mid"))
    if usable(bid) and usable(ask) and bid < ask:
        mid, spread = (bid + ask) / 2, ask - bid
        cells |= {"mid_price": exact(mid), "spread": exact(spread), "relative_spread": exact(spread / mid)}
        if usable(last):
            cells["last_vs_mid"] = over(minus(exact(last), exact(mid)), exact(mid))
    return cells


def bar(trades: list[Trade], timestamp: int) -> Row:
    """The bar of these trades."""
    prices = [trade.price for trade in trades]
    volume, notional = total([trade.amount for trade in trades]), total([trade.notional for trade in trades])
    return Row(
        timestamp,
        {
            "open": exact(prices[0]),
            "high": exact(max(prices)),
            "low": exact(min(prices)),
            "close": exact(prices[-1]),
            "vwap": over(notional, volume),
            "volume": volume,
            "notional": notional,
            "buy_volume": total([trade.amount for trade in trades if trade.side > 0]),
            "sell_volume": total([trade.amount for trade in trades if trade.side < 0]),
            "trade_count": exact(len(trades)),
        },
    )


def time_bars(trades: list[Trade], durations: tuple[int, ...]) -> list[Row]:
    """The time bars that trades complete, in order of stamp and duration."""
    bars = []
    for order, duration in enumerate(durations):
        step = duration * 1_000_000_000
        groups: dict[int, list[Trade]] = {}
        for trade in trades:
            groups.setdefault((trade.ts // step + 1) * step, []).append(trade)
        for stamp, group in groups.items():
            if trades[-1].ts >= stamp:
                row = bar(group, stamp)
                row.cells["bar_duration_sec"] = exact(duration)
                bars.append((stamp, order, row))
    return [row for _, _, row in sorted(bars, key=lambda item: item[:2])]


def cut(trades: list[Trade], closes: Callable[[list[Trade]], bool]) -> list[Row]:
    """Bars that end with the trade at which `closes` says so of the open bar's trades, that one included."""
    bars, held = [], []
    for trade in trades:
        held.append(trade)
        if closes(held):
            bars.append(bar(held, trade.ts))
            held = []
    return bars


def tick_bars(trades: list[Trade], size: int) -> list[Row]:
    return cut(trades, lambda held: len(held) == size)


def filled_bars(trades: list[Trade], size: float, measure: Callable[[Trade], float]) -> list[Row]:
    """Volume and dollar bars."""
    return cut(trades, lambda held: math.fsum(map(measure, held)) >= (1 - EPSILON) * size)


@dataclass
class Imbalance:
    """The imbalance bars of one kind, and how many of them lie before the first closing that is in doubt, if one is.

    A closing is in doubt where |Σx| and θ* lie so close together, for the size of what was added up, that two orders
    of summation may decide differently: ε is no help where buys and sells cancel.
    """

    rows: list[Row]
    certain: int | None = None


class Expectation:
    """E of the imbalance bars: None before the N-th x; `size` is the same of abs(x)."""

    def __init__(self, ticks: int, span: int) -> None:
        self.ticks = ticks
        self.beta = 2 / (span + 1)
        self.first: list[float] = []
        self.value: float | None = None
        self.size = 0.0

    def take(self, x: float) -> None:
        if self.value is not None:
            self.value = self.value + self.beta * (x - self.value)
            self.size = self.size + self.beta * (abs(x) - self.size)
            return
        self.first.append(x)
        if len(self.first) == self.ticks:
            self.value = math.fsum(self.first) / self.ticks
            self.size = math.fsum(map(abs, self.first)) / self.ticks


def imbalance_bars(trades: list[Trade], signed: Callable[[Trade], float], params: Any) -> Imbalance:
    """Imbalance bars; `signed` gives x of a classified trade."""
    result = Imbalance([])
    ticks, least, most = params.imbalance_bar_ticks, params.imbalance_bar_min_ticks, params.imbalance_bar_max_ticks
    expectation = Expectation(ticks, params.imbalance_bar_span)
    threshold, room = None, 0.0
    held: list[Trade] = []
    for trade in trades:
        if trade.side == 0:
            continue
        if not held and expectation.value is not None:
            threshold = (1 - EPSILON) * ticks * abs(expectation.value)
            room = 1e-12 * ticks * expectation.size
        held.append(trade)
        expectation.take(signed(trade))
        terms = [signed(each) for each in held]
        reached = abs(math.fsum(terms))
        if threshold is None:
            closes = len(held) == ticks
        else:
            closes = (len(held) >= least and reached >= threshold) or len(held) == most
            near = abs(reached - threshold) <= room + 1e-12 * math.fsum(map(abs, terms))
            if near and least <= len(held) < most and not exactly_added(expectation.first, terms):
                result.certain = len(result.rows) if result.certain is None else result.certain
        if closes:
            result.rows.append(bar(held, trade.ts))
            held = []
    return result


def exactly_added(*lists: list[float]) -> bool:
    """Whether the numbers of each list add up without rounding in whatever order."""
    steps = [[Fraction(term) * 2**10 for term in terms] for terms in lists]
    whole = all(step.denominator == 1 for terms in steps for step in terms)
    return whole and all(sum(map(abs, terms)) < 2**53 for terms in steps)
