"""Where the rows of one hour of a market are in its sequence: of all tables together, in the order of the stream."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daedalus.etl.bronze_catalog import TABLES, HourPartition
from daedalus.etl.bronze_columns import PLACE, WrongValues, place_columns
from daedalus.etl.chunks import BadSegment
from daedalus.etl.segment_feed import open_segments
from daedalus.etl.segments import columns_of, read_group
from daedalus_common.events import CONTROL
from daedalus_common.gap_tracking import ChannelEvents, GapEvent
from daedalus_common.parquet.arrow_tables import arrow_schema
from daedalus_common.parquet.quality_rows import gap_events
from daedalus_common.stores import ObjectStore
from daedalus_common.tables import BRONZE
from daedalus_features.arrays import IntArray

_GAP_COLUMNS = ("capture_ts", "kind", "channel", "reason", "last_nonce", "last_id", "lost")
_FOOTER_ROWS = b"daedalus.rows"
_MERGED_ROWS = b"daedalus.merged_rows"


@dataclass(frozen=True, slots=True)
class HourRows:
    """The rows of an hour that could be read; arrays have shape (n,)."""

    keys: tuple[str, ...]
    object: IntArray
    """Which of `keys` the row is in; a merged object is there once for each that its rows were written in."""
    table: IntArray
    """Which of `bronze_catalog.TABLES` it is of."""
    generation: IntArray
    stream_ms: IntArray
    stream_seq: IntArray
    seq: IntArray
    ts: IntArray
    gaps: tuple[GapEvent, ...]
    problems: tuple[str, ...]
    """What is wrong with single objects; each names its object."""
    objects: int
    covered: tuple[str, ...] = ()
    """The keys that merged segments stand for."""

    def __len__(self) -> int:
        return len(self.seq)

    def of_generation(self, generation: int) -> slice:
        """The rows of a generation, which follow each other."""
        begin, end = (int(self.generation.searchsorted(generation, side=side)) for side in ("left", "right"))
        return slice(begin, end)

    def channels(self) -> Mapping[str, ChannelEvents]:
        """The events of the data channels."""
        chosen = {name: np.flatnonzero(self.table == number) for number, name in enumerate(TABLES) if name != CONTROL}
        return {
            name: ChannelEvents(self.generation[at], self.stream_ms[at], self.stream_seq[at], self.ts[at])
            for name, at in chosen.items()
            if len(at)
        }


@dataclass(slots=True)
class _Gathered:
    keys: list[str]
    objects: list[IntArray]
    tables: list[IntArray]
    places: list[dict[str, IntArray]]
    gaps: list[GapEvent]
    problems: list[str]


def read_hour(store: ObjectStore, partition: HourPartition, pool: Executor) -> HourRows:
    """Reads the columns of places alone. What is wrong with an object is told; errors of the store propagate."""
    found = _Gathered([], [], [], [], [], [])
    objects = 0
    for number, table in enumerate(TABLES):
        infos = partition.segments.get(table, ())
        objects += len(infos)
        keys = [info.key for info in infos]
        last: tuple[str, tuple[int, ...]] | None = None
        for key, opened in open_segments(store, keys, partition.sizes(), pool):
            place = _read_segment(found, number, table, key, opened)
            if place is None or not len(place["seq"]):
                continue
            first = _spot(place, 0)
            if last is not None and first <= last[1]:
                found.problems.append(f"{key} begins before {last[0]} ends, or repeats its rows")
            last = key, max(_spot(place, -1), last[1] if last else first)
    return _sorted(found, objects, partition.covered)


def _read_segment(
    found: _Gathered, number: int, table: str, key: str, opened: pq.ParquetFile | BadSegment
) -> dict[str, IntArray] | None:
    if isinstance(opened, BadSegment):
        found.problems.append(opened.reason)
        return None
    try:
        groups = list(_groups(key, opened, table))
        if not groups:
            return None
        rows = pa.concat_tables(groups)
        place = place_columns(rows)
        gaps = gap_events(_completed(rows)) if table == CONTROL else []
    except _Bad as bad:
        found.problems.append(bad.args[0])
        return None
    except WrongValues as error:
        found.problems.append(f"{key}: {error}")
        return None
    said = (opened.metadata.metadata or {}).get(_FOOTER_ROWS, b"?").decode(errors="replace")
    if said != str(len(rows)):
        found.problems.append(f"{key}: its footer says {said} rows, it has {len(rows)}")
    if not _ascends(place):
        found.problems.append(f"{key}: its rows are not in the order of the sequence")
    written = _written(opened, len(rows))
    found.objects.append(np.repeat(np.arange(len(written)) + len(found.keys), written).astype(np.int32))
    found.tables.append(np.full(len(rows), number, np.int8))
    found.keys += [key] * len(written)
    found.places.append(place)
    found.gaps += gaps
    return place


def _written(opened: pq.ParquetFile, rows: int) -> IntArray:
    """How many rows each object had that these were written in: one, unless they were merged since."""
    said = (opened.metadata.metadata or {}).get(_MERGED_ROWS, b"[]")
    try:
        counts = np.array(json.loads(said), np.int64)
    except (ValueError, TypeError, OverflowError):
        counts = np.zeros(0, np.int64)
    fits = counts.ndim == 1 and len(counts) and (counts > 0).all() and int(counts.sum()) == rows
    return counts if fits else np.array([rows], np.int64)


class _Bad(Exception):
    """A segment that cannot be read, with the reason."""


def _groups(key: str, opened: pq.ParquetFile, table: str) -> Iterator[pa.Table]:
    wanted = (*PLACE, *_GAP_COLUMNS) if table == CONTROL else PLACE
    columns = columns_of(key, opened.schema_arrow, table, wanted)
    if isinstance(columns, BadSegment):
        raise _Bad(columns.reason)
    for number in range(opened.num_row_groups):
        rows = read_group(key, opened, number, columns)
        if isinstance(rows, BadSegment):
            raise _Bad(rows.reason)
        yield rows


def _completed(control: pa.Table) -> pa.Table:
    """With the nullable columns that the segment lacks."""
    schema = arrow_schema(BRONZE[CONTROL])
    for name in _GAP_COLUMNS:
        if name not in control.column_names:
            control = control.append_column(name, pa.nulls(len(control), schema.field(name).type))
    return control


def _spot(place: Mapping[str, IntArray], row: int) -> tuple[int, ...]:
    return tuple(int(place[name][row]) for name in ("generation", "stream_ms", "stream_seq"))


def _ascends(place: Mapping[str, IntArray]) -> bool:
    generation, ms, sub, seq = (np.diff(place[name]) for name in ("generation", "stream_ms", "stream_seq", "seq"))
    same = generation == 0
    later = (ms > 0) | ((ms == 0) & (sub > 0))
    return bool((generation >= 0).all() and later[same].all() and (seq[same] > 0).all())


def _sorted(found: _Gathered, objects: int, covered: tuple[str, ...]) -> HourRows:
    def column(parts: list[IntArray]) -> IntArray:
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    places = {name: column([place[name] for place in found.places]) for name in PLACE}
    order = np.lexsort((places["stream_seq"], places["stream_ms"], places["generation"]))
    return HourRows(
        keys=tuple(found.keys),
        object=column(found.objects)[order],
        table=column(found.tables)[order],
        **{name: values[order] for name, values in places.items()},
        gaps=tuple(sorted(found.gaps, key=lambda gap: gap.place)),
        problems=tuple(found.problems),
        objects=objects,
        covered=covered,
    )
