"""Makes an exchange of ccxt.pro as the ingestor needs it; the class itself stays as ccxt ships it."""

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from daedalus_common.events import Channel

WATCH: Final[dict[Channel, tuple[str, str, str]]] = {
    Channel.ORDERBOOK: ("watchOrderBook", "watch_order_book", "un_watch_order_book"),
    Channel.TRADES: ("watchTrades", "watch_trades", "un_watch_trades"),
    Channel.TICKER: ("watchTicker", "watch_ticker", "un_watch_ticker"),
}
"""Channel -> its name in ccxt's `has`, the method that subscribes, and the one that ends it (where there is one)."""

_BOOK_LIMITS: Final[dict[str, tuple[int, ...]]] = {
    "kraken": (10, 25, 100, 500, 1000),
    "bybit": (1, 50, 200, 1000),
    "bitfinex": (25, 100, 250),
}
"""Exchanges whose default book may be shallower than what we record; elsewhere ccxt's default is deep enough."""

_PINGS_PER_STALENESS: Final = 3


@dataclass(frozen=True, slots=True)
class ExchangeAccess:
    """How to reach one exchange. `name` is the user's, `id` ccxt's; `api_url` is the base of a local stand-in."""

    name: str
    id: str
    symbols: tuple[str, ...]
    api_url: str | None
    stale_after: timedelta
    api_key: str = field(default="", repr=False)
    api_secret: str = field(default="", repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)


def make_exchange(access: ExchangeAccess) -> Any:
    """An instance without any connection yet."""
    # The module alone: `import ccxt.pro` would also bind the other hundred classes' names.
    exchange_class = getattr(importlib.import_module(f"ccxt.pro.{access.id}"), access.id)
    exchange = exchange_class(
        {
            "apiKey": access.api_key,
            "secret": access.api_secret,
            "enableRateLimit": True,
            "newUpdates": True,
            "options": _options(access),
        }
    )
    keep_alive = int(access.stale_after.total_seconds() * 1000) // _PINGS_PER_STALENESS
    exchange.streaming = {
        **exchange.streaming,
        "keepAlive": min(keep_alive, exchange.streaming.get("keepAlive", keep_alive)),
    }
    if access.api_url:
        exchange.urls["api"] = rewritten(exchange.urls["api"], access.api_url)
    return exchange


def rewritten(urls: Any, api_url: str) -> Any:
    """Every URL of ccxt's nested `urls['api']` turned to a local exchange.

    The paths keep the marks by which ccxt's binance tells spot from the rest: `/api/v3`, and `/stream` for websockets.
    """
    base = api_url.rstrip("/")
    if isinstance(urls, dict):
        return {key: rewritten(value, base) for key, value in urls.items()}
    if isinstance(urls, str) and urls.startswith("ws"):
        return base.replace("http", "ws", 1) + "/stream/ws"
    return f"{base}/api/v3" if isinstance(urls, str) else urls


def book_limit(exchange_id: str, depth: int) -> int | None:
    """How deep to subscribe so that the top `depth` levels stay right.

    ccxt cuts a book to the limit for good: a level that scrolls in later is missing. So the next larger limit is
    taken, or None for ccxt's default, where that is deep.
    """
    limits = _BOOK_LIMITS.get(exchange_id)
    if limits is None:
        return None
    return next((limit for limit in limits if limit > depth), limits[-1])


def unsupported(exchange: Any, channels: Collection[Channel]) -> tuple[Channel, ...]:
    """The channels that ccxt cannot watch on this exchange."""
    return tuple(channel for channel in channels if exchange.has.get(WATCH[channel][0]) is not True)


def _options(access: ExchangeAccess) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if access.id.startswith("binance"):
        derivatives = any(":" in symbol for symbol in access.symbols)
        options["fetchMarkets"] = {"types": ["spot", "linear", "inverse"] if derivatives else ["spot"]}
        options["fetchCurrencies"] = False  # needs a key, and nothing here needs currencies
        options["watchTicker"] = options["watchTickers"] = {"name": "ticker"}  # the default has no bid and ask
    return {**options, **access.options}
