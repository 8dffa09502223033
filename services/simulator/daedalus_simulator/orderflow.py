"""What traders do: quotes that follow the fair value and refill the book, and market orders that eat levels."""

import math
from dataclasses import dataclass

from daedalus_simulator.book import Book, BookSide, Fill, Side
from daedalus_simulator.draws import Draws
from daedalus_simulator.liquidity import Liquidity, order_lots

_MIN_LEVELS = 20
"""No cancel and no market order may leave a side with fewer levels."""
_ORDERS_PER_LEVEL = 1.5
_MAX_PULLED = 8
"""Stale levels withdrawn by one quote."""


@dataclass(frozen=True, slots=True)
class MarketOrder:
    """What a market order did: ``taken`` is the side of the book it ate."""

    taken: Side
    fills: list[Fill]


class OrderFlow:
    """Acts on one book. It decides by draws alone, so equal draws give equal books."""

    def __init__(self, book: Book, liquidity: Liquidity, draws: Draws) -> None:
        self._book = book
        self._liquidity = liquidity
        self._draws = draws
        self._last_taken = Side.ASK

    def quote(self, fair: float) -> None:
        """One maker's action: withdraw stale levels, else narrow a wide spread, else add or cancel an order."""
        book = self._book
        if book.best_ask <= fair:
            self._pull_stale(Side.ASK, fair)
        elif book.best_bid >= fair:
            self._pull_stale(Side.BID, fair)
        elif self._draws.uniform() < 0.7 * (1 - self._liquidity.spread / (book.best_ask - book.best_bid)):
            self._narrow(fair)
        else:
            self._add_or_cancel(Side.BID if self._draws.uniform() < 0.5 else Side.ASK)

    def market_order(self, fair: float) -> MarketOrder:
        """One taker's order: informed when the touch is stale, else by the habit of taking the same side again."""
        side = self._taken_side(fair)
        levels = self._book.sides[side]
        typical = 0.1 * self._liquidity.lots
        lots = max(1, round(typical * math.exp(1.3 * self._draws.normal())))
        limit = levels.price_at(min(10, len(levels) - _MIN_LEVELS)) if len(levels) > _MIN_LEVELS else levels.best
        if len(levels) <= _MIN_LEVELS:
            lots = min(lots, max(1, levels.totals[levels.best] - 1))
        self._last_taken = side
        return MarketOrder(side, self._book.take(side, lots, limit))

    def small_order(self) -> MarketOrder:
        """A market order that one maker order fills: exactly one trade."""
        side = Side.BID if self._draws.uniform() < 0.5 else Side.ASK
        levels = self._book.sides[side]
        first = levels.queue(levels.best)[0]
        lots = min(first, max(1, round(0.01 * self._liquidity.lots * self._draws.exponential())))
        if len(levels) <= _MIN_LEVELS and lots == levels.totals[levels.best]:
            self._book.add(side, levels.best, order_lots(self._liquidity, 0, self._draws))
        return MarketOrder(side, self._book.take(side, lots, levels.best))

    def _taken_side(self, fair: float) -> Side:
        if fair >= self._book.best_ask:
            return Side.ASK
        if fair <= self._book.best_bid:
            return Side.BID
        # Signs of real market orders are strongly autocorrelated (split parent orders).
        return self._last_taken if self._draws.uniform() < 0.65 else self._last_taken.opposite

    def _pull_stale(self, side: Side, fair: float) -> None:
        """Withdraw the levels the fair value has passed, and requote: one order at the new touch, the rest deeper."""
        book, levels = self._book, self._book.sides[side]
        pulled = 0
        while pulled < _MAX_PULLED and len(levels) > _MIN_LEVELS:
            stale = levels.best <= fair if side is Side.ASK else levels.best >= fair
            if not stale:
                break
            book.pull(side, levels.best)
            pulled += 1
        self._rest(side, self._near(side, fair))
        for _ in range(pulled - 1):
            self._add(side)

    def _narrow(self, fair: float) -> None:
        """Quote inside the spread, on the side that lies farther from the fair value: with a new order where
        the side lacks orders, else with one moved there."""
        bid, ask = self._book.best_bid, self._book.best_ask
        side = Side.ASK if ask - fair > fair - bid else Side.BID
        if self._missing_orders(side) <= 0 and len(self._book.sides[side]) > _MIN_LEVELS:
            self._cancel(side)
        near = self._near(side, fair)
        self._rest(side, max(near, bid + 1) if side is Side.BID else min(near, ask - 1))

    def _near(self, side: Side, fair: float) -> int:
        away = 0.5 * self._liquidity.spread * (0.5 + 0.5 * self._draws.exponential())
        return math.ceil(fair + away) if side is Side.ASK else math.floor(fair - away)

    def _add_or_cancel(self, side: Side) -> None:
        """Keep the number of orders near its target: it is adds against cancels that decide it, and joining
        against opening (in `_add`) that decides the number of levels."""
        levels = self._book.sides[side]
        adds = min(0.95, max(0.05, 0.5 + 2 * self._missing_orders(side)))
        if self._draws.uniform() < adds or len(levels) <= _MIN_LEVELS:
            self._add(side)
        else:
            self._cancel(side)

    def _missing_orders(self, side: Side) -> float:
        """The share of its usual number of orders that a side lacks."""
        return 1 - self._book.sides[side].orders / (_ORDERS_PER_LEVEL * self._liquidity.levels)

    def _add(self, side: Side) -> None:
        """Join a level, or open one; distances from the touch have a heavy tail."""
        levels = self._book.sides[side]
        missing = 1 - len(levels) / self._liquidity.levels
        draw = self._draws.uniform()
        if self._draws.uniform() < min(0.9, max(0.1, 0.4 - 2 * missing)):
            self._rest(side, levels.price_at(min(len(levels) - 1, int(3 * (draw**-0.7 - 1)))))
            return
        distance = int(5 * self._liquidity.gap * (draw**-0.9 - 1))
        # On a coarse grid the prices near the touch are all taken: a book that has lost levels reopens far ones.
        if distance > self._liquidity.span or self._draws.uniform() < missing:
            distance = int(self._draws.uniform() * self._liquidity.span)
        self._rest(side, levels.best - distance if side is Side.BID else levels.best + distance)

    def _cancel(self, side: Side) -> None:
        """Withdraw one order: most cancels are near the touch, some anywhere, rather from the longer of two
        queues: every order has its chance, so no queue grows without end."""
        levels = self._book.sides[side]
        first, second = levels.price_at(self._rank(levels)), levels.price_at(self._rank(levels))
        price = first if len(levels.queue(first)) >= len(levels.queue(second)) else second
        orders = len(levels.queue(price))
        self._book.cancel(side, price, min(orders - 1, int(self._draws.uniform() * orders)))

    def _rank(self, levels: BookSide) -> int:
        near = self._draws.uniform() < 0.6
        rank = 12 * self._draws.exponential() if near else self._draws.uniform() * len(levels)
        return min(len(levels) - 1, int(rank))

    def _rest(self, side: Side, price: int) -> None:
        """A limit order at ``price``, or at the nearest price that does not cross and is positive."""
        bid, ask = self._book.best_bid, self._book.best_ask
        price = max(1, min(price, ask - 1)) if side is Side.BID else max(price, bid + 1)
        distance = abs(self._book.sides[side].best - price)
        self._book.add(side, price, order_lots(self._liquidity, distance, self._draws))
