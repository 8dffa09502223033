"""The bounded queue between the taps and the publisher: a plain deque per market.

Nothing here awaits: a tap appends in a fraction of a microsecond, the publisher looks every linger. When the queue is
full the newest events are dropped, counted per market and channel, and declared as a gap that stands in the sequence
before the channel's next event.

Before it comes to that, a queue that is half full asks the connections to leave what comes in their sockets for a
moment: frames are handled several times as fast as events are published, so a burst would fill any queue, while TCP
can hold it back. That ends when Redis has taken nothing for a second, for then waiting would not help.
"""

import time
from collections.abc import Callable

from daedalus_common.entries import encode
from daedalus_common.events import Event
from daedalus_common.leases import Lease
from daedalus_ingestor.gaps import Reason
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
        self.outboxes: list[Outbox] = []

    def open(self, lease: Lease) -> Outbox:
        outbox = Outbox(lease, self._now_ns())
        self.outboxes.append(outbox)
        return outbox

    def close(self, outbox: Outbox) -> int:
        """Forgets the market; returns how many of its events are not published, and now never will be."""
        if outbox in self.outboxes:
            self.outboxes.remove(outbox)
        abandoned = len(outbox.events)
        self.size -= abandoned
        outbox.events.clear()
        for subscription in [s for s in self._overflowed if s.outbox is outbox]:
            del self._overflowed[subscription]
        return abandoned

    def offer(self, subscription: Subscription, capture_ts: int, payload: bytes) -> bool:
        """Appends an update of the subscription's channel; False: the queue is full and the update is dropped.

        The subscription's `place` must still be that of the update before.
        """
        if self.size >= self._limit:
            self._limit = self._reopen_at
            self._overflowed[subscription] = None
            subscription.dropped += 1
            subscription.count_dropped()
            return False
        if subscription.dropped:
            self._declare_overflow(subscription)
        self._append(subscription.outbox, capture_ts, payload)
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
                self._declare_overflow(subscription)

    def _append(self, outbox: Outbox, capture_ts: int, payload: bytes) -> None:
        if not self.size:
            self._moved_at = self._clock()
        outbox.append(capture_ts, payload)
        self.size += 1

    def _declare_overflow(self, subscription: Subscription) -> None:
        gap = subscription.place.declare_lost(Reason.OVERFLOW, self._now_ns(), subscription.dropped)
        subscription.dropped = 0
        self._overflowed.pop(subscription, None)
        subscription.count_gap(gap)
        self.declare(subscription.outbox, gap)
