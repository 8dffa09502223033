"""One market's spool on disk: a folder with segments, oldest first, and the cursor. Everything here blocks.

    <market>/00000000000000000000.spool   the position of its first record is its name
    <market>/00000000000000004711.spool   the last one grows
    <market>/cursor                       what need not be read again
    <market>/...spool.damaged             set aside: from the first record on whose checksum is wrong

A torn tail (the process or the machine died while it wrote) is cut at opening. Damage elsewhere costs the rest of its
segment. Segments whose records are all in the stream are deleted.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from daedalus_ingestor.spool_io import cut_to, read_at, records_in, sync_folder, write_all
from daedalus_ingestor.spool_records import (
    BEGINNING,
    SLOT_BYTES,
    Anchor,
    Cursor,
    Flaw,
    Record,
    decode_cursor,
    encode_cursor,
    encode_record,
    encode_segment_header,
    is_segment_header,
    last_record_after,
    lost_between,
    published_as,
    record_at,
    record_bytes,
)

log = structlog.get_logger(__name__)

_SUFFIX: Final = ".spool"
_DAMAGED: Final = ".damaged"
CURSOR: Final = "cursor"
_CHUNK_BYTES: Final = 256 * 1024
_WALK_RECORDS: Final = 1000


@dataclass(slots=True)
class _Segment:
    path: Path
    first: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where an earlier process's records go on that the stream lacks.

    `lost` events before them were in that process's memory alone. `is_late`: another process has published since, so
    they cannot go into the sequence any more.
    """

    position: int
    lost: int
    is_late: bool


