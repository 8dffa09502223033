"""What the writer says of a run of the raw stream beside its events: gaps that began or ended, entries refused."""

from collections.abc import Mapping, Sequence

import numpy as np

from daedalus_common.batches import RawEntry
from daedalus_common.broker.dead_letters import DeadLetter
from daedalus_common.events import CONTROL
from daedalus_common.gap_tracking import ChannelEvents, GapEvent, Stretch, stretches
from daedalus_common.parquet.quality_rows import Rejected, channel_events, gap_events, rejected_entry
from daedalus_common.parquet.stored_rows import StoredRows
from daedalus_common.plans import Destination


class Watched:
    """The gap events of a run with the events between them, as far as the tracker of gaps needs to know those."""

    def __init__(self) -> None:
        self.items: list[Stretch | GapEvent] = []

    def note(self, places: Mapping[Destination, StoredRows]) -> None:
        """Takes the next rows of the run, in the order of the stream."""
        by_table: dict[str, list[StoredRows]] = {}
        # By time: an hour ends before the next one begins.
        for place in sorted(places, key=lambda place: place.stamp):
            by_table.setdefault(place.table.rpartition("/")[2], []).append(places[place])
        gaps = [gap for rows in by_table.pop(CONTROL, []) for gap in gap_events(rows.arrow)]
        events = {name: _joined([channel_events(rows.arrow) for rows in found]) for name, found in by_table.items()}
        for item in stretches(events, gaps):
            self._add(item)

    def _add(self, item: Stretch | GapEvent) -> None:
        before = self.items[-1] if self.items else None
        if isinstance(item, Stretch) and isinstance(before, Stretch):
            # A run without a gap is one stretch, however long.
            self.items[-1] = Stretch({**item.first, **before.first}, {**before.last, **item.last})
        else:
            self.items.append(item)


def refused(chunk: Sequence[RawEntry], dead: Sequence[DeadLetter]) -> list[Rejected]:
    """Of the entries of a chunk that became dead letters, in their order."""
    reasons = {letter.id: letter.reason for letter in dead}
    return [rejected_entry(id_, fields, reasons[id_.decode()]) for id_, fields in chunk if id_.decode() in reasons]


def _joined(parts: Sequence[ChannelEvents]) -> ChannelEvents:
    if len(parts) == 1:
        return parts[0]
    return ChannelEvents(*(np.concatenate([getattr(part, name) for part in parts]) for name in ChannelEvents.__slots__))
