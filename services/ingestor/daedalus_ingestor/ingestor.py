"""Feeds the markets whose lease this replica holds.

leases -> open the market, recall its end -> feed (tap) -> queue -> publisher -> {market}:raw
"""

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from daedalus_common.broker.lease_keeper import LeaseKeeper, keep_leases
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.service import pause
from daedalus_common.telemetry import Health
from daedalus_ingestor import metrics
from daedalus_ingestor.feed import CcxtFeed
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.publisher import Publisher
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.recollection import recall
from daedalus_ingestor.settings import DRAIN, GIVE, Settings
from daedalus_ingestor.spool import Spool
from daedalus_ingestor.spool_opening import open_spool

log = structlog.get_logger(__name__)

_TURN_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_FLUSH_LOOK_SECONDS = 0.02


class Ingestor:
    """Follows the leases: a market is fed while its lease is held, and only then."""

    def __init__(
        self,
        settings: Settings,
        client: Redis,
        keeper: LeaseKeeper,
        health: Health,
        new_feed: Callable[[str, EventQueue], CcxtFeed],
        spool: Spool | None = None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._log = MarketLog(client, settings.groups)
        self._keeper = keeper
        self._health = health
        self._spool = spool
        self._queue = EventQueue(settings.queue_maxsize)
        self._feeds: Mapping[str, CcxtFeed] = {name: new_feed(name, self._queue) for name in settings.feeds}
        self._publisher = Publisher(
            self._log, self._queue, settings.batch_size, settings.linger, health, self._keeper.lose
        )
        self._outboxes: dict[Market, Outbox] = {}
        self._giving: set[Market] = set()
        self._retry_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then everything captured is published and the leases are given back."""
        left = asyncio.Event()
        spooling = asyncio.create_task(self._spool.run(left)) if self._spool is not None else None
        leases = asyncio.create_task(keep_leases(self._keeper, self._settings.lease_renew, self._give, left))
        try:
            async with asyncio.TaskGroup() as group:
                for feed in self._feeds.values():
                    group.create_task(feed.run(stop))
                group.create_task(self._publisher.run(stop))
                group.create_task(self._follow_leases(stop, leases))
        finally:
            await self._finish(leases, spooling, left)

    async def _follow_leases(self, stop: asyncio.Event, leases: "asyncio.Task[None]") -> None:
        while not await pause(stop, _TURN_SECONDS):
            self._health.beat()
            if leases.done():
                leases.result()
            for market, outbox in tuple(self._outboxes.items()):
                if self._keeper.held.get(market) != outbox.lease and market not in self._giving:
                    await self._drop(market)
            if time.monotonic() >= self._retry_at:
                await self._take_new()
            metrics.MARKETS.set(len(self._outboxes))

    async def _take_new(self) -> None:
        for market, lease in tuple(self._keeper.held.items()):
            ready = market not in self._outboxes and market not in self._giving
            if ready and self._feeds[market.exchange].can_feed(market):
                try:
                    await self._take(lease)
                except (RedisError, OSError) as error:
                    log.warning("market not opened, trying again", market=market.name, error=repr(error))
                    self._retry_at = time.monotonic() + _RETRY_SECONDS
                    return

    async def _take(self, lease: Lease) -> None:
        market = lease.market
        await self._log.open_market(market)
        opened = await open_spool(self._spool, self._client, lease)
        recollection = await recall(self._client, market, opened.newest)
        outbox = self._queue.open(lease, opened.spool)
        self._outboxes[market] = outbox
        # The stream may already hold a genesis, so it is the first epoch that tells a beginning.
        reason = Reason.START if lease.epoch == 1 else Reason.TAKEOVER
        self._feeds[market.exchange].add(market, outbox, recollection, reason)
        log.info("feeding market", market=market.name, epoch=lease.epoch)

    async def _drop(self, market: Market) -> None:
        """The lease is another's: whatever is queued would be refused."""
        outbox = self._outboxes.pop(market)
        await self._feeds[market.exchange].remove(market)
        abandoned = await self._close(outbox)
        metrics.ABANDONED.labels(reason="fenced").inc(abandoned)
        log.warning("market lost", market=market.name, abandoned=abandoned)

    async def _give(self, market: Market) -> None:
        """Another replica shall have the market: what was captured goes out first."""
        held = self._outboxes.get(market)
        if held is not None and held.unread:
            log.info("market kept until its spool is empty", market=market.name, spooled=held.unread)
            return
        self._giving.add(market)
        try:
            outbox = self._outboxes.pop(market, None)
            if outbox is not None:
                await self._feeds[market.exchange].remove(market)
                abandoned = await self._flush(outbox)
                log.info("market given", market=market.name, abandoned=abandoned)
            await self._keeper.give(market)
        finally:
            self._giving.discard(market)

    async def _flush(self, outbox: Outbox) -> int:
        """Waits until the publisher has sent the outbox; returns how many events it did not get rid of."""
        for _ in range(round(GIVE.total_seconds() / _FLUSH_LOOK_SECONDS)):
            if not outbox.events and not outbox.unread:
                break
            await asyncio.sleep(_FLUSH_LOOK_SECONDS)
        abandoned = await self._close(outbox)
        metrics.ABANDONED.labels(reason="stop").inc(abandoned)
        return abandoned

    async def _close(self, outbox: Outbox) -> int:
        """Forgets the market; returns how many events are lost. What is in its spool stays there."""
        abandoned = self._queue.close(outbox)
        if self._spool is not None:
            await self._spool.close(outbox.lease.market)
        return abandoned

    async def _finish(
        self, leases: "asyncio.Task[None]", spooling: "asyncio.Task[None] | None", left: asyncio.Event
    ) -> None:
        for feed in self._feeds.values():
            feed.silence()
        closing = asyncio.gather(*(feed.close() for feed in self._feeds.values()))
        await self._publisher.drain(DRAIN)
        spooled = self._queue.keep()
        abandoned = sum([await self._close(outbox) for outbox in tuple(self._queue.outboxes)])
        if spooled:
            log.warning("stopped without Redis: captured events stay in the spool until the next start", events=spooled)
        if abandoned:
            metrics.ABANDONED.labels(reason="stop").inc(abandoned)
            log.error(
                "stopped without Redis: captured events are lost", lost=abandoned, waited_seconds=DRAIN.total_seconds()
            )
        left.set()
        await asyncio.gather(leases, *([spooling] if spooling else []), return_exceptions=True)
        try:
            await self._keeper.leave()
        except (RedisError, OSError) as error:
            log.warning("leases not given back, they run out by themselves", error=repr(error))
        await closing
