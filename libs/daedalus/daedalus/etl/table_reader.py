"""The rows of one Bronze table as blocks in the order of the market's sequence.

segments -> row groups -> blocks: many small ones together make a block, so that their number costs little
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daedalus.etl.bronze_columns import (
    Payload,
    WrongValues,
    kinds,
    payload_columns,
    place_columns,
    wanted_columns,
)
from daedalus.etl.chunks import BadSegment
from daedalus.etl.segment_feed import Opened
from daedalus.etl.segments import columns_of, read_group
from daedalus_features import Books
from daedalus_features.arrays import IntArray

Spot = tuple[int, int]
"""(generation, seq): orders the events of a market, for within a generation entry ids and `seq` rise together."""

NOWHERE: Spot = (-1, -1)
GATHERED_SEGMENTS = 64
"""So many row groups at most become one block; with 5 s flushes, 5 minutes."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one table and one generation, `seq` rising; arrays have shape (n,)."""

    table: str
    generation: int
    stream_ms: IntArray
    stream_seq: IntArray
    seq: IntArray
    ts: IntArray
    kind: IntArray
    payload: Payload

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def last(self) -> Spot:
        return self.generation, int(self.seq[-1])

    @property
    def size_bytes(self) -> int:
        """Of what the rows carry, roughly."""
        numbers = 8
        if isinstance(self.payload, Books):
            numbers += 2 * (self.payload.bid_price.shape[1] + self.payload.ask_price.shape[1])
        return len(self) * numbers * 8

    def up_to(self, spot: Spot) -> int:
        """How many of the rows lie at or before a place."""
        if self.generation != spot[0]:
            return len(self) if self.generation < spot[0] else 0
        return int(self.seq.searchsorted(spot[1], side="right"))

    def take(self, begin: int, end: int) -> "Block":
        if begin == 0 and end == len(self):
            return self
        rows = slice(begin, end)
        return Block(
            self.table,
            self.generation,
            self.stream_ms[rows],
            self.stream_seq[rows],
            self.seq[rows],
            self.ts[rows],
            self.kind[rows],
            None if self.payload is None else self.payload.take(rows),
        )


@dataclass(frozen=True, slots=True)
class _Group:
    """A decoded row group."""

    key: str
    rows: pa.Table


class TableReader:
    """Blocks of one table after a place; what is found wrong on the way gathers in `bad` and `doubled`."""

    def __init__(
        self,
        table: str,
        segments: Iterator[tuple[str, Opened]],
        *,
        after: Spot,
        payload: bool,
        block_rows: int,
        book_levels: int | None,
    ) -> None:
        self._table = table
        self._segments = segments
        self._columns = wanted_columns(table, payload=payload)
        self._payload = payload
        self._block_rows = block_rows
        self._book_levels = book_levels
        self._after = after
        self._last = after
        self.bad: list[BadSegment] = []
        self.doubled = 0
        self._reported: set[str] = set()
        self._agreed: tuple[pa.Schema, tuple[str, ...]] | None = None

    def blocks(self) -> Iterator[Block]:
        """Blocks that are not empty. Raises StoreError."""
        gathered: list[_Group] = []
        count = 0
        for group in self._groups():
            # Another segment may have other columns of those that are nullable, and its rows other types of null.
            if gathered and not group.rows.schema.equals(gathered[0].rows.schema):
                yield from self._gathered(gathered)
                gathered, count = [], 0
            gathered.append(group)
            count += len(group.rows)
            if count >= self._block_rows or len(gathered) >= GATHERED_SEGMENTS:
                yield from self._gathered(gathered)
                gathered, count = [], 0
        yield from self._gathered(gathered)

    def _groups(self) -> Iterator[_Group]:
        for key, opened in self._segments:
            if isinstance(opened, BadSegment):
                self._report(opened)
                continue
            columns = self._columns_of(key, opened)
            if isinstance(columns, BadSegment):
                self._report(columns)
                continue
            for number in range(opened.num_row_groups):
                rows = read_group(key, opened, number, columns)
                if isinstance(rows, BadSegment):
                    self._report(rows)
                    break
                if len(rows):
                    yield _Group(key, rows)

    def _columns_of(self, key: str, opened: pq.ParquetFile) -> tuple[str, ...] | BadSegment:
        # Nearly always the segment has the schema of the one before: 8 us instead of 30.
        schema = opened.schema_arrow
        if self._agreed is None or not schema.equals(self._agreed[0]):
            columns = columns_of(key, schema, self._table, self._columns)
            if isinstance(columns, BadSegment):
                return columns
            self._agreed = schema, columns
        return self._agreed[1]

    def _gathered(self, groups: list[_Group]) -> Iterator[Block]:
        if not groups:
            return
        together = groups[0].rows if len(groups) == 1 else pa.concat_tables(group.rows for group in groups)
        try:
            yield from self._in_order(together)
        except WrongValues as error:
            if len(groups) > 1:
                for group in groups:
                    yield from self._gathered([group])
            else:
                key = groups[0].key
                self._report(BadSegment(key, f"{key}: {error}"))

    def _report(self, bad: BadSegment) -> None:
        # Each row group of a segment can have a fault of its own.
        if bad.key not in self._reported:
            self._reported.add(bad.key)
            self.bad.append(bad)

    def _in_order(self, rows: pa.Table) -> list[Block]:
        """The rows as blocks of one generation each. Raises WrongValues, before anything else is done."""
        place = place_columns(rows)
        generation, seq = place["generation"], place["seq"]
        cuts = (np.flatnonzero(np.diff(generation)) + 1).tolist()
        bounds = [*zip([0, *cuts], [*cuts, len(seq)], strict=True)]
        if cuts and (np.diff(generation) < 0).any():
            raise WrongValues("its rows are not in the order of their generations")
        for begin, end in bounds:
            _check_order(place, begin, end)
        payload = self._payload_of(rows)
        kind = kinds(self._table, payload, len(seq))
        found = []
        for begin, end in bounds:
            part = Block(
                self._table,
                int(generation[begin]),
                place["stream_ms"],
                place["stream_seq"],
                seq,
                place["ts"],
                kind,
                payload,
            ).take(begin, end)
            if len(kept := self._news(part)):
                found.append(kept)
                self._last = kept.last
        return found

    def _payload_of(self, rows: pa.Table) -> Payload:
        if not self._payload:
            return None
        try:
            return payload_columns(self._table, rows, self._book_levels)
        except UnicodeDecodeError as error:
            raise WrongValues(f"a text in it is not UTF-8: {error}") from error

    def _news(self, block: Block) -> Block:
        """The rows after those that we have already; the ones before where we began do not count as doubled."""
        known = block.up_to(self._last)
        self.doubled += known - block.up_to(self._after)
        return block.take(known, len(block))


def _check_order(place: dict[str, IntArray], begin: int, end: int) -> None:
    seq, ms, sub = (place[name][begin:end] for name in ("seq", "stream_ms", "stream_seq"))
    step = np.diff(ms)
    same = step == 0
    later = np.diff(sub) > 0
    if not ((np.diff(seq) > 0).all() and (step >= 0).all() and later[same].all()):
        raise WrongValues("its rows are not in the order of the sequence")
