"""The bounded queue between the taps and the publisher: a plain deque per market.

A tap never waits: it appends in a fraction of a microsecond, the publisher looks every linger. When the queue is full
a market's newest events go to its spool on disk, and all that follow them too, until the publisher has loaded them.
When there is no spool, or it is full, or its disk fails, the newest events are dropped, counted per market and channel,
and declared as a gap that stands in the sequence before the channel's next event.

Before it comes to that, a queue that is half full asks the connections to leave what comes in their sockets for a
moment: frames are handled several times as fast as events are published, so a burst would fill any queue, while TCP
can hold it back. That ends when Redis has taken nothing for a second, for then waiting would not help.
"""

import asyncio
import time
from collections.abc import Callable

from daedalus_common.entries import encode
from daedalus_common.events import Event, Gap
from daedalus_common.leases import Lease
from daedalus_ingestor import metrics
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.market_spool import MarketSpool
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.subscriptions import Subscription

_PATIENCE_SECONDS = 1.0


class EventQueue:
    """All outboxes together hold at most `max_events` updates; our own events come on top, a few per channel."""

    def __init__(
        self,
        max_events: int,
        now_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_events = max_events
        self._crowded_from = max_events // 2
        self._clock = clock
        self._moved_at = 0.0
        # After an overflow a quarter must be free first: otherwise every other free place would hold a gap event.
        self._reopen_at = max_events - max(1, max_events // 4)
        self._limit = max_events
        self._now_ns = now_ns
        self._overflowed: dict[Subscription, None] = {}
        self.size = 0
        self.filled = asyncio.Event()
        """Set when there is something to publish after there was nothing; the publisher clears it."""
        self.outboxes: list[Outbox] = []

    @property
    def waiting(self) -> int:
        """Events in memory and on disk that are not published."""
        return self.size + sum(outbox.unread for outbox in self.outboxes)

    @property
    def is_calm(self) -> bool:
        """The live events leave time for others."""
        return self.size <= self._max_events // 4 and not any(outbox.unread for outbox in self.outboxes)

    def open(self, lease: Lease, spool: MarketSpool | None = None) -> Outbox:
        outbox = Outbox(lease, self._now_ns(), spool)
        self.filled.set()  # there may be something on disk
        self.outboxes.append(outbox)
        return outbox

    def close(self, outbox: Outbox) -> int:
        """Forgets the market; returns how many of its events are not published, and now never will be.

        What is on disk is left there, and not counted; what can still go there does: behind what is in the spool, or
        else to a late folder.
        """
        self._keep(outbox)
        if outbox in self.outboxes:
            self.outboxes.remove(outbox)
        self.size -= len(outbox.events)
        abandoned = outbox.close()
        for subscription in [s for s in self._overflowed if s.outbox is outbox]:
            del self._overflowed[subscription]
        return abandoned

    def offer(self, subscription: Subscription, capture_ts: int, payload: bytes) -> bool:
        """Appends an update of the subscription's channel; False: the queue is full and the update is dropped.

        The subscription's `place` must still be that of the update before.
        """
        outbox, spool = subscription.outbox, subscription.outbox.spool
        is_full = self.size >= self._limit
        if spool is not None and (is_full or spool.is_active) and spool.has_room(payload):
            if subscription.dropped:
                self._declare_overflow(subscription)
            spool.append(capture_ts, payload)
            outbox.last_ts = capture_ts
            if not self.size:
                self.filled.set()
            return True
        if is_full or (spool is not None and spool.is_active):
            if is_full:
                self._limit = self._reopen_at
            self._overflowed[subscription] = None
            subscription.dropped += 1
            subscription.count_dropped()
            return False
        if subscription.dropped:
            self._declare_overflow(subscription)
        self._append(outbox, capture_ts, payload)
        return True

    def declare(self, outbox: Outbox, event: Event) -> None:
        """Appends an event of ours, even beyond the bound: a loss that nobody knows of would be worse."""
        self._append(outbox, event.capture_ts, encode(event))

    def has_room(self) -> bool:
        return self.size < self._limit

    def is_crowded(self) -> bool:
        """It is half full, and events went out (or there were none) a moment ago: whoever can wait should."""
        return self.size >= self._crowded_from and self._clock() - self._moved_at < _PATIENCE_SECONDS

    def confirm(self, outbox: Outbox, count: int) -> None:
        """The oldest `count` events are in the stream: makes room, and declares what was dropped for want of it."""
        if outbox not in self.outboxes:
            return  # closed while they were on their way
        outbox.confirm(count)
        self.size -= count
        self._moved_at = self._clock()
        if self.size <= self._reopen_at:
            self._limit = self._max_events
            for subscription in tuple(self._overflowed):
                spool = subscription.outbox.spool
                if spool is None or not spool.is_active or spool.has_room(b""):
                    self._declare_overflow(subscription)

    async def load(self, outbox: Outbox, count: int) -> bool:
        """Brings the market's oldest events back from its spool, about `count`; True: there were some."""
        spool = outbox.spool
        if spool is None:
            return False
        loaded = await spool.load(count)
        if outbox not in self.outboxes:  # closed meanwhile
            metrics.ABANDONED.labels(reason="fenced").inc(len(loaded.events))
            return False
        events = loaded.events
        if loaded.lost:
            metrics.SPOOL_LOST.inc(loaded.lost)
            gap = Gap(self._now_ns(), "control", Reason.SPOOL_LOST.value, lost=loaded.lost)
            events = [(gap.capture_ts, encode(gap))]
        if events and not self.size:
            self._moved_at = self._clock()
        outbox.events.extend(events)
        self.size += len(events)
        return bool(events)

    def keep(self) -> int:
        """The process ends: what is in memory goes to disk where it follows what is there; returns what is on disk.

        Where the spool holds newer events already, those in memory alone become late ones when the market is closed;
        the next process sees the jump and declares it.
        """
        for outbox in self.outboxes:
            self._keep(outbox)
        return sum(outbox.spool.depth for outbox in self.outboxes if outbox.spool is not None)

    def _keep(self, outbox: Outbox) -> None:
        spool = outbox.spool
        if spool is None or spool.is_active:
            return
        for capture_ts, payload in outbox.forget_after(spool.loaded_to):
            self.size -= 1
            if spool.has_room(payload):
                spool.append(capture_ts, payload)
            else:
                metrics.ABANDONED.labels(reason="stop").inc()

    def _append(self, outbox: Outbox, capture_ts: int, payload: bytes) -> None:
        spool = outbox.spool
        if not self.size:
            self.filled.set()
            self._moved_at = self._clock()
        if spool is not None and spool.is_active:
            spool.append(capture_ts, payload)
            outbox.last_ts = capture_ts
            return
        outbox.append(capture_ts, payload)
        self.size += 1

    def _declare_overflow(self, subscription: Subscription) -> None:
        gap = subscription.place.declare_lost(Reason.OVERFLOW, self._now_ns(), subscription.dropped)
        subscription.dropped = 0
        self._overflowed.pop(subscription, None)
        subscription.count_gap(gap)
        self.declare(subscription.outbox, gap)
