"""What lies already in the partitions that a task writes to, and whether it is in the way."""

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.plans import HOUR_NS
from daedalus_common.stores import ObjectInfo, ObjectStore

ORIGIN = "batch"
"""The `origin` in the footer of the parts that a run writes."""

_READERS = 8
_NAME = re.compile(r"part_(\d{8}T\d{2})_(\d+)\.parquet")
_LONGEST_PART_HOURS = 24
"""A task covers a day at most, so a part that begins earlier than this before a row cannot hold it."""
_EVER = 2**62


@dataclass(frozen=True, slots=True)
class Found:
    """A part by its name; `hour` is that of its first row, from the epoch, None for a name that is not ours."""

    key: str
    hour: int | None
    counter: int


@dataclass(frozen=True, slots=True)
class Span:
    """A part's job and task (empty and 0 for a live one), schema, and the times of its first and last row in ns."""

    found: Found
    job: str
    task: int
    schema: str
    first: int
    last: int

    @property
    def is_unknown(self) -> bool:
        """It is no table of rows with times."""
        return self.last == _EVER


@dataclass(frozen=True, slots=True)
class Range:
    """Rows that a task wants to put into one partition: times in ns, both inclusive."""

    first: int
    last: int


def look_up(store: ObjectStore, folder: str) -> list[Found]:
    """Every Parquet object of a partition, ascending by name."""
    return [_found(info) for info in store.list(f"{folder}/") if info.key.endswith(".parquet")]


def nearby(parts: Iterable[Found], rows: Range) -> list[Found]:
    """Those whose rows can lie among these by their name alone."""
    first, last = rows.first // HOUR_NS, rows.last // HOUR_NS
    return [part for part in parts if part.hour is None or first - _LONGEST_PART_HOURS <= part.hour <= last]


def spans(store: ObjectStore, parts: Sequence[Found]) -> list[Span]:
    """What their footers say."""
    if not parts:
        return []
    with ThreadPoolExecutor(min(_READERS, len(parts))) as pool:
        return list(pool.map(lambda part: _span(store, part), parts))


def in_the_way(found: Iterable[Span], job: str, rows: Range) -> list[Span]:
    """Parts of others with rows in the same hours."""
    first, last = rows.first // HOUR_NS, rows.last // HOUR_NS
    return [
        span for span in found if span.job != job and span.first // HOUR_NS <= last and span.last // HOUR_NS >= first
    ]


def _found(info: ObjectInfo) -> Found:
    named = _NAME.fullmatch(info.key.rpartition("/")[2])
    if named is None:
        return Found(info.key, None, 0)
    try:
        start = datetime.strptime(named[1], "%Y%m%dT%H").replace(tzinfo=UTC)
    except ValueError:
        return Found(info.key, None, int(named[2]))
    return Found(info.key, int(start.timestamp()) // 3600, int(named[2]))


def _span(store: ObjectStore, part: Found) -> Span:
    """Of a file that nobody can read, or that is not ours: all of time."""
    with store.open_input(part.key) as file:
        try:
            metadata = pq.read_metadata(file)
        except pa.ArrowInvalid:
            return Span(part, "", 0, "", 0, _EVER)
    ours = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in _pairs(metadata)}
    first, last = _times(metadata)
    schema = ours.get("daedalus.schema", "")
    if ours.get("daedalus.origin") != ORIGIN:
        return Span(part, "", 0, schema, first, last)
    return Span(part, ours.get("daedalus.job", ""), int(ours.get("daedalus.task", "0")), schema, first, last)


def _pairs(metadata: Any) -> Iterable[tuple[bytes, bytes]]:
    pairs: dict[bytes, bytes] = metadata.metadata or {}
    return pairs.items()


def _times(metadata: Any) -> tuple[int, int]:
    """Of the first and last row by the statistics of `timestamp`."""
    column = metadata.schema.to_arrow_schema().get_field_index("timestamp")
    firsts, lasts = [], []
    for group in range(metadata.num_row_groups) if column >= 0 else ():
        statistics = metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max or not isinstance(statistics.min_raw, int):
            return 0, _EVER
        firsts.append(statistics.min_raw)
        lasts.append(statistics.max_raw)
    return (min(firsts), max(lasts)) if firsts else (0, _EVER)
