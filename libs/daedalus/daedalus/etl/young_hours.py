"""The hours of a market as they can be read now: the youngest only as far as they are complete."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from daedalus.etl.bronze_catalog import HourPartition
from daedalus.etl.chunks import BadSegment
from daedalus.etl.planning import Hour, whole
from daedalus.etl.segments import Footer, read_footer
from daedalus.etl.young_end import Damaged, Segment, between_neighbours, complete
from daedalus_common.stores import ObjectInfo, ObjectStore

SETTLED_AFTER = timedelta(minutes=10)
"""A writer that lives creates all objects of a plan within seconds; one that died is replaced within its lease."""

_READERS = 8


class ReadableHours:
    """Decides which segments can be read. Reads footers of the youngest hours only."""

    def __init__(self, store: ObjectStore, now: datetime) -> None:
        self._store = store
        self._settled_before = now - SETTLED_AFTER

    def readable(
        self, hours: Iterable[HourPartition], consumed: Mapping[int, frozenset[str]], next_seq: int
    ) -> Iterator[Hour]:
        """The hours with the segments that can be read; none after the first that holds some back.

        `consumed` are keys by hour; `next_seq` follows the last event read before.
        """
        before: HourPartition | None = None
        for partition in hours:
            hour = whole(partition, consumed.get(partition.hour, frozenset()))
            if self._is_settled(hour):  # its holes will stay
                before = partition
                yield hour
                continue
            if before is not None:
                next_seq, before = self._last_seq(before) + 1, None
            hour, next_seq = self._young(hour, next_seq)
            yield hour
            if hour.held_back:
                return

    def _is_settled(self, hour: Hour) -> bool:
        return all(self._is_old(hour.partition, info) for info in _infos(hour))

    def _is_old(self, partition: HourPartition, info: ObjectInfo) -> bool:
        """Whatever belongs beside it has long arrived: so it has where segments were merged, which is done late."""
        return info.modified < self._settled_before or info.key in partition.covers

    def _last_seq(self, partition: HourPartition) -> int:
        """Of the last readable segments; 0 where none is."""
        footers = (read_footer(self._store, infos[-1].key) for infos in partition.segments.values())
        return max((footer.last_seq for footer in footers if isinstance(footer, Footer)), default=0)

    def _young(self, hour: Hour, next_seq: int) -> tuple[Hour, int]:
        segments, damaged = self._footers(hour)
        keys = frozenset(complete(segments, damaged, next_seq))
        last = max((segment.last_seq for segment in segments if segment.key in keys), default=next_seq - 1)
        return Hour(hour.partition, keys, len(hour.keys - keys)), last + 1

    def _footers(self, hour: Hour) -> tuple[list[Segment], list[Damaged]]:
        segments: list[Segment] = []
        damaged: list[Damaged] = []
        for table, infos in hour.partition.segments.items():
            wanted = [info for info in infos if info.key in hour.keys]
            with ThreadPoolExecutor(_READERS) as pool:
                footers = list(pool.map(lambda info: read_footer(self._store, info.key), wanted))
            series = [
                self._segment(hour.partition, table, info, footer) for info, footer in zip(wanted, footers, strict=True)
            ]
            segments += [each for each in series if isinstance(each, Segment)]
            damaged += between_neighbours(series)
        return segments, damaged

    def _segment(
        self, partition: HourPartition, table: str, info: ObjectInfo, footer: Footer | BadSegment
    ) -> Segment | str:
        if isinstance(footer, BadSegment):
            return info.key
        return Segment(
            key=info.key,
            series=table,
            first_id=_id(footer.first_id),
            last_id=_id(footer.last_id),
            first_seq=footer.first_seq,
            last_seq=footer.last_seq,
            rows=footer.rows,
            settled=self._is_old(partition, info),
        )


def _infos(hour: Hour) -> list[ObjectInfo]:
    return [info for infos in hour.partition.segments.values() for info in infos if info.key in hour.keys]


def _id(text: str) -> tuple[int, int]:
    ms, _, number = text.partition("-")
    return int(ms), int(number)
