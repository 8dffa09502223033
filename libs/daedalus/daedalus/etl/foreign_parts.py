"""What lies already in the partitions of a run's tables, by the footers of the parts."""

import re
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.markets import Market
from daedalus_common.parquet.covers import Covers, read_covers
from daedalus_common.plans import HOUR_NS, gold_destination, hour_at, silver_destination
from daedalus_common.stores import ObjectInfo, ObjectMissing, ObjectStore

ORIGIN = "batch"
"""The `origin` in the footer of the parts that a run writes."""

_READERS = 8
_KEPT_SPANS = 65_536
"""Of some 500 bytes each; a month of live parts, one a minute, is 43,200."""
_DAY_HOURS = 24
_NAME = re.compile(r"part_(\d{8}T\d{2})_(\d+)\.parquet")
_EVER = 2**62


@dataclass(frozen=True, slots=True)
class Found:
    """A part by its listing; `hour` is that of its first row, from the epoch, None for a name that is not ours."""

    key: str
    hour: int | None
    counter: int
    size_bytes: int = 0
    modified: datetime | None = None
    """With the size it tells an object from another one that had the same key before."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part's job and task (empty and 0 for a live one), schema, and the times of its first and last row in ns."""

    found: Found
    job: str
    task: int
    schema: str
    first: int
    last: int
    covers: Covers = field(default_factory=Covers)
    """The parts that it stands for: whoever takes its place stands for them too."""
    key_hash: str = ""

    @property
    def is_unknown(self) -> bool:
        """It is no table of rows with times."""
        return self.last == _EVER

    def touches(self, hours: Sequence[int]) -> bool:
        """Whether one of these hours, ascending, lies between those of its first and last row, or is one of them."""
        at = bisect_left(hours, self.first // HOUR_NS)
        return at < len(hours) and hours[at] <= self.last // HOUR_NS


@dataclass(frozen=True, slots=True)
class Partition:
    """What a partition holds, and the parts that may concern a task.

    `counter` is the greatest one taken, also by a part that is gone and that another one stands for.
    """

    counter: int
    spans: tuple[Span, ...]


def folders(store: ObjectStore, tables: Mapping[str, str], market: Market, hours: Iterable[int]) -> set[str]:
    """The partitions of these hours in each table, every bar duration that is there included.

    `tables` are layers by table.
    """
    starts = [hour_at(day * _DAY_HOURS) for day in sorted({hour // _DAY_HOURS for hour in hours})]
    found: set[str] = set()
    for table, layer in tables.items():
        if layer == "silver":
            places = [silver_destination(table, market, start) for start in starts]
        else:
            each = [None, *_durations(store, f"{layer}/{table}/")]
            places = [gold_destination(table, duration, market, start) for duration in each for start in starts]
        found.update(f"{place.table}/{place.partition}" for place in places)
    return found


def survey(store: ObjectStore, names: Iterable[str], last_hour: int) -> dict[str, Partition]:
    """What is in these partitions; of parts that begin more than a day after an hour only the counter counts.

    Reads every other footer, whatever its name says of the beginning: a part may hold any number of days. Each is
    read once in the life of the process.
    """
    wanted = sorted(names)
    with ThreadPoolExecutor(_READERS, "parts") as pool:
        listed = list(pool.map(lambda name: _look_up(store, name), wanted))
        near = [
            [part for part in found if part.hour is None or part.hour <= last_hour + _DAY_HOURS] for found in listed
        ]
        spans = dict(
            pool.map(
                lambda part: (part.key, _span(cast(Hashable, store), part)), (part for each in near for part in each)
            )
        )
    partitions = {}
    for name, found, of_name in zip(wanted, listed, near, strict=True):
        known = tuple(span for part in of_name if (span := spans[part.key]) is not None)
        taken = [*(part.counter for part in found), *(span.covers.last_counter() for span in known)]
        partitions[name] = Partition(max(taken, default=0), known)
    return partitions


def times(metadata: Any, column: str) -> tuple[int, int] | None:
    """The least and greatest value of a column of times in ns, by its statistics; None where they do not tell."""
    place = metadata.schema.to_arrow_schema().get_field_index(column)
    firsts, lasts = [], []
    for group in range(metadata.num_row_groups) if place >= 0 else ():
        statistics = metadata.row_group(group).column(place).statistics
        if statistics is None or not statistics.has_min_max or not isinstance(statistics.min_raw, int):
            return None
        firsts.append(statistics.min_raw)
        lasts.append(statistics.max_raw)
    return (min(firsts), max(lasts)) if firsts else None


def _durations(store: ObjectStore, table: str) -> list[int]:
    named = (name.partition("=") for name in store.folders(table))
    return [int(value) for word, _, value in named if word == "duration" and value.isdecimal()]


def _look_up(store: ObjectStore, folder: str) -> list[Found]:
    """Every Parquet object of a partition, ascending by name."""
    return [_found(info) for info in store.list(f"{folder}/") if info.key.endswith(".parquet")]


def _found(info: ObjectInfo) -> Found:
    named = _NAME.fullmatch(info.key.rpartition("/")[2])
    hour, counter = None, 0
    if named is not None:
        counter = int(named[2])
        try:
            start = datetime.strptime(named[1], "%Y%m%dT%H").replace(tzinfo=UTC)
            hour = int(start.timestamp()) // 3600
        except ValueError:
            pass  # no such hour: a name that is not ours
    return Found(info.key, hour, counter, info.size_bytes, info.modified)


@lru_cache(maxsize=_KEPT_SPANS)
def _span(store: ObjectStore, part: Found) -> Span | None:
    """Of a file that nobody can read, or that is not ours: all of time. None for one that somebody has deleted."""
    try:
        with store.open_input(part.key) as file:
            metadata = pq.read_metadata(file)
    except ObjectMissing:
        return None
    except pa.ArrowInvalid:
        return Span(part, "", 0, "", 0, _EVER)
    ours = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in _pairs(metadata)}
    first, last = times(metadata, "timestamp") or (0, _EVER)
    schema = ours.get("daedalus.schema", "")
    try:
        covers = read_covers(metadata.metadata)
    except ValueError:
        covers = Covers()
    job, task = "", 0
    if ours.get("daedalus.origin") == ORIGIN:
        job, task = ours.get("daedalus.job", ""), int(ours.get("daedalus.task", "0"))
    return Span(part, job, task, schema, first, last, covers, ours.get("daedalus.key_hash", ""))


def _pairs(metadata: Any) -> Iterable[tuple[bytes, bytes]]:
    pairs: dict[bytes, bytes] = metadata.metadata or {}
    return pairs.items()
