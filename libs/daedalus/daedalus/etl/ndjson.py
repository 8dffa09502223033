"""Event files in NDJSON as an input: which markets they hold, and the events of each.

The lines of all files in their order are the sequence, that of each market by itself. Empty lines are passed over.
There is no genesis: whoever computes says with which parameters.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daedalus.etl.bronze_reader import ALL_TABLES
from daedalus.etl.ndjson_files import Line, input_files, read_lines
from daedalus.etl.ndjson_lines import EventColumns, Head, LineFilter, read_head
from daedalus_common.markets import Market
from daedalus_features import Events

CHUNK_ROWS = 8_192
KEPT_LINES = 20
"""So many bad lines are reported one by one; the others are counted."""


class BadLine(msgspec.Struct, frozen=True):
    """A line that is no event; `reason` repeats nothing of what it holds."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}"


class BadLines(msgspec.Struct, frozen=True):
    """How many lines are no events, and the first of them."""

    total: int = 0
    first: tuple[BadLine, ...] = ()


class NdjsonPosition(msgspec.Struct, frozen=True, order=True):
    """Behind a line: `file` counts the files from 0, `offset` uncompressed bytes, `line` lines of the file.

    `ts` is that of the market's last event so far, `events` how many those are.
    """

    file: int = 0
    offset: int = 0
    line: int = 0
    ts: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class LineChunk:
    """Events that follow each other in one market's sequence, and the place behind the last one's line."""

    events: Events
    end: NdjsonPosition

    @property
    def recorded(self) -> int:
        return len(self.events)


@dataclass(frozen=True, slots=True)
class NdjsonScan:
    """What the files hold: events by market, sorted, and the lines that are none."""

    events: Mapping[Market, int]
    bad: BadLines

    @property
    def markets(self) -> tuple[Market, ...]:
        return tuple(self.events)


class NdjsonInput:
    """Event files; `paths` are files or folders of such, see `ndjson_files.input_files` for what it raises."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files = input_files(paths)

    def scan(self) -> NdjsonScan:
        """Reads everything once, but of each line only the head."""
        names: Counter[tuple[str, str]] = Counter()
        total, first = 0, list[BadLine]()
        for path in self.files:
            for line in read_lines(path):
                head = line.fault or read_head(line.content)
                if isinstance(head, Head):
                    names[head.exchange, head.symbol] += 1
                elif line.fault or not line.content.isspace():
                    total += 1
                    if len(first) < KEPT_LINES:
                        first.append(BadLine(str(path), line.number, head))
        events = {Market(exchange, symbol): count for (exchange, symbol), count in sorted(names.items())}
        return NdjsonScan(events, BadLines(total, tuple(first)))

    def read(
        self,
        market: Market,
        *,
        after: NdjsonPosition | None = None,
        limit: int | None = None,
        tables_needed: frozenset[str] = ALL_TABLES,
        chunk_rows: int = CHUNK_ROWS,
        book_levels: int | None = None,
    ) -> Iterator[LineChunk]:
        """The market's events after a position, at most `limit` of them, `chunk_rows` a chunk.

        `tables_needed` and `book_levels` as for `bronze_reader.read_events`. Lines that are no events are passed
        over: `scan` reports them.
        """
        begin = after or NdjsonPosition()
        wanted = LineFilter(market)
        columns = EventColumns(tables_needed, begin.ts, book_levels)
        events = begin.events
        end = begin.file, begin.offset, begin.line
        left = -1 if limit is None else limit
        for file, line in self._lines(begin) if left else ():
            head = wanted.head(line.content)
            if head is None:
                continue
            columns.add(head, line.content)
            events, left = events + 1, left - 1
            end = file, line.end, line.number
            if len(columns) == chunk_rows or left == 0:
                yield LineChunk(columns.events(), NdjsonPosition(*end, columns.ts, events))
                if left == 0:
                    return
                columns = EventColumns(tables_needed, columns.ts, book_levels)
        if len(columns):
            yield LineChunk(columns.events(), NdjsonPosition(*end, columns.ts, events))

    def _lines(self, begin: NdjsonPosition) -> Iterator[tuple[int, Line]]:
        """Each line behind a position, with the number of its file."""
        for file in range(begin.file, len(self.files)):
            offset, number = (begin.offset, begin.line) if file == begin.file else (0, 0)
            for line in read_lines(self.files[file], offset, number):
                yield file, line
