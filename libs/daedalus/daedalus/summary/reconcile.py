"""Compares what was sent with what was recorded: pure, and strict in both directions.

An event that is not in Bronze is accounted for only where a gap event says so: it must have been sent after the last
event recorded before the gap event, and before the first one recorded after it, in the order of the market's
sequence. The gap event with which every subscription begins thus covers what was sent before the first event recorded.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import merge
from itertools import accumulate

from daedalus.summary.ledger import Balance, DeclaredGap, Feed, Position, RecordedEvent, Sent
from daedalus_common.events import CONTROL, Channel
from daedalus_common.markets import Market

WHOLE_MARKET = CONTROL
"""The channel of a gap event that concerns every channel of its market."""

_NOTHING = Sent(())

Span = tuple[int, int]
"""Places in the sending order, both exclusive, between which a gap may hide events."""


def reconcile(
    sent: Mapping[Feed, Sent],
    recorded: Mapping[Feed, Sequence[RecordedEvent]],
    gaps: Mapping[Market, Sequence[DeclaredGap]],
) -> tuple[Balance, ...]:
    """A balance per feed that was sent or recorded."""
    return tuple(
        balance(feed, sent.get(feed, _NOTHING), recorded.get(feed, ()), gaps.get(feed.market, ()))
        for feed in sorted({*sent, *recorded})
    )


def balance(feed: Feed, sent: Sent, recorded: Iterable[RecordedEvent], gaps: Iterable[DeclaredGap]) -> Balance:
    """The balance of one feed; `recorded` and `gaps` in any order."""
    events = sorted(recorded, key=_position)
    mine = sorted((gap for gap in gaps if gap.channel in (feed.channel, WHOLE_MARKET)), key=_position)
    place = _places(sent)
    known = [event for event in events if event.id in place]
    covered = _covered([_span(gap, known, place) for gap in mine], len(place))
    stored = {event.id for event in known}
    absent = [id_ for id_ in dict.fromkeys(sent.ids) if id_ not in stored]
    missing = [id_ for id_ in absent if not covered[place[id_]]]
    return Balance(
        feed=feed,
        sent=len(sent.ids),
        recorded=len(events),
        declared=len(absent) - len(missing),
        missing=tuple(missing),
        double=tuple(_double(feed, sent, known, mine)),
        never_sent=tuple(event.id for event in events if event.id not in place),
        disordered=tuple(_disordered(known, place)),
    )


def _position(item: RecordedEvent | DeclaredGap) -> Position:
    return item.position


def _places(sent: Sent) -> dict[str, int]:
    """The place of every id in sending order. A snapshot stands before the first update that goes beyond it."""
    if not sent.snapshots:
        return {id_: i for i, id_ in enumerate(sent.ids)}
    # Update ids grow, and of equals the update comes first: it is the event, the snapshot only shows its state.
    ids = merge(sent.ids, sorted(sent.snapshots, key=int), key=int)
    return {id_: i for i, id_ in enumerate(dict.fromkeys(ids))}


def _span(gap: DeclaredGap, events: Sequence[RecordedEvent], place: Mapping[str, int]) -> Span:
    after = bisect_left(events, gap.position, key=_position)
    low = place[events[after - 1].id] if after > 0 else -1
    high = place[events[after].id] if after < len(events) else len(place)
    return low, high


def _covered(spans: Iterable[Span], count: int) -> list[int]:
    """How many spans hold each place; linear, for an overflow in a burst declares thousands of gaps."""
    steps = [0] * (count + 1)
    for low, high in spans:
        if high > low:
            steps[low + 1] += 1
            steps[high] -= 1
    return list(accumulate(steps))


def _double(feed: Feed, sent: Sent, events: Sequence[RecordedEvent], gaps: Sequence[DeclaredGap]) -> Iterable[str]:
    # After a gap a book begins with a snapshot, which may show the very state that was recorded last.
    resynchronised = feed.channel is Channel.ORDERBOOK
    allowed, seen = Counter(sent.ids), Counter[str]()
    last: RecordedEvent | None = None
    for event in events:
        again = resynchronised and last is not None and last.id == event.id and _between(last, event, gaps)
        if not again:
            seen[event.id] += 1
        last = event
    return [id_ for id_, count in seen.items() if count > max(1, allowed[id_])]


def _between(before: RecordedEvent, after: RecordedEvent, gaps: Sequence[DeclaredGap]) -> bool:
    index = bisect_left(gaps, before.position, key=_position)
    return index < len(gaps) and gaps[index].position < after.position


def _disordered(events: Sequence[RecordedEvent], place: Mapping[str, int]) -> Iterable[str]:
    newest = -1
    for event in events:
        if place[event.id] < newest:
            yield event.id
        newest = max(newest, place[event.id])
