"""A matching order book: FIFO queues of order sizes at integer prices, with Binance's update ids."""

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from enum import IntEnum


class Side(IntEnum):
    BID = 0
    ASK = 1

    @property
    def opposite(self) -> "Side":
        return Side(1 - self)


@dataclass(frozen=True, slots=True)
class Fill:
    """One maker order (or a part of it) taken at its own price, in ticks and lots."""

    price: int
    lots: int


@dataclass(frozen=True, slots=True)
class Diff:
    """The levels that changed in updates ``first_id``..``last_id``, as (price, total lots); 0 lots = gone."""

    first_id: int
    last_id: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


class BookSide:
    """The levels of one side, best last in a sorted list of keys (price, or minus price for asks)."""

    __slots__ = ("_keys", "_queues", "_sign", "orders", "totals")

    def __init__(self, side: Side) -> None:
        self._sign = 1 if side is Side.BID else -1
        self._keys: list[int] = []
        self._queues: dict[int, deque[int]] = {}
        self.totals: dict[int, int] = {}
        self.orders = 0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def best(self) -> int:
        return self._keys[-1] * self._sign

    @property
    def worst(self) -> int:
        return self._keys[0] * self._sign

    def price_at(self, rank: int) -> int:
        """The price of the level ``rank`` levels behind the best."""
        return self._keys[-1 - rank] * self._sign

    def queue(self, price: int) -> deque[int]:
        return self._queues[price]

    def top(self, limit: int) -> list[tuple[int, int]]:
        """The best ``limit`` levels, best first, as (price, total lots)."""
        prices = [key * self._sign for key in self._keys[-1 : -limit - 1 : -1]]
        return [(price, self.totals[price]) for price in prices]

    def add(self, price: int, lots: int) -> None:
        self.orders += 1
        queue = self._queues.get(price)
        if queue is None:
            insort(self._keys, price * self._sign)
            self._queues[price] = deque((lots,))
            self.totals[price] = lots
        else:
            queue.append(lots)
            self.totals[price] += lots

    def reduce(self, price: int, position: int, lots: int) -> None:
        """Take ``lots`` off the order at ``position`` of the level's queue; an empty order or level goes."""
        queue = self._queues[price]
        queue[position] -= lots
        if queue[position] == 0:
            del queue[position]
            self.orders -= 1
        self.totals[price] -= lots
        if not queue:
            self.remove(price)

    def remove(self, price: int) -> None:
        del self._keys[bisect_left(self._keys, price * self._sign)]
        self.orders -= len(self._queues.pop(price))
        del self.totals[price]


class DiffWindow:
    """Collects which prices changed since its last flush."""

    __slots__ = ("_first_id", "_touched")

    def __init__(self, first_id: int) -> None:
        self._first_id = first_id
        self._touched: tuple[set[int], set[int]] = (set(), set())

    def touch(self, side: Side, price: int) -> None:
        self._touched[side].add(price)

    def flush(self, book: "Book") -> Diff | None:
        """The diff since the last flush (None if nothing changed); the next one starts right behind it."""
        if book.update_id < self._first_id:
            return None
        bids, asks = (
            [(price, book.sides[side].totals.get(price, 0)) for price in sorted(self._touched[side])] for side in Side
        )
        diff = Diff(self._first_id, book.update_id, bids, asks)
        self._first_id = book.update_id + 1
        self._touched = (set(), set())
        return diff


class Book:
    """Both sides of one market. Each change of a level is one update id, as on Binance."""

    def __init__(self, update_id: int, windows: int = 1) -> None:
        self.update_id = update_id
        self.sides = (BookSide(Side.BID), BookSide(Side.ASK))
        self.windows = tuple(DiffWindow(update_id + 1) for _ in range(windows))

    @property
    def best_bid(self) -> int:
        return self.sides[Side.BID].best

    @property
    def best_ask(self) -> int:
        return self.sides[Side.ASK].best

    def top(self) -> tuple[int, int, int, int]:
        """(bid price, bid lots, ask price, ask lots)."""
        bids, asks = self.sides
        bid, ask = bids.best, asks.best
        return bid, bids.totals[bid], ask, asks.totals[ask]

    def add(self, side: Side, price: int, lots: int) -> None:
        """Rest a limit order. Raises ``ValueError`` for one that would cross or has no size."""
        other = self.sides[side.opposite]
        crosses = len(other) > 0 and (price >= other.best if side is Side.BID else price <= other.best)
        if crosses or lots <= 0 or price <= 0:
            raise ValueError(f"cannot rest {lots} lots at {price} on the {side.name} side")
        self.sides[side].add(price, lots)
        self._touch(side, price)

    def cancel(self, side: Side, price: int, position: int) -> None:
        """Withdraw the order at ``position`` of the level's queue."""
        levels = self.sides[side]
        levels.reduce(price, position, levels.queue(price)[position])
        self._touch(side, price)

    def pull(self, side: Side, price: int) -> None:
        """Withdraw a whole level."""
        self.sides[side].remove(price)
        self._touch(side, price)

    def take(self, side: Side, lots: int, limit: int) -> list[Fill]:
        """Match a market order against ``side``, best price and oldest order first, no further than ``limit``."""
        levels = self.sides[side]
        fills: list[Fill] = []
        while lots > 0 and len(levels) > 0:
            price = levels.best
            if price > limit if side is Side.ASK else price < limit:
                break
            taken = min(lots, levels.queue(price)[0])
            levels.reduce(price, 0, taken)
            self._touch(side, price)
            fills.append(Fill(price, taken))
            lots -= taken
        return fills

    def _touch(self, side: Side, price: int) -> None:
        self.update_id += 1
        for window in self.windows:
            window.touch(side, price)
