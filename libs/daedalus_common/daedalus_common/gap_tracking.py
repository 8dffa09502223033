"""From gap events to the time in which nobody watched: when a gap began, and which event ended it.

stretches of events and gap events, in the order of the stream -> track(state, ...) -> rows of quality/gaps, state
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from daedalus_common.events import CONTROL

Int64s = NDArray[np.int64]
StreamPlace = tuple[int, int, int]
"""(generation, stream_ms, stream_seq)"""

MAX_OPEN_OF_CHANNEL = 16
MAX_OPEN = 64
"""Open gaps that are carried on. A burst declares thousands, and those of one channel that are open together have one
begin and one end: what comes beyond these numbers gets its row of phase `open` only."""


class GapEvent(msgspec.Struct, frozen=True):
    """A gap event with its place in the market's sequence; as `events.Gap` and the columns of Bronze."""

    generation: int
    stream_ms: int
    stream_seq: int
    seq: int
    ts: int
    capture_ts: int
    channel: str
    reason: str
    last_nonce: int | None = None
    last_id: str | None = None
    lost: int | None = None

    @property
    def place(self) -> StreamPlace:
        return self.generation, self.stream_ms, self.stream_seq


class OpenGap(msgspec.Struct, frozen=True):
    """A gap that no event has ended yet; `begin_ts` is that of the channel's last event before it, where known."""

    event: GapEvent
    begin_ts: int | None


class GapState(msgspec.Struct, frozen=True):
    """What must be known of a market's past to go on: small, and stored beside its stream."""

    open: tuple[OpenGap, ...] = ()
    last: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Channel -> ts of its last event."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "GapState":
        return msgspec.json.decode(data, type=cls)


class Seen(msgspec.Struct, frozen=True, order=True):
    """One event of a channel."""

    stream_ms: int
    stream_seq: int
    ts: int


class Stretch(msgspec.Struct, frozen=True):
    """Events without a gap event among them, by channel: the first one, and the ts of the last."""

    first: Mapping[str, Seen]
    last: Mapping[str, int]


class GapRow(msgspec.Struct, frozen=True):
    """A row of quality/gaps: at once with phase `open`, and again with phase `closed` when the gap has ended."""

    gap: OpenGap
    phase: Literal["open", "closed"]
    at: Seen
    """The entry that made the row known: the gap event, or the event that ended it."""

    @property
    def end_ts(self) -> int | None:
        return self.at.ts if self.phase == "closed" else None

    @property
    def duration_ns(self) -> int | None:
        """From the last event before; where none is known, from the gap event itself."""
        if self.phase == "open":
            return None
        return max(0, self.at.ts - (self.gap.event.ts if self.gap.begin_ts is None else self.gap.begin_ts))


@dataclass(frozen=True, slots=True)
class ChannelEvents:
    """A channel's events in the order of the stream; arrays have shape (n,)."""

    generation: Int64s
    stream_ms: Int64s
    stream_seq: Int64s
    ts: Int64s

    def place(self, number: int) -> StreamPlace:
        return int(self.generation[number]), int(self.stream_ms[number]), int(self.stream_seq[number])

    def seen(self, number: int) -> Seen:
        return Seen(int(self.stream_ms[number]), int(self.stream_seq[number]), int(self.ts[number]))


def stretches(events: Mapping[str, ChannelEvents], gaps: Sequence[GapEvent]) -> list[Stretch | GapEvent]:
    """The events of the data channels, cut at the gap events, which are in the order of the stream too."""
    cuts = {
        name: [0, *(bisect_left(range(len(of.ts)), gap.place, key=of.place) for gap in gaps), len(of.ts)]
        for name, of in events.items()
    }
    found: list[Stretch | GapEvent] = []
    for number in range(len(gaps) + 1):
        spans = {name: (at[number], at[number + 1]) for name, at in cuts.items() if at[number] < at[number + 1]}
        if spans:
            first = {name: events[name].seen(begin) for name, (begin, _) in spans.items()}
            found.append(Stretch(first, {name: int(events[name].ts[end - 1]) for name, (_, end) in spans.items()}))
        if number < len(gaps):
            found.append(gaps[number])
    return found


def track(state: GapState, items: Iterable[Stretch | GapEvent]) -> tuple[GapState, list[GapRow]]:
    """The rows that these items make known, in the order of the stream, and the state after them."""
    open_, last = list(state.open), dict(state.last)
    rows: list[GapRow] = []
    for item in items:
        if isinstance(item, GapEvent):
            gap = OpenGap(item, _begin(item.channel, last))
            rows.append(GapRow(gap, "open", Seen(item.stream_ms, item.stream_seq, item.ts)))
            of_channel = sum(each.event.channel == item.channel for each in open_)
            if of_channel < MAX_OPEN_OF_CHANNEL and len(open_) < MAX_OPEN:
                open_.append(gap)
        else:
            ends = [(gap, _end(gap.event.channel, item)) for gap in open_]
            closed = [GapRow(gap, "closed", end) for gap, end in ends if end is not None]
            rows += sorted(closed, key=lambda row: row.at)
            open_ = [gap for gap, end in ends if end is None]
            last |= item.last
    return GapState(tuple(open_), last), rows


def _begin(channel: str, last: Mapping[str, int]) -> int | None:
    return max(last.values(), default=None) if channel == CONTROL else last.get(channel)


def _end(channel: str, stretch: Stretch) -> Seen | None:
    """A gap of the whole market ends with the next event of any channel."""
    return min(stretch.first.values()) if channel == CONTROL else stretch.first.get(channel)
