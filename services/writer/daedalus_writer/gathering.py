"""A run of entries, sorted out: rows by the object they go to, and dead letters.

replies of XRANGE -> chunks -> columns of each chunk -> drafts of the objects
"""

from collections.abc import Collection, Iterator, Mapping

from daedalus_common.batches import Foreign, RawEntry
from daedalus_common.broker.dead_letters import DeadLetter, field_text
from daedalus_common.broker.keys import LATE, RAW
from daedalus_common.gap_tracking import GapRow, GapState, track
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.feature_rows import Schemas, feature_rows
from daedalus_common.parquet.objects import Draft
from daedalus_common.parquet.quality_rows import gap_rows, rejected_rows
from daedalus_common.parquet.stored_rows import StoredRows
from daedalus_common.plans import Destination
from daedalus_writer.bronze import bronze_rows
from daedalus_writer.durable_end import Known
from daedalus_writer.late import late_rows
from daedalus_writer.metrics import count_known_rows
from daedalus_writer.quality import Watched, refused

CHUNK_ENTRIES = 1024
"""Decoded at once: 1.7 MB of books of 50 levels stay in the processor's cache (4.9 us a row; 5.6 with 4096, 7.3 with
256)."""

_PLANNED = "not known when its run was planned"


class Gathering:
    """What a run of entries comes to: a draft of each object, and dead letters.

    One thread at a time calls `take`, another `encode`; the rest are looks from the event loop.
    """

    def __init__(self, market: Market, stream: str, compression: Compression, known: Known | None = None) -> None:
        self._market = market
        self._stream = stream
        self._compression = compression
        self._known = known or Known()
        self.drafts: dict[Destination, Draft] = {}
        self.dead: list[DeadLetter] = []
        self.gap_rows: list[GapRow] = []
        self.gaps_after: GapState | None = None
        """What is known of the gaps behind the run; None where `track_gaps` was not called."""
        self._watched = Watched()

    @property
    def row_counts(self) -> dict[Destination, int]:
        return {place: draft.rows for place, draft in self.drafts.items()}

    @property
    def memory_bytes(self) -> int:
        return sum(draft.memory_bytes for draft in list(self.drafts.values()))

    @property
    def has_row_group(self) -> bool:
        return any(draft.has_row_group for draft in list(self.drafts.values()))

    def take(self, replies: list[list[RawEntry]], schemas: Schemas, planned_dead: Collection[str] = ()) -> None:
        """Sorts out the next entries of the run; `replies` is emptied on the way so that their memory is free again.

        `planned_dead` are entries that are dead letters by a plan, whatever they look like now.
        """
        for chunk in _chunks(replies):
            doomed = [entry for entry in chunk if entry[0].decode() in planned_dead] if planned_dead else []
            ours = [entry for entry in chunk if entry[0].decode() not in planned_dead] if doomed else chunk
            places, foreign = self._decode(ours, schemas)
            for place, rows in places.items():
                self._add(place, rows)
            if self._stream == RAW:
                self._watched.note(places)
            if foreign or doomed:
                strange = (*foreign, *self._decode(doomed, schemas)[1])
                reasons = dict.fromkeys(planned_dead, _PLANNED) | {entry.id: entry.reason for entry in strange}
                self._refuse(chunk, _dead_letters(chunk, reasons))

    def track_gaps(self, before: GapState) -> None:
        """Once, when the raw run is taken whole: adds the rows of quality/gaps, going on from `before`."""
        self.gaps_after, self.gap_rows = track(before, self._watched.items)
        for place, rows in gap_rows(self._market, self.gap_rows):
            self._add(place, rows)

    def encode(self) -> None:
        """Encodes every row group that is complete."""
        for draft in list(self.drafts.values()):
            if draft.has_row_group:
                draft.encode()

    def _refuse(self, chunk: list[RawEntry], dead: list[DeadLetter]) -> None:
        self.dead += dead
        if self._stream == RAW:
            for place, rows in rejected_rows(self._market, refused(chunk, dead)):
                self._add(place, rows)

    def _add(self, place: Destination, found: StoredRows) -> None:
        rows = self._known.news(place, found)
        if len(rows) < len(found):
            count_known_rows(self._market, place.table, len(found) - len(rows))
        if not len(rows):
            return
        if place not in self.drafts:
            self.drafts[place] = Draft(rows.table, rows.schema, self._compression)
        self.drafts[place].add(rows)

    def _decode(
        self, entries: list[RawEntry], schemas: Schemas
    ) -> tuple[Mapping[Destination, StoredRows], tuple[Foreign, ...]]:
        if self._stream == RAW:
            return bronze_rows(self._market, entries)
        if self._stream == LATE:
            return late_rows(self._market, entries)
        return feature_rows(self._market, self._stream, entries, schemas)


def _chunks(replies: list[list[RawEntry]]) -> Iterator[list[RawEntry]]:
    replies.reverse()
    while replies:
        chunk = replies.pop()
        while replies and len(chunk) + len(replies[-1]) <= CHUNK_ENTRIES:
            chunk += replies.pop()
        for start in range(0, len(chunk), CHUNK_ENTRIES):
            yield chunk[start : start + CHUNK_ENTRIES]


def _dead_letters(chunk: list[RawEntry], reasons: Mapping[str, str]) -> list[DeadLetter]:
    return [
        DeadLetter(
            id_.decode(), reasons[id_.decode()], {field_text(name): field_text(value) for name, value in fields.items()}
        )
        for id_, fields in chunk
        if id_.decode() in reasons
    ]