class MarketFiles:
    """Positions before `next` are done with, those before `end` are on disk; `read` moves between the two.

    Every method may raise OSError; after that the object is as it was before the call.
    """

    def __init__(self, folder: Path, market: str, segment_bytes: int, *, fsync: bool = True) -> None:
        self.folder = folder
        self._market = market
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self.torn = 0
        """Tails cut at opening, at most one."""
        self.damaged = 0
        """Times that damage was found."""
        self.end = 0
        self._segments: list[_Segment] = []
        self._file: int | None = None
        self._unsynced = False
        self._aside_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._cursor = self._read_cursor()
        self._opened_with = self._cursor.anchor
        self._find_segments()
        self._mend_tail()
        # Never a position twice: an anchor may still speak of those that are deleted.
        self.end = max(self.end, self._cursor.next, 0 if self._segments else self._cursor.anchor.stop)
        self._foreign_end = self.end
        """Records before it are of an earlier process, so a jump between their numbers is a loss."""
        self._read_to = self._cursor.next
        self._last: Record | None = None
        self._offset: tuple[int, int] | None = None
        """(first of the segment, offset in it) of the record at `_read_to`."""

    @property
    def next(self) -> int:
        return self._cursor.next

    @property
    def anchor(self) -> Anchor:
        return self._cursor.anchor

    @property
    def unread(self) -> int:
        """Positions between `read` and `end`; damage among them is not known yet."""
        return self.end - self._read_to

    @property
    def read_to(self) -> int:
        return self._read_to

    @property
    def size_bytes(self) -> int:
        return self._aside_bytes + sum(segment.size_bytes for segment in self._segments)

    def write(self, records: list[Record]) -> None:
        """Appends records whose positions begin at `end`. They survive the process; `sync` makes them survive a crash
        of the machine."""
        if not records:
            return
        data = b"".join(map(encode_record, records))
        if self._file is None or self._segments[-1].size_bytes >= self._segment_bytes:
            self._begin_segment()
        segment, file = self._segments[-1], self._file
        assert file is not None
        try:
            write_all(file, data, segment.size_bytes)
        except OSError:
            # What arrived is a torn tail. Should it resist, the next write covers it: it goes to the same offset.
            cut_to(file, segment.size_bytes)
            raise
        segment.size_bytes += len(data)
        self._unsynced = True
        self.end += len(records)

    def sync(self) -> None:
        if self._fsync and self._unsynced and self._file is not None:
            os.fdatasync(self._file)
        self._unsynced = False

    def read(self, count: int, size_bytes: int) -> tuple[list[Record], int]:
        """The next records, at most `count` and about `size_bytes`; or none, and how many are lost at this place.

        ([], 0) means that there is nothing unread. Reading stops before a loss; the next call tells it and goes past.
        """
        records: list[Record] = []
        total = 0
        while len(records) < count and total < size_bytes and self.unread:
            chunk = self._read_chunk(count - len(records), size_bytes - total)
            if isinstance(chunk, int):
                if records:
                    break
                self._skip(chunk)
                return [], chunk
            lost = self._cut_at_loss(chunk)
            if lost and not records and not chunk:
                self._last = None
                return [], lost
            records += chunk
            total += sum(len(record.payload) for record in chunk)
            if chunk:
                self._read_to, self._last = chunk[-1].position + 1, chunk[-1]
            if lost:
                break
        return records, 0

    def resume(self, epoch: int, applied: int) -> Resumed:
        """Compares what an earlier process left with the stream, which has `applied` events of `epoch`; reads on from
        the first record that the stream does not have."""
        self.seek(self._cursor.next)
        while True:
            records, lost = self.read(_WALK_RECORDS, _CHUNK_BYTES)
            if not records and not lost:
                return Resumed(self.end, 0, is_late=False)
            for record in records:
                as_epoch, number = published_as(record, self._opened_with)
                if as_epoch < epoch:
                    self.seek(record.position)
                    return Resumed(record.position, 0, is_late=True)
                missing = number - 1 - (applied if as_epoch == epoch else 0)
                if missing >= 0:
                    self.seek(record.position)
                    return Resumed(record.position, missing, is_late=False)

    def tail(self, count: int) -> list[bytes]:
        """The payloads of the newest records, oldest first; reads on afterwards where it would have."""
        back_to = self._read_to
        payloads: list[bytes] = []
        self.seek(max(back_to, self.end - count))
        while self.unread:
            records, _ = self.read(count, _CHUNK_BYTES)
            payloads += [record.payload for record in records]
        self.seek(back_to)
        return payloads

    def confirm(self, position: int) -> None:
        """Everything before `position` is in the stream: remembers it and deletes segments. Not synced: a cursor that
        lies back after a crash of the machine only makes records be compared with the stream again."""
        if position > self._cursor.next:
            self._write_cursor(position, self._cursor.anchor, durable=False)
        self._delete_done()

    def anchor_at(self, position: int, epoch: int, number: int) -> None:
        """All records from `position` on that are written by now go out as `number`, `number` + 1, ... of `epoch`.

        Durable when it returns: only then may the first of them be published. Everything before it is done with.
        """
        self._write_cursor(position, Anchor(position, self.end, epoch, number), durable=True)
        if self._read_to < position:
            self.seek(position)

    def seek(self, position: int) -> None:
        """Reads from `position` on."""
        self._read_to, self._offset, self._last = position, None, None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    # opening

    def _read_cursor(self) -> Cursor:
        try:
            return decode_cursor((self.folder / CURSOR).read_bytes()) or BEGINNING
        except FileNotFoundError:
            return BEGINNING

    def _find_segments(self) -> None:
        for path in sorted(self.folder.iterdir()):
            if path.name.endswith(_DAMAGED):
                self._aside_bytes += path.stat().st_size
            elif path.name.endswith(_SUFFIX):
                self._segments.append(_Segment(path, int(path.name.removesuffix(_SUFFIX)), path.stat().st_size))

    def _mend_tail(self) -> None:
        """Finds the end of the last segment, and cuts what is no record there."""
        if not self._segments:
            return
        last = self._segments[-1]
        data = last.path.read_bytes()
        self.end = last.first
        if not is_segment_header(data, self._market, last.first):
            # It died while the segment began, or the header is damaged: nothing in it can be relied on.
            self._tear(last, data, 0)
            return
        offset = len(encode_segment_header(self._market, last.first))
        while isinstance(record := record_at(data, offset), Record) and record.position == self.end:
            offset += record_bytes(record.payload)
            self.end += 1
        if record is not Flaw.END:
            self._tear(last, data, offset)

    def _tear(self, segment: _Segment, data: bytes, offset: int) -> None:
        sound = last_record_after(data, offset)
        if sound is not None and sound.position >= self.end:
            self._set_aside(segment, self.end, data[offset:])
            self.end = sound.position + 1
        else:
            self.torn += 1
            log.warning("spool: torn tail cut", file=str(segment.path), at_byte=offset, cut_bytes=len(data) - offset)
        if offset:
            os.truncate(segment.path, offset)
            segment.size_bytes = offset
        else:
            segment.path.unlink()
            self._segments.remove(segment)

    # reading

    def _read_chunk(self, count: int, size_bytes: int) -> list[Record] | int:
        """Records from `_read_to` on, at least one; or how many positions are lost there."""
        index = max((i for i, s in enumerate(self._segments) if s.first <= self._read_to), default=None)
        if index is None:
            return (self._segments[0].first if self._segments else self.end) - self._read_to
        segment = self._segments[index]
        stop = self._segments[index + 1].first if index + 1 < len(self._segments) else self.end
        start = self._offset_in(segment)
        want = _CHUNK_BYTES
        while start is not None:
            data = read_at(segment.path, start, want)
            records, offset, flaw = records_in(data, self._read_to, stop, count, size_bytes)
            if records:
                self._offset = (segment.first, start + offset)
                return records
            if flaw is Flaw.CUT and len(data) == want:
                want *= 4
                continue
            break
        self._set_aside(segment, self._read_to, segment.path.read_bytes()[start or 0 :])
        return stop - self._read_to

    def _offset_in(self, segment: _Segment) -> int | None:
        """Where the record at `_read_to` begins; None: damage lies before it."""
        if self._offset is not None and self._offset[0] == segment.first:
            return self._offset[1]
        data = segment.path.read_bytes()
        if not is_segment_header(data, self._market, segment.first):
            return None
        offset = len(encode_segment_header(self._market, segment.first))
        for position in range(segment.first, self._read_to):
            record = record_at(data, offset)
            if not isinstance(record, Record) or record.position != position:
                return None
            offset += record_bytes(record.payload)
        return offset

    def _cut_at_loss(self, records: list[Record]) -> int:
        """Ends the list before the first record that does not follow its neighbour; returns how many lie between."""
        previous = self._last
        for index, record in enumerate(records):
            if previous is not None and record.position < self._foreign_end:
                lost = lost_between(previous, record, self._opened_with)
                if lost:
                    del records[index:]
                    self._offset = None
                    return lost
            previous = record
        return 0

    def _skip(self, positions: int) -> None:
        self.seek(self._read_to + positions)

    def _set_aside(self, segment: _Segment, position: int, rest: bytes) -> None:
        target = segment.path.with_name(f"{segment.path.name}.{position}{_DAMAGED}")
        if not rest or target.exists():
            return
        self.damaged += 1
        log.error(
            "spool: damaged records set aside, delete the file once you have looked at it",
            file=str(target),
            size_bytes=len(rest),
        )
        try:
            target.write_bytes(rest)
        except OSError as error:  # A full disk must not keep back what is sound.
            log.error("spool: damaged records are not kept", file=str(target), error=str(error))
            target.unlink(missing_ok=True)
        else:
            self._aside_bytes += len(rest)

    # writing

    def _begin_segment(self) -> None:
        header = encode_segment_header(self._market, self.end)
        path = self.folder / f"{self.end:020d}{_SUFFIX}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            self.sync()
            write_all(file, header, 0)
            self._sync_folder()
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self.close()
        self._file = file
        self._segments.append(_Segment(path, self.end, len(header)))

    def _write_cursor(self, following: int, anchor: Anchor, *, durable: bool) -> None:
        cursor = Cursor(self._cursor.turn + 1, following, anchor)
        file = os.open(self.folder / CURSOR, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            write_all(file, encode_cursor(cursor), cursor.turn % 2 * SLOT_BYTES)
            if durable and self._fsync:
                os.fdatasync(file)
        finally:
            os.close(file)
        if durable:
            self._sync_folder()
        self._cursor = cursor

    def _delete_done(self) -> None:
        """Segments before the cursor; the last one too where all of it is read and done with."""
        while self._segments:
            stop = self._segments[1].first if len(self._segments) > 1 else self.end
            if stop > self._cursor.next:
                return
            if len(self._segments) == 1:
                self.close()
                self._unsynced = False
            self._segments[0].path.unlink(missing_ok=True)
            del self._segments[0]

    def _sync_folder(self) -> None:
        if self._fsync:
            sync_folder(self.folder)
