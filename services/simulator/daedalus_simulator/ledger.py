"""What was sent: the record a test reconciles with.

*Sent* means: handed to the socket of at least one subscriber of the stream while its connection was open, in
this order. It does not mean received: what a client had not read when it died or was dropped is sent, and the
client has to declare that loss as a gap. *Generated* counts every frame of a stream that had a subscriber at
that moment, sent or withheld by a fault; what nobody is subscribed to counts nowhere.
"""

from array import array
from dataclasses import dataclass, field

from daedalus_simulator.frames import DEPTH_CHANNELS, Channel, Frame


class ChannelLedger:
    """Counts and ids of one stream; at most ``limit`` ids are kept (8 bytes each, 16 for depth), the newest."""

    def __init__(self, channel: Channel, limit: int) -> None:
        self._is_depth = channel in DEPTH_CHANNELS
        self._limit = limit
        self._first_ids = array("q")
        self._last_ids = array("q")
        self._dropped = 0
        self.generated = 0
        self.sent = 0

    def add(self, frame: Frame) -> None:
        self.sent += 1
        self._last_ids.append(frame.last_id)
        if self._is_depth:
            self._first_ids.append(frame.first_id)
        # Cutting an array moves what is left: done once per half a limit, it costs nothing per frame.
        if len(self._last_ids) > self._limit * 3 // 2:
            excess = len(self._last_ids) - self._limit
            self._dropped += excess
            del self._last_ids[:excess], self._first_ids[:excess]

    def counts(self) -> dict[str, object]:
        return {"generated": self.generated, "sent": self.sent}

    def as_json(self, since: int) -> dict[str, object]:
        """Counts and the ids from the ``since``-th sent frame on; ``first`` is the number of the first id listed,
        greater than ``since`` where older ids were forgotten."""
        first = max(since, self._dropped)
        start = first - self._dropped
        ids: list[int] | list[list[int]] = self._last_ids[start:].tolist()
        if self._is_depth:
            pairs = zip(self._first_ids[start:], self._last_ids[start:], strict=True)
            ids = [[first_id, last_id] for first_id, last_id in pairs]
        return {**self.counts(), "first": first, "ids": ids}


@dataclass(frozen=True, slots=True)
class SnapshotServed:
    """A depth request answered: its update id, and how many depth updates had been sent by then. A client that
    began with it never sees the updates up to this id by themselves."""

    last_update_id: int
    depth_sent: int

    def as_json(self) -> dict[str, int]:
        return {"last_update_id": self.last_update_id, "depth_sent": self.depth_sent}


@dataclass(slots=True)
class InstrumentLedger:
    """All channels of one instrument."""

    limit: int
    channels: dict[Channel, ChannelLedger] = field(default_factory=dict)
    snapshots: list[SnapshotServed] = field(default_factory=list)

    def channel(self, channel: Channel) -> ChannelLedger:
        found = self.channels.get(channel)
        if found is None:
            found = self.channels[channel] = ChannelLedger(channel, self.limit)
        return found

    def snapshot_served(self, last_update_id: int) -> None:
        self.snapshots.append(SnapshotServed(last_update_id, self.channel("depth").sent))
