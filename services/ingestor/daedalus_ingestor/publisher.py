"""Sends the queued events to their streams, in order, each exactly once.

    linger after an event came: one batch of each market with something to say, side by side; again while batches wait

A market that lags behind by several batches sends larger ones: in a burst the event loop spends up to 60 ms a turn on
frames, and a round trip takes two turns, so batches of 100 would end at 800 events/s, where 20,000/s come in.

A failed batch stays where it is and is sent again: the events of a market are numbered within its lease's epoch, and
the server skips the numbers that it has applied. So order is kept, and a lost reply doubles nothing. Each market pauses
for itself between its attempts, for in a cluster the others' server may be well.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from redis.exceptions import RedisError

from daedalus_common.broker.errors import Fenced, described
from daedalus_common.broker.market_log import MarketLog, Published
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.telemetry import Health
from daedalus_ingestor import metrics
from daedalus_ingestor.backoff import Backoff
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.queue import EventQueue

log = structlog.get_logger(__name__)

RETRY: Final = Backoff(timedelta(seconds=0.1), timedelta(seconds=2))
_AT_ONCE: Final = 8
"""Batches on their way side by side; each takes a connection."""
_PAUSE_SECONDS: Final = 0.02
_LAG_BATCHES: Final = 4
_CATCH_UP_EVENTS: Final = 1000
_BATCH_BYTES: Final = 2 * 1024 * 1024
"""Redis stands still for everybody while it takes one batch: about 10 ms for this much."""


class Publisher:
    """`fenced` is told of a lease that is another's; its unpublished events are for the spool then, or gone."""

    def __init__(
        self,
        market_log: MarketLog,
        queue: EventQueue,
        batch_size: int,
        linger: timedelta,
        health: Health,
        fenced: Callable[[Lease], None],
        *,
        now_ns: Callable[[], int] = time.time_ns,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = market_log
        self._queue = queue
        self._batch_size = batch_size
        self._linger_seconds = linger.total_seconds()
        self._health = health
        self._fenced = fenced
        self._now_ns = now_ns
        self._chance = chance
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._failures = 0
        """Of all markets, since every one of them could be published."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is queued then is left to `drain`."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._queue.filled.set())
        try:
            while not stop.is_set():
                self._queue.filled.clear()
                more = await self.publish_round()
                if more:
                    await asyncio.sleep(0.0)
                else:
                    if not self._queue.waiting and not stop.is_set():
                        await self._queue.filled.wait()
                    pause = max(self._linger_seconds, _PAUSE_SECONDS) if self._failures else self._linger_seconds
                    await asyncio.sleep(pause)
        finally:
            stopping.cancel()

    async def drain(self, within: timedelta) -> int:
        """Publishes all that is queued; returns how many events Redis did not take in time."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                while self._queue.waiting:
                    await self.publish_round()
                    await asyncio.sleep(_PAUSE_SECONDS if self._failures else 0.0)
        except TimeoutError:
            pass
        return self._queue.waiting

    async def publish_round(self) -> bool:
        """One batch of every market that has one and does not pause; True: a market has a full batch more."""
        loaded = await self._load()
        now = self._clock()
        outboxes = [outbox for outbox in self._queue.outboxes if outbox.events and outbox.retry_at <= now]
        metrics.QUEUED.set(self._queue.size)
        if len(outboxes) == 1:
            await self._publish(outboxes[0])
        elif outboxes:
            await asyncio.gather(*(self._publish(outbox) for outbox in outboxes))
        metrics.QUEUED.set(self._queue.size)  # once more: the next round may be long in coming
        if self._failures and not any(outbox.failures for outbox in self._queue.outboxes):
            log.info("publishing again", after_failures=self._failures)
            self._failures = 0
            self._health.mark_ready("redis")
        well = [outbox for outbox in outboxes if not outbox.failures]
        return bool(well) and (loaded or any(len(outbox.events) >= self._batch_size for outbox in well))

    async def _load(self) -> bool:
        """Brings back what markets have in their spools, where they have next to nothing in memory."""
        behind = [outbox for outbox in self._queue.outboxes if outbox.unread and len(outbox.events) < self._batch_size]
        if not behind:
            return False
        return any(await asyncio.gather(*(self._queue.load(outbox, _CATCH_UP_EVENTS) for outbox in behind)))

    async def _publish(self, outbox: Outbox) -> None:
        lags = len(outbox.events) > _LAG_BATCHES * self._batch_size
        count = max(self._batch_size, _CATCH_UP_EVENTS) if lags else self._batch_size
        batch = outbox.batch(count, _BATCH_BYTES)
        began = time.perf_counter()
        try:
            async with self._slots:
                published = await self._log.publish(outbox.lease, outbox.first, batch)
        except Fenced as error:
            self._give_up(outbox, error)
            return
        except (RedisError, OSError) as error:
            self._failed(outbox, error)
            return
        outbox.failures, outbox.retry_at = 0, 0.0
        metrics.PUBLISH_SECONDS.observe(time.perf_counter() - began)
        metrics.DELAY_SECONDS.observe(max(0.0, (self._now_ns() - batch[0][0]) / 1e9))
        self._queue.confirm(outbox, len(batch))
        self._count(outbox.lease.market, published)

    def _count(self, market: Market, published: Published) -> None:
        metrics.PUBLISHED.labels(exchange=market.exchange, symbol=market.symbol).inc(published.added)
        if published.skipped:
            metrics.REPUBLISHED.inc(published.skipped)
        if published.clamped:
            metrics.CLAMPED.inc(published.clamped)
        if published.lost:
            # The server has put the gap event into the sequence itself, in its place.
            metrics.SERVER_LOST.inc(published.lost)
            log.error("Redis lost events that it had confirmed", market=market.name, lost=published.lost)

    def _give_up(self, outbox: Outbox, error: Fenced) -> None:
        market = outbox.lease.market
        abandoned = self._queue.close(outbox)
        metrics.ABANDONED.labels(reason="fenced").inc(abandoned)
        log.warning("market has another owner", market=market.name, abandoned=abandoned, reason=str(error))
        self._fenced(outbox.lease)

    def _failed(self, outbox: Outbox, error: Exception) -> None:
        self._failures += 1
        outbox.failures += 1
        outbox.retry_at = self._clock() + (RETRY.delay(outbox.failures, self._chance()) or 0.0)
        metrics.PUBLISH_FAILURES.inc()
        self._health.mark_unready("redis", f"publishing fails: {error or type(error).__name__}")
        if self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... in a row
            log.warning(
                "Redis did not take a batch, trying again",
                failures=self._failures,
                queued=self._queue.size,
                error=described(error),
            )
