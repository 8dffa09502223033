"""Event files in NDJSON as an input: which markets they hold, and the events of each.

The lines of all files in their order are the sequence, that of each market by itself. Empty lines are passed over.
There is no genesis: whoever computes says with which parameters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from daedalus.etl.bronze_reader import ALL_TABLES
from daedalus.etl.ndjson_files import HEAD_BYTES, Line, LineFile, head_of, input_files, read_lines
from daedalus.etl.ndjson_lines import EventColumns, Head, LineFilter, read_head
from daedalus.etl.problems import EtlError, UsageError
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

    `ts` is that of the market's last event so far, `events` how many those are. `files` are those up to `file`, each
    as far as it was read: the position means nothing where others have come in their place.
    """

    file: int = 0
    offset: int = 0
    line: int = 0
    ts: int = 0
    events: int = 0
    files: tuple[LineFile, ...] = ()


@dataclass(frozen=True, slots=True)
class LineChunk:
    """Events that follow each other in one market's sequence, and the place behind the last one's line."""

    events: Events
    end: NdjsonPosition

    @property
    def recorded(self) -> int:
        return len(self.events)


@dataclass(slots=True)
class LineSums:
    """Of one market's lines: how many, their bytes, and the latest `capture_ts`."""

    events: int = 0
    size_bytes: int = 0
    last_ts: int = 0

    def add(self, head: Head, content: bytes) -> None:
        self.events += 1
        self.size_bytes += len(content)
        self.last_ts = max(self.last_ts, head.capture_ts)

    def bytes_of(self, events: int) -> int:
        """About so many bytes the first `events` of them take."""
        return self.size_bytes * min(events, self.events) // max(1, self.events)


@dataclass(frozen=True, slots=True)
class NdjsonScan:
    """What the files hold: sums by market, sorted, the lines that are none, and the files as they were then."""

    sums: Mapping[Market, LineSums]
    bad: BadLines
    files: tuple[LineFile, ...]

    @property
    def events(self) -> Mapping[Market, int]:
        return {market: sums.events for market, sums in self.sums.items()}

    @property
    def markets(self) -> tuple[Market, ...]:
        return tuple(self.sums)


class NdjsonInput:
    """Event files; `paths` are files or folders of such, see `ndjson_files.input_files` for what it raises.

    `planned`: the files are read as they were then, whatever has been appended to them.
    """

    def __init__(self, paths: Sequence[Path], planned: Sequence[LineFile] = ()) -> None:
        self.files = input_files(paths)
        self._planned = tuple(planned)

    @classmethod
    def as_planned(cls, files: Sequence[LineFile]) -> Self:
        """These very files. `read` raises UsageError where one does not hold any more what it held."""
        return cls([Path(file.path) for file in files], files)

    def scan(self) -> NdjsonScan:
        """Reads everything once, but of each line only the head. Raises EtlError for a file that cannot be read."""
        names: dict[tuple[str, str], LineSums] = {}
        total, first, files = 0, list[BadLine](), list[LineFile]()
        for path in self.files:
            size = 0
            for line in _lines_of(path):
                size = line.end
                head = line.fault or read_head(line.content)
                if isinstance(head, Head):
                    names.setdefault((head.exchange, head.symbol), LineSums()).add(head, line.content)
                elif line.fault or not line.content.isspace():
                    total += 1
                    if len(first) < KEPT_LINES:
                        first.append(BadLine(str(path), line.number, head))
            files.append(_line_file(path, size))
        sums = {Market(*name): names[name] for name in sorted(names)}
        return NdjsonScan(sums, BadLines(total, tuple(first)), tuple(files))

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
        over: `scan` reports them. Raises EtlError for a file that cannot be read.
        """
        begin = after or NdjsonPosition()
        wanted = LineFilter(market)
        columns = EventColumns(tables_needed, begin.ts, book_levels)
        events = begin.events
        end = begin.file, begin.offset, begin.line
        passed = list(begin.files[: begin.file])

        def reached() -> NdjsonPosition:
            file, offset, _ = end
            files = (*passed[:file], _line_file(self.files[file], offset))
            return NdjsonPosition(*end, columns.ts, events, files)

        left = -1 if limit is None else limit
        for file, line in self._lines(begin, passed) if left else ():
            head = wanted.head(line.content)
            if head is None:
                continue
            columns.add(head, line.content)
            events, left = events + 1, left - 1
            end = file, line.end, line.number
            if len(columns) == chunk_rows or left == 0:
                yield LineChunk(columns.events(), reached())
                if left == 0:
                    return
                columns = EventColumns(tables_needed, columns.ts, book_levels)
        if len(columns):
            yield LineChunk(columns.events(), reached())

    def _lines(self, begin: NdjsonPosition, passed: list[LineFile]) -> Iterator[tuple[int, Line]]:
        """Each line behind a position, with the number of its file. Files that are read to their end go to `passed`."""
        for file in range(begin.file, len(self.files)):
            path, planned = self.files[file], self._planned[file] if self._planned else None
            if planned is not None and _line_file(path, planned.size) != planned:
                raise _changed(f"{path} holds something else than when its task began")
            offset, number = (begin.offset, begin.line) if file == begin.file else (0, 0)
            for line in _lines_of(path, offset, number, None if planned is None else planned.size):
                offset = line.end
                yield file, line
            if planned is not None and offset < planned.size:
                raise _changed(f"{path} is shorter than when its task began")
            passed.append(planned or _line_file(path, offset))


def check_unchanged(read: Sequence[LineFile], found: Sequence[LineFile]) -> None:
    """Raises UsageError where the files that were `read` are not the first ones of those `found` now, as they were.

    The last one may have grown: it is read on. To any other of them nothing may have been added, since what follows
    it was read already. What comes behind all of them is new.
    """
    names = {file.path for file in found}
    for place, before in enumerate(read):
        now = found[place] if place < len(found) else None
        if now is None or now.path != before.path:
            if now is None or before.path not in names:
                raise _changed(f"{before.path} was read, and is no longer there")
            raise _changed(f"{now.path} is new, and comes before {before.path}, which was read already")
        is_last = place == len(read) - 1
        if now.size < before.size:
            raise _changed(f"{now.path} is shorter than what was read of it")
        whole = min(now.size, HEAD_BYTES) == min(before.size, HEAD_BYTES)
        if (now if whole else _line_file(Path(now.path), before.size)).head != before.head:
            raise _changed(f"{now.path} holds something else than when it was read")
        if now.size > before.size and not is_last:
            raise _changed(f"{now.path} has grown, and files behind it were read already")


def _changed(what: str) -> UsageError:
    return UsageError(f"{what}; give --restart (with --replace) to compute from the beginning")


def _line_file(path: Path, size: int) -> LineFile:
    try:
        return LineFile(str(path), size, head_of(path, size))
    except OSError as error:
        raise _unreadable(path, error) from error


def _lines_of(path: Path, offset: int = 0, number: int = 0, end: int | None = None) -> Iterator[Line]:
    try:
        yield from read_lines(path, offset, number, end)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> EtlError:
    return EtlError(f"cannot read {path}: {error.strerror or error}")
