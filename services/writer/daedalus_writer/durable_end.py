"""What is durable of a stream, told apart from what is still to be written: pure.

The store's newest objects -> ends by table -> is that more than the stream's cursor says? -> the rows that are news
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daedalus_common.parquet.arrays import memory, numbers, one_array
from daedalus_common.parquet.stored_rows import StoredRows
from daedalus_common.plans import Destination, counter_field

EntryId = tuple[int, int]
Bools = NDArray[np.bool_]


class End(msgspec.Struct, frozen=True):
    """The newest durable row of a table: its entry, and its place in the market's sequence or among its rows."""

    id: str
    seq: int
    ts: int
    """ns; of Silver and Gold rows their timestamp."""
    generation: int = 0

    @property
    def entry(self) -> EntryId:
        return entry_id(self.id)


Ends = Mapping[str, End]
"""By `plans.counter_field`: table, and duration of Gold time bars."""


class Durable(msgspec.Struct, frozen=True):
    """What the store had of a stream when `server` was first met; kept beside the stream."""

    server: str
    ends: dict[str, End]

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "Durable":
        return msgspec.json.decode(data, type=cls)


def unexplained(found: Ends, cursor: str, known: Ends) -> End | None:
    """The newest end that lies beyond the cursor although nobody knew of it: the server has lost that it was written.

    Call it when the pending plan is carried out: while there is one, objects may be ahead of the cursor.
    """
    at = entry_id(cursor)
    newer = {table: end for table, end in found.items() if table not in known or end.entry > known[table].entry}
    beyond = [end for table, end in newer.items() if end.entry > at and not is_quality(table)]
    return max(beyond, key=lambda end: end.entry, default=None)


def joined(known: Ends, found: Ends) -> dict[str, End]:
    """The newer one of each table."""
    newer = {table: end for table, end in found.items() if table not in known or end.entry > known[table].entry}
    return {**known, **newer}


@dataclass(frozen=True, slots=True)
class Known:
    """What was known when a stream was opened. `muted` is "from to": rows in between were computed from a state that
    lacks durable events ("+" = none were), and up to `to` rows may have been computed a second time."""

    server: str = ""
    ends: Ends = field(default_factory=dict)
    muted: str = ""

    def news(self, place: Destination, rows: StoredRows) -> StoredRows:
        """The rows that are to be written; nearly always all of them."""
        end = self.ends.get(counter_field(place))
        begin, _, until = self.muted.partition(" ")
        first = (int(rows.keys[0, 0]), int(rows.keys[0, 1]))
        if first > max(end.entry if end else (0, 0), entry_id(until) if until else (0, 0)):
            return rows
        is_of_raw = rows.table.layer == "bronze" or is_quality(place.table)
        old = _of_events(rows, end) if is_of_raw else _of_rows(rows, end, begin, until)
        if not old.any():
            return rows
        where = np.flatnonzero(~old)
        return StoredRows(rows.table, rows.arrow.take(numbers(where, pa.int64())), rows.keys[where], rows.schema)


def is_quality(table: str) -> bool:
    """Tables about the raw stream, whose rows name other entries than the one that made them known."""
    return table.startswith("quality/")


def entry_id(text: str) -> EntryId:
    ms, _, number = text.partition("-")
    return int(ms), int(number or 0)


def _of_events(rows: StoredRows, end: End | None) -> Bools:
    """After a loss, new events may get ids below the lost ones, from a clock that is behind; never their generation."""
    if end is None:
        return np.zeros(len(rows), np.bool_)
    old = _up_to(rows, end.entry)
    generation = one_array(rows.arrow["generation"]) if "generation" in rows.arrow.column_names else None
    if generation is not None and not generation.null_count:
        old &= memory(generation, np.int32) <= end.generation
    return old


def _of_rows(rows: StoredRows, end: End | None, begin: str, until: str) -> Bools:
    old = _up_to(rows, end.entry) if end else np.zeros(len(rows), np.bool_)
    if not until:
        return old
    muted = _up_to(rows, entry_id(until))
    if begin != "+":
        ms, number = entry_id(begin)
        before = _up_to(rows, (ms, number - 1)) if number else _up_to(rows, (ms - 1, 2**62))
        old = old | (muted & ~before)
    if end:
        again = (rows.timestamp < end.ts) | ((rows.timestamp == end.ts) & (rows.keys[:, 2] <= end.seq))
        old = old | (muted & again)
    return old


def _up_to(rows: StoredRows, entry: EntryId) -> Bools:
    ms, number = rows.keys[:, 0], rows.keys[:, 1]
    result: Bools = (ms < entry[0]) | ((ms == entry[0]) & (number <= entry[1]))
    return result
