"""Feeds the markets whose lease this replica holds, and takes leases of those whose exchange it reaches.

leases -> open the market, recall its end -> feed (tap) -> queue -> publisher -> {market}:raw
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog
from redis.exceptions import RedisError

from daedalus_common.broker.client import Client
from daedalus_common.broker.errors import described
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.owner import Tenure
from daedalus_common.service import pause
from daedalus_common.telemetry import Health
from daedalus_ingestor import metrics
from daedalus_ingestor.feed import CcxtFeed
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.late_events import LateEvents, keep_spool
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.publisher import Publisher
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.reach import PATIENCE
from daedalus_ingestor.recollection import is_begun, recall
from daedalus_ingestor.settings import DRAIN, GIVE, Settings
from daedalus_ingestor.spool import Spool
from daedalus_ingestor.spool_opening import open_spool, open_spool_afterwards

log = structlog.get_logger(__name__)

_TURN_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_FLUSH_LOOK_SECONDS = 0.02
_PATIENT_SECONDS = 2.0
"""Of a former owner that is frozen every market's folder is locked: to wait for each of them would leave the last one
without a feed for long. A market gets its spool later then."""


class Ingestor:
    """Follows the leases: a market is fed while its lease is held, and only then."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
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
        self._keeper.replicas.ability = lambda exchange: self._feeds[exchange].ability()
        self._keeper.replicas.patience = PATIENCE * max(
            (feed.stale_after for feed in settings.feeds.values()), default=timedelta(0)
        )
        self._outboxes: dict[Market, Outbox] = {}
        self._published: dict[Market, int] = {}
        """Each outbox's first unpublished number when the load was last measured."""
        self._retry_at = 0.0
        self._opening: Market | None = None
        self._spool_retry_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then everything captured is published and the leases are given back."""
        left = asyncio.Event()
        spooling = asyncio.create_task(self._keep_spool(self._spool, left)) if self._spool is not None else None
        async with Tenure(self._keeper, self._settings.lease_renew, self, self._health) as tenure:
            try:
                async with asyncio.TaskGroup() as group:
                    for feed in self._feeds.values():
                        group.create_task(feed.run(stop))
                    group.create_task(self._publisher.run(stop))
                    group.create_task(self._follow_leases(stop, tenure, spooling))
            finally:
                await self._finish(tenure)
                left.set()
                if spooling is not None:
                    await asyncio.gather(spooling, return_exceptions=True)

    async def _keep_spool(self, spool: Spool, stop: asyncio.Event) -> None:
        calm, markets = (lambda: self._queue.is_calm), self._settings.markets
        await keep_spool(spool, LateEvents(spool, self._client, self._log, markets, calm), stop)

    async def _follow_leases(self, stop: asyncio.Event, tenure: Tenure, spooling: asyncio.Task[None] | None) -> None:
        while not await pause(stop, _TURN_SECONDS):
            self._health.beat()
            tenure.check()
            if spooling is not None and spooling.done():
                spooling.result()  # raises what ended it: nothing would be written to the disk any more, unnoticed
            for market, outbox in tuple(self._outboxes.items()):
                # While one is dropped, another may be given.
                if self._outboxes.get(market) is outbox and self._keeper.held.get(market) != outbox.lease:
                    await self._drop(market)
                    self._health.beat()
            if time.monotonic() >= self._retry_at:
                await self._take_new()
            if time.monotonic() >= self._spool_retry_at:
                await self._take_spools()
            self._measure_load()
            metrics.MARKETS.set(len(self._outboxes))

    def _measure_load(self) -> None:
        now, load = time.monotonic(), self._keeper.load
        for market in self._keeper.held:
            outbox = self._outboxes.get(market)
            if outbox is not None:
                load.count(market, outbox.first - self._published[market])
                self._published[market] = outbox.first
            if outbox is None or not self._feeds[market.exchange].is_fed(market):
                # Or whoever cannot feed its markets would seem to have the least to do, and get more of them.
                load.rest(market, now)

    async def _take_new(self) -> None:
        until = time.monotonic() + _PATIENT_SECONDS
        for market, lease in tuple(self._keeper.held.items()):
            if market not in self._outboxes and self._feeds[market.exchange].can_feed(market):
                self._opening = market
                self._health.beat()
                try:
                    await self._take(lease, patiently=time.monotonic() < until)
                except (RedisError, OSError) as error:
                    log.warning("market not opened, trying again", market=market.name, error=described(error))
                    self._retry_at = time.monotonic() + _RETRY_SECONDS
                    if self._spool is not None:
                        await self._spool.close(market)  # another may be the next to take it
                    return
                finally:
                    self._opening = None

    async def _take(self, lease: Lease, *, patiently: bool) -> None:
        market = lease.market
        await self._log.open_market(market)
        opened = await open_spool(self._spool, self._client, lease, patiently=patiently)
        recollection = await recall(self._client, market, opened.newest)
        reason = Reason.TAKEOVER if opened.newest or await is_begun(self._client, market) else Reason.START
        if self._keeper.held.get(market) != lease:
            if self._spool is not None:
                await self._spool.close(market)
            log.info("lease gone before the market was fed", market=market.name, epoch=lease.epoch)
            return
        outbox = self._queue.open(lease, opened.spool)
        self._outboxes[market] = outbox
        self._published[market] = outbox.first
        self._feeds[market.exchange].add(market, outbox, recollection, reason)
        log.info("feeding market", market=market.name, epoch=lease.epoch)

    async def _take_spools(self) -> None:
        """For the markets that got none when they were taken: a second without Redis would cost events."""
        self._spool_retry_at = time.monotonic() + _RETRY_SECONDS
        if self._spool is None:
            return
        for outbox in tuple(self._outboxes.values()):
            if outbox.spool is None:
                try:
                    await self._take_spool(self._spool, outbox)
                except (RedisError, OSError):
                    return  # whoever publishes tells of it

    async def _take_spool(self, spool: Spool, outbox: Outbox) -> None:
        market = outbox.lease.market
        opened = await open_spool_afterwards(spool, self._client, outbox.lease)
        if opened is None:
            return
        if self._outboxes.get(market) is outbox and outbox in self._queue.outboxes:
            outbox.attach(opened)
        else:
            await spool.close(market)  # given or lost meanwhile

    async def _drop(self, market: Market) -> None:
        """The lease is another's: whatever is queued would be refused."""
        outbox = self._outboxes.pop(market)
        await self._feeds[market.exchange].remove(market)
        abandoned = await self._close(outbox)
        metrics.ABANDONED.labels(reason="fenced").inc(abandoned)
        log.warning("market lost", market=market.name, abandoned=abandoned)

    async def release(self, market: Market) -> bool:
        """Another replica shall have the market: what was captured goes out first."""
        if market == self._opening:
            return False
        outbox = self._outboxes.get(market)
        if outbox is None:
            return True
        if outbox.unread:
            log.info("market kept until its spool is empty", market=market.name, spooled=outbox.unread)
            return False
        del self._outboxes[market]
        await self._feeds[market.exchange].remove(market)
        abandoned = await self._flush(outbox)
        log.info("market given", market=market.name, abandoned=abandoned)
        return True

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

    async def _finish(self, tenure: Tenure) -> None:
        """A spool whose market was not taken by now waits for the next start, of this replica or another."""
        for feed in self._feeds.values():
            feed.silence()
        closing = asyncio.gather(*(feed.close() for feed in self._feeds.values()))
        drained = asyncio.Event()
        giving = asyncio.create_task(self._give_published(tenure, drained))
        await self._publisher.drain(DRAIN)
        drained.set()
        await giving
        spooled = self._queue.keep()
        abandoned = sum([await self._close(outbox) for outbox in tuple(self._queue.outboxes)])
        if spooled:
            log.warning("stopped without Redis: captured events stay in the spool until the next start", events=spooled)
        if abandoned:
            metrics.ABANDONED.labels(reason="stop").inc(abandoned)
            log.error(
                "stopped without Redis: captured events are lost", lost=abandoned, waited_seconds=DRAIN.total_seconds()
            )
        await closing

    async def _give_published(self, tenure: Tenure, drained: asyncio.Event) -> None:
        """Each market is free for others as soon as all that was captured of it is in the stream."""
        await tenure.retire()
        while self._outboxes:
            for market, outbox in tuple(self._outboxes.items()):
                # A round of leases that was under way may give some itself.
                if self._outboxes.get(market) is outbox and not outbox.events and not outbox.unread:
                    del self._outboxes[market]
                    await self._close(outbox)
                    tenure.release(market)
            if await pause(drained, _FLUSH_LOOK_SECONDS):
                return
