"""The first step with an exchange: load its markets, and find out what of the configuration it can serve."""

import asyncio
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from daedalus_common.events import Channel
from daedalus_common.markets import Market
from daedalus_common.service import pause
from daedalus_common.telemetry import Health
from daedalus_ingestor import metrics
from daedalus_ingestor.backoff import Backoff
from daedalus_ingestor.ccxt_exchange import WATCH, unsupported
from daedalus_ingestor.exchange_session import ExchangeSession, OpenError

log = structlog.get_logger(__name__)

Recordable = Mapping[Market, tuple[Channel, ...]]


async def open_patiently(
    session: ExchangeSession,
    name: str,
    backoff: Backoff,
    health: Health,
    chance: Callable[[], float],
    stop: asyncio.Event,
) -> Any | None:
    """The exchange with its markets loaded; None when it was given up, or `stop` came first."""
    check = f"exchange {name}"
    failures = 0
    while not stop.is_set():
        try:
            return await session.open()
        except OpenError as error:
            failures += 1
            metrics.FAILURES.labels(exchange=name, stage="open").inc()
            delay = backoff.delay(failures, chance(), error.retry_after)
            if delay is None:
                health.mark_unready(check, f"gave up loading the markets after {failures} attempts: {error}")
                log.error("gave up loading the markets", exchange=name, attempts=failures, reason=str(error))
                return None
            health.mark_unready(check, f"markets not loaded: {error}")
            retry_in = round(delay, 1)
            log.warning("markets not loaded", exchange=name, attempt=failures, retry_in=retry_in, reason=str(error))
            await pause(stop, delay)
    return None


def recordable(exchange: Any, name: str, configured: Recordable) -> Recordable:
    """What the exchange lists and ccxt can watch there; the rest is reported, and does not stop the others.

    One bad symbol in a subscription can close the connection of all, so none is asked for.
    """
    found: dict[Market, tuple[Channel, ...]] = {}
    unknown = 0
    for market, channels in configured.items():
        symbol = market.symbol
        if symbol not in exchange.markets:
            unknown += 1
            near = nearest_symbols(symbol, exchange.markets)
            log.error("unknown symbol, not recorded", exchange=name, symbol=symbol, nearest=near)
            continue
        missing = unsupported(exchange, channels)
        if missing:
            names = [WATCH[channel][0] for channel in missing]
            log.error("ccxt cannot watch this on the exchange", exchange=name, symbol=symbol, missing=names)
        served = tuple(channel for channel in channels if channel not in missing)
        if served:
            found[market] = served
    metrics.UNKNOWN_SYMBOLS.labels(exchange=name).set(unknown)
    return found


def nearest_symbols(symbol: str, listed: Iterable[str]) -> list[str]:
    """Up to three names that the user may have meant."""
    return difflib.get_close_matches(symbol, list(listed), n=3, cutoff=0.6)
