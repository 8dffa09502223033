"""One channel of one market: where it stands, and what the tap and the feed remember about it."""

import asyncio
import re
from enum import StrEnum
from typing import Any

from daedalus_common.events import Channel, Gap
from daedalus_common.markets import Market
from daedalus_ingestor import metrics
from daedalus_ingestor.gaps import Place
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.trades import TradeReader


class State(StrEnum):
    WAITING = "waiting"
    """To be subscribed at `retry_at`."""
    STARTING = "starting"
    """Subscribed, nothing came yet."""
    LIVE = "live"
    GIVEN_UP = "given_up"


class Subscription:
    """Mutable, and shared by the tap (which records) and the feed (which keeps it subscribed)."""

    __slots__ = (
        "_counted", "_labels", "_names", "channel", "dropped", "events", "failures", "frame", "market",
        "message_hash", "old_book", "outbox", "place", "retry_at", "seen", "since", "state", "task", "trades",
    )  # fmt: skip

    def __init__(
        self,
        market: Market,
        market_id: str | None,
        channel: Channel,
        outbox: Outbox,
        place: Place,
        trades: TradeReader,
    ) -> None:
        self.market = market
        self.channel = channel
        self.outbox = outbox
        self.place = place
        self.trades = trades
        # Of the feed; times by its monotonic clock, in seconds.
        self.state = State.WAITING
        self.since = 0.0
        self.retry_at = 0.0
        self.failures = 0
        self.task: asyncio.Task[Any] | None = None
        # Of the tap: the frame, hash and object of the last update, to recognise the same one under a second hash.
        self.frame = -1
        self.message_hash: str | None = None
        self.seen: Any = None
        self.old_book: Any = None
        """ccxt's book from before the subscription, not to be recorded until it is begun anew."""
        # Running totals.
        self.events = 0
        self.dropped = 0
        """Events dropped since the last overflow gap."""
        self._counted = 0
        self._labels = {"exchange": market.exchange, "symbol": market.symbol, "channel": channel.value}
        self._names = _pattern(market.symbol, market_id)
        metrics.EVENTS.labels(**self._labels)
        metrics.DROPPED.labels(**self._labels)

    def is_named_in(self, message_hash: str) -> bool:
        """Does the hash name this market? `orderbook::BTC/USDT` does not name `TC/USDT` or `BTC/USDT:USDT`."""
        return self._names.search(message_hash) is not None

    def drop_task(self) -> None:
        """Nobody waits for its first update any more."""
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def count_gap(self, gap: Gap) -> None:
        metrics.GAPS.labels(**self._labels, reason=gap.reason).inc()

    def count_rejected(self) -> None:
        metrics.REJECTED.labels(**self._labels).inc()

    def count_dropped(self) -> None:
        metrics.DROPPED.labels(**self._labels).inc()

    def count_repeated(self, trades: int) -> None:
        metrics.REPEATED.labels(exchange=self.market.exchange, symbol=self.market.symbol).inc(trades)

    def report(self, now_ns: int) -> None:
        """Carries the totals over to Prometheus; called about once a second."""
        fresh = self.events - self._counted
        if fresh:
            self._counted = self.events
            metrics.EVENTS.labels(**self._labels).inc(fresh)
            metrics.LAST_EVENT.labels(**self._labels).set(now_ns / 1e9)


def _pattern(symbol: str, market_id: str | None) -> re.Pattern[str]:
    """Matches the market's names where no longer name contains them."""
    names = [re.escape(symbol)]
    # Some hashes hold the exchange's own id instead (`market.btcusdt.depth`); a bare number could be anything.
    if market_id and len(market_id) > 3 and not market_id.isdigit():
        names.append(re.escape(market_id))
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(names)})(?![a-z0-9]|[/:][a-z0-9])", re.IGNORECASE)
