"""Opening, replacing and closing instances of one exchange."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from ccxt.base.errors import DDoSProtection, ExchangeNotAvailable, RateLimitExceeded

log = structlog.get_logger(__name__)

_LOAD_SECONDS = 60.0
_CLOSE_SECONDS = 5.0
_LONGEST_RETRY_AFTER_SECONDS = 3600.0

OVERLOADED = (RateLimitExceeded, DDoSProtection, ExchangeNotAvailable)
"""HTTP 429, 418 and 503: the exchange asks everybody at our address to come later."""


class OpenError(Exception):
    """The markets could not be loaded; `retry_after` is what the exchange asked for, in seconds."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class ExchangeSession:
    """The current instance; a broken one is replaced by a new one that knows the same markets."""

    def __init__(self, new_exchange: Callable[[], Any]) -> None:
        self._new_exchange = new_exchange
        self._closing: set[asyncio.Task[None]] = set()
        self.exchange: Any = None

    async def open(self) -> Any:
        """An instance that has loaded its markets, in the place of any other. Raises OpenError, and leaves nothing
        open then that was not open before."""
        exchange = self._new_exchange()
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                await exchange.load_markets()
        except Exception as error:
            self._close_later(exchange)
            raise OpenError(describe(error), retry_after_seconds(exchange, error)) from error
        except BaseException:
            self._close_later(exchange)
            raise
        if self.exchange is not None:
            self._close_later(self.exchange)
        self.exchange = exchange
        return exchange

    def replace(self) -> Any:
        """A fresh instance with the old one's markets; the old one is closed meanwhile, which may take seconds."""
        old, new = self.exchange, self._new_exchange()
        new.set_markets(old.markets, old.currencies)
        self.exchange = new
        self._close_later(old)
        return new

    async def close(self) -> None:
        """Every instance, within a few seconds."""
        if self.exchange is not None:
            self._close_later(self.exchange)
            self.exchange = None
        await asyncio.gather(*self._closing)

    def _close_later(self, exchange: Any) -> None:
        # A task of its own, as closing a broken connection waits for its time-outs; the loop holds tasks only weakly.
        task = asyncio.create_task(_close(exchange))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _close(exchange: Any) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await exchange.close()
    except Exception as error:
        log.warning("exchange did not close cleanly", exchange=exchange.id, error=repr(error))


def retry_after_seconds(exchange: Any, error: BaseException) -> float:
    """How long the exchange asked us to stay away, by the headers of its last answer; 0 when it did not."""
    if not isinstance(error, OVERLOADED):
        return 0.0
    headers = exchange.last_response_headers or {}
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), None)
    try:
        return min(max(0.0, float(value)), _LONGEST_RETRY_AFTER_SECONDS) if value is not None else 0.0
    except ValueError:
        return 0.0


def describe(error: BaseException) -> str:
    """One line for an operator; ccxt's errors may hold a whole HTML page."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
