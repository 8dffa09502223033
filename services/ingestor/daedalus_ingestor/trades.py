"""Which trades of ccxt's cache are new.

The cache is a bounded deque that ccxt appends to; after a resubscription some exchanges send their latest trades
again. So: walk back to the last trade seen, and pass over ids that are recorded already.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

MEMORY = 2000
"""Recorded ids kept per market: twice the longest list that an exchange repeats (ccxt keeps 1,000 trades)."""

RawTrade = dict[str, Any]


class NewTrades(NamedTuple):
    """`repeated` counts those that are recorded already; `complete` is False when more came at once than the cache
    holds, so that some are gone."""

    trades: list[RawTrade]
    repeated: int
    complete: bool


class TradeReader:
    """Reads one market's cache, each trade once."""

    def __init__(self, recorded: Iterable[str] = (), newest_ts: int | None = None, memory: int = MEMORY) -> None:
        """`recorded` are the ids of a predecessor's trades, `newest_ts` the exchange's time of the newest, in ms."""
        self._newest_ts = newest_ts
        self._ends: tuple[tuple[Any, RawTrade], ...] = ()
        """Of each cache that is known, the last trade that is behind us."""
        self._order: deque[str] = deque(recorded, memory)
        self._recorded = set(self._order)

    def begin_after(self, caches: Iterable[Any]) -> None:
        """What these caches hold already is none of ours: a gap covers it."""
        ends = {id(cache): (cache, last) for cache, last in self._ends}
        ends.update((id(cache), (cache, cache[-1])) for cache in caches if len(cache))
        self._ends = tuple(ends.values())

    def read(self, cache: Any) -> NewTrades:
        """The trades appended since the last call, oldest first, without those that are recorded."""
        last, new = next((last for known, last in self._ends if known is cache), None), []
        found = last is None
        for trade in reversed(cache):
            if trade is last:
                found = True
                break
            new.append(trade)
        if not new:
            return NewTrades([], 0, True)
        self._ends = ((cache, new[0]),)
        new.reverse()
        recorded = self._recorded
        trades = [trade for trade in new if trade["id"] not in recorded]
        if self._newest_ts is not None:
            # What an exchange sends to every new subscriber reaches back further than the ids that are known: an hour
            # in a quiet market. Whatever is older than the newest is recorded already, or in a gap.
            newest_ts, self._newest_ts = self._newest_ts, None
            trades = [trade for trade in trades if (trade.get("timestamp") or newest_ts) >= newest_ts]
        return NewTrades(trades, len(new) - len(trades), found or len(new) < (cache.max_size or len(new) + 1))

    def remember(self, id_: str) -> None:
        """A trade with this id is recorded; trades without an id cannot be told apart and are never remembered."""
        if not id_ or id_ in self._recorded:
            return
        order = self._order
        if len(order) == order.maxlen:
            self._recorded.discard(order[0])
        order.append(id_)
        self._recorded.add(id_)
