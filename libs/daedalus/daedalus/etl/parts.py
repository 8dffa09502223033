"""Rows on their way into the parts of one task: gathered, encoded as they come, created at the end."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from daedalus.etl.foreign_parts import ORIGIN
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.feature_tables import by_duration, row_destination, stored_table, wrong_values
from daedalus_common.parquet.objects import Draft, Identity
from daedalus_common.parquet.stored_rows import Keys, StoredRows, split
from daedalus_common.plans import HOUR_NS, Destination
from daedalus_common.rows import Column, RowSchema
from daedalus_features import Rows, Table
from daedalus_features.arrays import FloatArray, IntArray

_MILLISECOND_NS = 1_000_000
_GROUP_ROWS = 4096
"""Rows become Arrow columns in portions: 190 columns cost some 2 ms a portion, however few rows it has."""


@dataclass(slots=True)
class DraftPart:
    """A part in the making: the draft, and the times of its first and last row in ns."""

    place: Destination
    draft: Draft
    first: int
    last: int
    hours: set[int] = field(default_factory=set)
    """Of the rows, from the epoch."""

    @property
    def ascending_hours(self) -> list[int]:
        return sorted(self.hours)

    @property
    def folder(self) -> str:
        return f"{self.place.table}/{self.place.partition}"

    def finished(self, market: Market, job: str, task: int, covers: Mapping[str, str]) -> tuple[memoryview, Identity]:
        """The bytes of the object. Its footer says who wrote it, and which objects it stands for from now on:
        `covers` are those entries.
        """
        origin = {
            "origin": ORIGIN,
            "job": job,
            "task": str(task),
            "first_timestamp": str(self.first),
            "last_timestamp": str(self.last),
            "writer_version": version("daedalus"),
        }
        return self.draft.finished(market, origin | dict(covers))


class Gathering:
    """The rows of one task, by the part they go to."""

    def __init__(self, market: Market, tables: frozenset[str], seqs: Mapping[str, int], compression: Compression):
        self._market = market
        self._tables = tables
        self._compression = compression
        self._waiting: dict[str, list[Rows]] = defaultdict(list)
        self._parts: dict[tuple[str, str, str], DraftPart] = {}
        self.seqs = dict(seqs)
        self.rows: Counter[str] = Counter()
        self.refused = 0

    def add(self, rows: Iterable[Rows]) -> None:
        """The next rows of any tables; those of tables that nobody asked for are left out."""
        for each in rows:
            if each.table.name not in self._tables:
                continue
            waiting = self._waiting[each.table.name]
            if waiting and waiting[-1].table != each.table:  # a genesis has changed the columns
                self._store(each.table.name)
            waiting.append(each)
            if sum(map(len, waiting)) >= _GROUP_ROWS:
                self._store(each.table.name)

    def parts(self) -> list[DraftPart]:
        """Every part, in the order in which its first row came."""
        for name in list(self._waiting):
            self._store(name)
        return list(self._parts.values())

    def _store(self, name: str) -> None:
        waiting = self._waiting[name]
        if not waiting:
            return
        schema = row_schema(waiting[0].table)
        timestamp = np.concatenate([rows.timestamp for rows in waiting])
        values = np.concatenate([rows.values for rows in waiting])
        waiting.clear()
        first = self.seqs.get(name, 0) + 1
        self.seqs[name] = first + len(timestamp) - 1
        keys = _keys(timestamp, first)
        wrong = wrong_values(schema, values)
        if wrong.any():
            self.refused += int(wrong.sum())
            timestamp, values, keys = timestamp[~wrong], values[~wrong], keys[~wrong]
        if len(timestamp):
            self.rows[f"{schema.layer}/{schema.table}"] += len(timestamp)
            self._file(schema, timestamp, values, keys)

    def _file(self, schema: RowSchema, timestamp: IntArray, values: FloatArray, keys: Keys) -> None:
        rows = stored_table(schema, timestamp, values, keys)
        for duration, of_duration in by_duration(schema, rows).items():
            for hour, of_hours in _by_partition(self._market, schema, duration, of_duration):
                self._add(row_destination(self._market, schema, duration, hour), of_hours)

    def _add(self, place: Destination, rows: StoredRows) -> None:
        times = rows.timestamp
        at = (place.table, place.partition, place.schema)
        part = self._parts.get(at)
        if part is None:
            draft = Draft(rows.table, rows.schema, self._compression)
            part = self._parts[at] = DraftPart(place, draft, int(times[0]), int(times[-1]))
        part.last = int(times[-1])
        part.hours.update(np.unique(times // HOUR_NS).tolist())
        part.draft.add(rows)
        if part.draft.has_row_group:
            part.draft.encode()


def row_schema(table: Table) -> RowSchema:
    """A table of features as rows are stored."""
    columns = (Column(each.name, each.dtype, each.unit, each.labels) for each in table.columns)
    return RowSchema(table.layer, table.name, tuple(columns))


def _by_partition(market: Market, schema: RowSchema, duration: int, rows: StoredRows) -> list[tuple[int, StoredRows]]:
    """Rows by partition, each with the hour of its first row."""
    hours = rows.timestamp // HOUR_NS
    places: dict[str, int] = {}
    numbers = {
        int(hour): places.setdefault(row_destination(market, schema, duration, int(hour)).partition, len(places))
        for hour in np.unique(hours)
    }
    if len(places) == 1:
        return [(int(hours[0]), rows)]
    by = np.array([numbers[hour] for hour in hours.tolist()], dtype=np.int64)
    return [(int(of.timestamp[0] // HOUR_NS), of) for of in split(rows, by).values()]


def _keys(timestamp: IntArray, first_seq: int) -> Keys:
    """(ms, ns within it, seq): what an entry id is to a live row, its own time is to a computed one."""
    seq = np.arange(first_seq, first_seq + len(timestamp), dtype=np.int64)
    return np.stack([timestamp // _MILLISECOND_NS, timestamp % _MILLISECOND_NS, seq], axis=1)
