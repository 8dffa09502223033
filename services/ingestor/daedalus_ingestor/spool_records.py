"""The bytes of the spool: records, segment headers, the cursor. Nothing here touches a file.

    segment = header, record, record, ...        record = 44 bytes of header, payload
    cursor  = two slots, written in turn: a torn write leaves the other one

A record knows its `position` (contiguous in a market's spool) and under which (epoch, number) it is going to be
published: that is what tells, after a crash, which records the stream already has.
"""

import struct
from enum import Enum
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

_MAGIC: Final = b"\xd5REC"
_RECORD: Final = struct.Struct("<4sIIQQQq")
"""Magic, crc32 of all that follows it, payload length, position, epoch, number, capture_ts."""
_CHECKED_FROM: Final = 8
HEADER_BYTES: Final = _RECORD.size
MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
"""A length beyond it is damage, not a record to be waited for."""

_SEGMENT_MAGIC: Final = b"DAESPL01"
_SEGMENT: Final = struct.Struct("<8sIQH")
_SLOT: Final = struct.Struct("<IQQQQQQ")
SLOT_BYTES: Final = 64


class Record(NamedTuple):
    position: int
    epoch: int
    number: int
    capture_ts: int
    payload: bytes


class Flaw(Enum):
    """What stands where a record should: the end of the data, the beginning of a record, or something else."""

    END = "end"
    CUT = "cut"
    DAMAGED = "damaged"


class Anchor(msgspec.Struct, frozen=True):
    """Records at `start` <= position < `stop` are published under `epoch`, the first of them as `number`."""

    start: int
    stop: int
    epoch: int
    number: int

    def covers(self, position: int) -> bool:
        return self.start <= position < self.stop


class Cursor(msgspec.Struct, frozen=True):
    """Everything before position `next` is in the stream; `turn` grows with each write of the cursor."""

    turn: int
    next: int
    anchor: Anchor


BEGINNING: Final = Cursor(0, 0, Anchor(0, 0, 0, 0))


def encode_record(record: Record) -> bytes:
    head = _RECORD.pack(_MAGIC, 0, len(record.payload), record.position, record.epoch, record.number, record.capture_ts)
    checksum = crc32(record.payload, crc32(head[_CHECKED_FROM:]))
    return b"".join((_MAGIC, checksum.to_bytes(4, "little"), head[_CHECKED_FROM:], record.payload))


def record_bytes(payload: bytes) -> int:
    """What the record of this payload takes on disk."""
    return HEADER_BYTES + len(payload)


def record_at(data: bytes, offset: int) -> Record | Flaw:
    """The record that begins at `offset`; CUT: `data` ends inside it, which more data may mend."""
    left = len(data) - offset
    if left == 0:
        return Flaw.END
    if left < HEADER_BYTES:
        return Flaw.CUT if _MAGIC.startswith(data[offset : offset + 4][:left]) else Flaw.DAMAGED
    magic, checksum, length, position, epoch, number, capture_ts = _RECORD.unpack_from(data, offset)
    if magic != _MAGIC or length > MAX_PAYLOAD_BYTES:
        return Flaw.DAMAGED
    end = offset + HEADER_BYTES + length
    if end > len(data):
        return Flaw.CUT
    payload = data[offset + HEADER_BYTES : end]
    if crc32(payload, crc32(data[offset + _CHECKED_FROM : offset + HEADER_BYTES])) != checksum:
        return Flaw.DAMAGED
    return Record(position, epoch, number, capture_ts, payload)


def last_record_after(data: bytes, offset: int) -> Record | None:
    """The last sound record that begins behind `offset`, wherever; None: there is none, so this was the tail."""
    found = None
    place = data.find(_MAGIC, offset + 1)
    while place >= 0:
        record = record_at(data, place)
        if isinstance(record, Record):
            found = record
            place += record_bytes(record.payload) - 1
        place = data.find(_MAGIC, place + 1)
    return found


def encode_segment_header(market: str, first: int) -> bytes:
    """`first` is the position of the segment's first record."""
    name = market.encode()
    checksum = crc32(name, crc32(first.to_bytes(8, "little")))
    return _SEGMENT.pack(_SEGMENT_MAGIC, checksum, first, len(name)) + name


def is_segment_header(data: bytes, market: str, first: int) -> bool:
    return data.startswith(encode_segment_header(market, first))


def encode_cursor(cursor: Cursor) -> bytes:
    """One slot, to be written at `cursor.turn % 2 * SLOT_BYTES`."""
    anchor = cursor.anchor
    values = (cursor.turn, cursor.next, anchor.start, anchor.stop, anchor.epoch, anchor.number)
    body = _SLOT.pack(0, *values)[4:]
    return (crc32(body).to_bytes(4, "little") + body).ljust(SLOT_BYTES, b"\0")


def decode_cursor(data: bytes) -> Cursor | None:
    """The newer of the two slots that are sound; None: neither is."""
    found = (_slot(data[start : start + SLOT_BYTES]) for start in (0, SLOT_BYTES))
    return max((cursor for cursor in found if cursor is not None), key=lambda cursor: cursor.turn, default=None)


def _slot(data: bytes) -> Cursor | None:
    if len(data) < SLOT_BYTES or crc32(data[4 : _SLOT.size]) != int.from_bytes(data[:4], "little"):
        return None
    _, turn, following, start, stop, epoch, number = _SLOT.unpack_from(data)
    return Cursor(turn, following, Anchor(start, stop, epoch, number)) if turn else None


def published_as(record: Record, anchor: Anchor) -> tuple[int, int]:
    """(epoch, number) of the record in the stream, now or once it gets there."""
    if anchor.covers(record.position):
        return anchor.epoch, anchor.number + record.position - anchor.start
    return record.epoch, record.number


def lost_between(earlier: Record, later: Record, anchor: Anchor) -> int:
    """Events that stood between two neighbours in the sequence but never in the spool, and died with their process.

    Inside and outside of the anchor the records' own numbers tell; across its end those they are published under.
    """
    if earlier.epoch == later.epoch and anchor.covers(earlier.position) == anchor.covers(later.position):
        return max(0, later.number - earlier.number - 1)
    (epoch, number), (later_epoch, later_number) = published_as(earlier, anchor), published_as(later, anchor)
    return max(0, later_number - number - 1) if epoch == later_epoch else 0
