"""One market's unpublished events."""

from collections import deque
from functools import partial
from itertools import islice

from daedalus_common.leases import Lease
from daedalus_ingestor.market_spool import MarketSpool

QueuedEvent = tuple[int, bytes]
"""(capture_ts in ns, payload)"""


class Outbox:
    """The events of one market under one lease; `first` numbers the oldest of them, from 1 in each epoch.

    Those in memory are older than those in the spool; while there are any in the spool, what is new goes there.
    """

    __slots__ = ("events", "failures", "first", "last_ts", "lease", "retry_at", "spool")

    def __init__(self, lease: Lease, now_ns: int, spool: MarketSpool | None = None) -> None:
        self.lease = lease
        self.events: deque[QueuedEvent] = deque()
        self.first = 1
        self.last_ts = now_ns
        """capture_ts of the newest event, of ours or of the exchange."""
        self.failures = 0
        """Attempts to publish in a row that Redis did not confirm."""
        self.retry_at = 0.0
        """When to try again, by the publisher's clock."""
        self.spool: MarketSpool | None = None
        if spool is not None:
            self.attach(spool)

    def attach(self, spool: MarketSpool) -> None:
        """From now on what does not fit the queue goes there; unless the outbox is new, the spool must be empty."""
        self.spool = spool
        spool.head = self._following

    @property
    def unread(self) -> int:
        """Events that are in the spool alone."""
        return 0 if self.spool is None else self.spool.unread

    def forget_after(self, number: int) -> list[QueuedEvent]:
        """Takes out the events from `number` on."""
        keep = min(len(self.events), max(0, number - self.first))
        forgotten = list(islice(self.events, keep, None))
        while len(self.events) > keep:
            self.events.pop()
        return forgotten

    def close(self) -> int:
        """Forgets what is in memory, but for what the spool takes; returns how many events are lost by that.

        What the feed still brings until it is told follows in number, and another `close` takes care of that.
        """
        lost = len(self.events)
        if self.spool is not None:
            # What the spool has not written yet keeps its numbers.
            self.spool.head = partial(int, self._following())
            lost = self.spool.leave(self.first, self.events)
        self.first = self._following()
        self.events.clear()
        return lost

    def _following(self) -> int:
        """The number of the event that follows those in memory."""
        return self.first + len(self.events)

    def append(self, capture_ts: int, payload: bytes) -> None:
        self.events.append((capture_ts, payload))
        self.last_ts = capture_ts

    def batch(self, count: int, size_bytes: int) -> list[QueuedEvent]:
        """The oldest events, at most `count` and about `size_bytes` of payload, at least one.

        They stay until `confirm`: a failed batch is sent again, and may have grown at its end by then.
        """
        batch: list[QueuedEvent] = []
        total = 0
        for event in islice(self.events, count):
            batch.append(event)
            total += len(event[1])
            if total >= size_bytes:
                break
        return batch

    def confirm(self, count: int) -> None:
        """The oldest `count` events are in the stream."""
        popleft = self.events.popleft
        for _ in range(count):
            popleft()
        self.first += count
        if self.spool is not None:
            self.spool.confirm(self.first)
