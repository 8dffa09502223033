"""One market's events from its Bronze segments: four tables merged into the sequence that was published.

Memory: a block of each table and a chunk, whatever the length of the history.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import numpy as np

from daedalus.etl.bronze_catalog import TABLES
from daedalus.etl.chunks import BadSegment, Chunk, Position
from daedalus.etl.merging import merged
from daedalus.etl.segment_feed import open_segments
from daedalus.etl.table_reader import NOWHERE, Block, Spot, TableReader
from daedalus_common.events import CONTROL
from daedalus_common.stores import ObjectStore
from daedalus_features import Books, Events, Trades

ALL_TABLES = frozenset(TABLES)
CHUNK_ROWS = 16_384

_THREADS = 4
_PATIENCE = 8
"""Blocks; each has at most `chunk_rows` rows or one row group."""


def read_events(
    store: ObjectStore,
    segments: Mapping[str, Sequence[str]],
    *,
    after: Position | None = None,
    limit: int | None = None,
    tables_needed: frozenset[str] = ALL_TABLES,
    chunk_rows: int = CHUNK_ROWS,
    sizes: Mapping[str, int] | None = None,
    book_levels: int | None = None,
) -> Iterator[Chunk]:
    """The events of one market after a position, at most `limit` of them, in chunks of about `chunk_rows`.

    `segments` are keys by table, those of a table in the order of their rows. Of tables that are not needed only the
    events' kind and time are read, so that the sequence is complete; control events are always read whole. `sizes`
    in bytes, where known, let small segments be fetched ahead and large ones be read piece by piece. Of books only
    the first `book_levels` levels are taken.

    Raises StoreError, of which some are worth another try; what is wrong with a segment is said in the chunk.
    """
    begin = NOWHERE if after is None else (after.generation, after.seq)
    with ThreadPoolExecutor(_THREADS, "segments") as pool:
        sources = [
            _Source(
                TableReader(
                    table,
                    open_segments(store, segments.get(table, ()), sizes or {}, pool),
                    after=begin,
                    payload=table in tables_needed or table == CONTROL,
                    block_rows=chunk_rows,
                    book_levels=book_levels,
                ),
                begin,
            )
            for table in TABLES
        ]
        try:
            yield from _chunks(sources, after, limit, chunk_rows)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Source:
    """The blocks of one table that are read and not yet given."""

    def __init__(self, reader: TableReader, begin: Spot) -> None:
        self.reader = reader
        self.ended = False
        self.last = begin
        """Everything up to here is read."""
        self._blocks = reader.blocks()
        self._waiting: deque[Block] = deque()

    def load(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self.ended = True
        else:
            self._waiting.append(block)
            self.last = block.last

    def size_bytes(self) -> int:
        return sum(block.size_bytes for block in self._waiting)

    def count(self, spot: Spot) -> int:
        """How many waiting rows lie at or before a place."""
        return sum(block.up_to(spot) for block in self._waiting)

    def take(self, spot: Spot) -> Iterator[Block]:
        """The waiting rows at or before a place."""
        while self._waiting:
            block = self._waiting.popleft()
            count = block.up_to(spot)
            if count:
                yield block.take(0, count)
            if count < len(block):
                self._waiting.appendleft(block.take(count, len(block)))
                return


def _chunks(sources: Sequence[_Source], end: Position | None, limit: int | None, chunk_rows: int) -> Iterator[Chunk]:
    left = limit
    while left is None or left > 0:
        blocks = _next_blocks(sources, chunk_rows)
        if not blocks:
            break
        for _, of_generation in groupby(sorted(blocks, key=lambda block: block.generation), lambda b: b.generation):
            stretch = merged(list(of_generation), NOWHERE if end is None else (end.generation, end.seq))
            for first, last in _pieces(len(stretch) if left is None else min(left, len(stretch)), chunk_rows):
                events, missing = stretch.part(first, last)
                end = stretch.position(last - 1)
                yield Chunk(events, end, last - first, missing, *_findings(sources))
                left = None if left is None else left - (last - first)
    doubled, bad = _findings(sources)
    if doubled or bad:
        nothing = Events(np.zeros(0, np.int64), np.zeros(0, np.uint8), Books.empty(), Trades.empty())
        yield Chunk(nothing, end, 0, 0, doubled, bad)


def _next_blocks(sources: Sequence[_Source], chunk_rows: int) -> list[Block]:
    """The next rows in the order of the sequence, at least `chunk_rows` unless it ends; each table by itself.

    They end with a block of the table that has the most bytes, as far as a few more blocks of the others allow: its
    blocks pass as they are, where one in two parts would be copied to join the next.
    """
    patience = _PATIENCE
    while True:
        lagging = min((source for source in sources if not source.ended), key=lambda source: source.last, default=None)
        # Nothing before this place can come any more.
        complete = max(source.last for source in sources) if lagging is None else lagging.last
        if lagging is None or sum(source.count(complete) for source in sources) >= chunk_rows:
            heaviest = max(sources, key=_Source.size_bytes)
            if lagging is None or lagging is heaviest or not patience:
                return [block for source in sources for block in source.take(complete)]
            patience -= 1
        lagging.load()


def _pieces(count: int, most: int) -> Iterator[tuple[int, int]]:
    """(first, last) of as few equal pieces of `count` rows as have at most `most` each."""
    pieces = -(-count // most)
    return ((count * i // pieces, count * (i + 1) // pieces) for i in range(pieces))


def _findings(sources: Sequence[_Source]) -> tuple[int, tuple[BadSegment, ...]]:
    """What the readers have found wrong since they were last asked."""
    doubled = sum(source.reader.doubled for source in sources)
    bad = tuple(found for source in sources for found in source.reader.bad)
    for source in sources:
        source.reader.doubled, source.reader.bad = 0, []
    return doubled, bad
