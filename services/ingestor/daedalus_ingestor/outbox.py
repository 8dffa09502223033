"""One market's unpublished events."""

from collections import deque
from itertools import islice

from daedalus_common.leases import Lease

QueuedEvent = tuple[int, bytes]
"""(capture_ts in ns, payload)"""


class Outbox:
    """The events of one market under one lease; `first` numbers the oldest of them, from 1 in each epoch."""

    __slots__ = ("events", "first", "last_ts", "lease")

    def __init__(self, lease: Lease, now_ns: int) -> None:
        self.lease = lease
        self.events: deque[QueuedEvent] = deque()
        self.first = 1
        self.last_ts = now_ns
        """capture_ts of the newest event, of ours or of the exchange."""

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
