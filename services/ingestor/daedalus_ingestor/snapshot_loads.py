"""The snapshots of books that ccxt has under way over REST, so that they can be ended.

ccxt fetches each in a task of its own, which knows its book by the symbol alone. When the subscription begins anew
meanwhile (the connection was lost, the market left and came back), there are two such tasks. The first to end makes the
book good; the second puts it a second or so ahead, and what lies between is nowhere, without a word: requests wait for
each other in ccxt's rate limiter, so with some markets that is seconds long.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from daedalus_ingestor.subscriptions import Subscription

_LOADS: Final = frozenset(("fetch_order_book_snapshot", "load_order_book"))
"""The methods of ccxt.pro that fetch a snapshot over REST; where it comes by websocket it is in order anyway."""


class _Load:
    """One snapshot; its task begins only after `spawn` has returned."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.names = [each for argument in arguments if isinstance(each := _name(argument), str)]
        self.task: asyncio.Task[Any] | None = None
        self.ended = False


class SnapshotLoads:
    """Those of one exchange instance, whose `spawn` it wraps."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange
        self._loads: dict[_Load, None] = {}
        self._spawn, exchange.spawn = exchange.spawn, self._on_spawn

    def has(self, subscription: Subscription) -> bool:
        """Is one under way for the subscription's market?"""
        return bool(self._of(subscription))

    def end(self, subscription: Subscription) -> None:
        """Ends what is under way for the subscription's market."""
        ended = self._of(subscription)
        for load in ended:
            load.ended = True
            if load.task is not None:
                load.task.cancel()
        book = self._exchange.orderbooks.get(subscription.market.symbol) if ended else None
        if book is not None:
            book.cache.clear()  # some exchanges' handlers ask for the snapshot when so and so many updates are in it

    def _of(self, subscription: Subscription) -> list[_Load]:
        return [
            load
            for load in self._loads
            if not load.ended and any(subscription.is_named_in(name) for name in load.names)
        ]

    def _on_spawn(self, method: Callable[..., Any], *arguments: Any) -> Any:
        if getattr(method, "__name__", "") not in _LOADS:
            return self._spawn(method, *arguments)
        load = _Load(arguments)
        self._loads[load] = None
        return self._spawn(self._run, load, method, *arguments)

    async def _run(self, load: _Load, method: Callable[..., Any], *arguments: Any) -> Any:
        load.task = asyncio.current_task()
        try:
            return None if load.ended else await method(*arguments)
        finally:
            del self._loads[load]


def _name(argument: Any) -> Any:
    """What may name a market: a symbol, a message hash, or a subscription, which holds the symbol."""
    return argument.get("symbol") if isinstance(argument, dict) else argument
