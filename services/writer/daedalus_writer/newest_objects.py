"""How far the store's tables of a market reach: a look at the newest object of each.

Five listings and one footer a table, 20 to 60 for all; made where a writer does not know it by itself (`opening.py`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.broker.keys import GOLD, RAW
from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import memory, one_array
from daedalus_common.stores import ObjectInfo, ObjectStore
from daedalus_common.tables import BRONZE, QUALITY
from daedalus_writer.bronze import SOURCE
from daedalus_writer.durable_end import End, is_quality

_OBJECT = re.compile(r"(?:segment|part)_(\d{8}T\d{2})_(\d+)\.parquet")
_LOOKED_AT = 20
"""Of one partition, where the newest ones are damaged or not of this stream."""
_EVENT_COLUMNS = ("stream_ms", "stream_seq", "generation", "seq", "ts")
_ROW_COLUMNS = ("timestamp", "seq")


@dataclass(frozen=True, slots=True)
class NewestObject:
    """The newest object of a table by its name, and the end of the newest one that can be read."""

    stamp: str
    counter: int
    end: End | None


@dataclass(slots=True)
class Newest:
    """By `plans.counter_field`."""

    objects: dict[str, NewestObject] = field(default_factory=dict)

    @property
    def ends(self) -> dict[str, End]:
        return {table: newest.end for table, newest in self.objects.items() if newest.end is not None}

    @property
    def counters(self) -> dict[str, str]:
        """ "stamp counter" of the newest object, as `plans.make_plan` takes it."""
        return {table: f"{newest.stamp} {newest.counter}" for table, newest in self.objects.items()}

    def add(self, table: str, made: NewestObject) -> None:
        """An object was made; it need not be the newest one by its name."""
        there = self.objects.get(table)
        if there is None or (made.stamp, made.counter) >= (there.stamp, there.counter):
            self.objects[table] = NewestObject(made.stamp, made.counter, made.end or (there.end if there else None))

    def update(self, later: "Newest") -> None:
        for table, made in later.objects.items():
            self.add(table, made)


def newest_objects(store: ObjectStore, market: Market, stream: str) -> Newest:
    """What the store holds of a stream. Raises StoreError."""
    found = Newest()
    for table in _tables(store, stream):
        for folder in _newest_first(store, f"{table}/{market.partition}/"):
            names, infos = _named(store, folder)
            if names:
                # The names tell the counter; where the newest rows are the order of what counts tells: a merged object
                # has a newer name than all it covers, and older rows than those that were not merged with them.
                keys = [info.key for info in reversed(current(store, infos).objects)]
                found.objects[table] = NewestObject(*max(names), _end(store, table, keys, stream))
                break
    return found


def _tables(store: ObjectStore, stream: str) -> Iterator[str]:
    if stream == RAW:
        yield from (f"bronze/{SOURCE}/{name}" for name in BRONZE)
        yield from (f"quality/{name}" for name in QUALITY)
        return
    for name in store.folders(f"{stream}/"):
        if stream == GOLD:
            inner = store.folders(f"{stream}/{name}/")
            yield from (f"{stream}/{name}/{folder}" for folder in inner if folder.startswith("duration="))
        yield f"{stream}/{name}"


def _newest_first(store: ObjectStore, folder: str) -> Iterator[str]:
    """The partitions below a folder, the newest first; a disk keeps empty ones."""
    inner = [(int(value), name) for name in store.folders(folder) if (value := name.partition("=")[2]).isdecimal()]
    if not inner:
        yield folder
    for _, name in sorted(inner, reverse=True):
        yield from _newest_first(store, f"{folder}{name}/")


def _named(store: ObjectStore, folder: str) -> tuple[list[tuple[str, int]], list[ObjectInfo]]:
    """(stamp, counter) of the objects in a partition, and the objects."""
    matched = [(_OBJECT.fullmatch(info.key.removeprefix(folder)), info) for info in store.list(folder)]
    return [(named[1], int(named[2])) for named, _ in matched if named], [info for named, info in matched if named]


def _end(store: ObjectStore, table: str, keys: list[str], stream: str) -> End | None:
    for key in keys[:_LOOKED_AT]:
        with store.open_input(key) as file:
            end = end_of(file, table, stream)
        if end is not None:
            return end
    return None


def end_of(file: BinaryIO | pa.NativeFile, table: str, stream: str) -> End | None:
    """The end of a Parquet object; None where it is damaged, or not written from this stream."""
    try:
        opened = pq.ParquetFile(file)
        said = opened.metadata.metadata or {}
        if said.get(b"daedalus.stream") != stream.encode():
            return None
        last_id = said[b"daedalus.last_id"].decode()
        if is_quality(table):
            return End(last_id, 0, 0, _last_generation(opened))
        if stream == RAW:
            return _event_end(_last_rows(opened, _EVENT_COLUMNS))
        return _row_end(_last_rows(opened, _ROW_COLUMNS), last_id)
    except (pa.ArrowException, KeyError, ValueError, IndexError):
        return None
    except OSError as error:
        # Arrow's word for what it cannot parse; an error of the disk has a number.
        if error.errno is not None:
            raise
        return None


def _last_rows(opened: pq.ParquetFile, columns: tuple[str, ...]) -> pa.Table:
    return opened.read_row_group(opened.num_row_groups - 1, columns=list(columns), use_threads=False)


def _last_generation(opened: pq.ParquetFile) -> int:
    """Of rows that may have none."""
    known = one_array(_last_rows(opened, ("generation",))["generation"]).drop_null()
    return int(memory(known, np.int32).max(initial=0))


def _event_end(rows: pa.Table) -> End:
    ms, number, seq, ts = (memory(one_array(rows[name]), np.int64) for name in ("stream_ms", "stream_seq", "seq", "ts"))
    last = int(np.lexsort((number, ms))[-1])
    generation = memory(one_array(rows["generation"]), np.int32)
    return End(f"{ms[last]}-{number[last]}", int(seq[last]), int(ts.max()), int(generation.max()))


def _row_end(rows: pa.Table, last_id: str) -> End:
    timestamp, seq = (memory(one_array(rows[name]), np.int64) for name in _ROW_COLUMNS)
    last = int(np.lexsort((seq, timestamp))[-1])
    return End(last_id, int(seq[last]), int(timestamp[last]))
