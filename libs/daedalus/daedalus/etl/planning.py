"""Which piece of a market's Bronze comes next: pure, over hours in their order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

from daedalus.etl.bronze_catalog import HourPartition
from daedalus_common.stores import ObjectInfo

TASK_BYTES = 64 * 1024 * 1024
"""Of Bronze: some 500,000 books of 2 x 50 levels, seconds of work, which a crash or a stop loses at most."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Segments by table, of hours of one day."""

    day: date
    last_hour: int
    segments: dict[str, tuple[str, ...]]
    sizes: dict[str, int]
    """Bytes by key."""
    last_keys: tuple[str, ...]
    """Those of the last hour."""
    oldest: datetime
    """When the first of the segments came."""


@dataclass(frozen=True, slots=True)
class Hour:
    """The segments of an hour that can be read now; so many are held back until others arrive."""

    partition: HourPartition
    keys: frozenset[str]
    held_back: int = 0


def whole(partition: HourPartition, consumed: Iterable[str]) -> Hour:
    """All of an hour but what was read before."""
    before = set(consumed)
    return Hour(partition, frozenset(key for key in _keys(partition) if key not in before))


def pieces(hours: Iterable[Hour], most_bytes: int | None = TASK_BYTES) -> Iterator[Piece]:
    """Pieces of hours of one day, up to `most_bytes` (None: the whole day), but one hour at least.

    Takes one hour more from `hours` than a piece needs, to see that it ends.
    """
    taken: list[Hour] = []
    size_bytes = 0
    for hour in hours:
        if not hour.keys:
            continue
        hour_bytes = _size_bytes(hour)
        is_other_day = bool(taken) and hour.partition.day != taken[0].partition.day
        is_full = bool(taken) and most_bytes is not None and size_bytes + hour_bytes > most_bytes
        if is_other_day or is_full:
            yield _piece(taken)
            taken, size_bytes = [], 0
        taken.append(hour)
        size_bytes += hour_bytes
    if taken:
        yield _piece(taken)


def _piece(hours: list[Hour]) -> Piece:
    segments: dict[str, tuple[str, ...]] = {}
    for hour in hours:
        for table, infos in hour.partition.segments.items():
            keys = tuple(info.key for info in infos if info.key in hour.keys)
            if keys:
                segments[table] = segments.get(table, ()) + keys
    last = hours[-1]
    sizes = {info.key: info.size_bytes for hour in hours for info in _infos(hour)}
    oldest = min(info.modified for hour in hours for info in _infos(hour))
    return Piece(last.partition.day, last.partition.hour, segments, sizes, tuple(sorted(last.keys)), oldest)


def _keys(partition: HourPartition) -> list[str]:
    return [info.key for infos in partition.segments.values() for info in infos]


def _size_bytes(hour: Hour) -> int:
    return sum(info.size_bytes for info in _infos(hour))


def _infos(hour: Hour) -> list[ObjectInfo]:
    return [info for infos in hour.partition.segments.values() for info in infos if info.key in hour.keys]
