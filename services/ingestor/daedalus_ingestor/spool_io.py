"""What the spool does with files: all of it blocks, and raises OSError unless it says otherwise."""

import os
from pathlib import Path
from typing import Final

import structlog

from daedalus_ingestor.spool_records import Flaw, Record, record_at, record_bytes

log = structlog.get_logger(__name__)

_PROBE_BYTES: Final = 64 * 1024
"""A full disk may still have a place for a few bytes."""


def records_in(data: bytes, position: int, stop: int, count: int, size_bytes: int) -> tuple[list[Record], int, Flaw]:
    """The records in `data` from `position` on, the offset after them, and what stopped it (END: the limits)."""
    records: list[Record] = []
    offset = total = 0
    while len(records) < count and total < size_bytes and position < stop:
        record = record_at(data, offset)
        if isinstance(record, Flaw):
            return records, offset, record
        if record.position != position:
            return records, offset, Flaw.DAMAGED
        records.append(record)
        total += len(record.payload)
        offset += record_bytes(record.payload)
        position += 1
    return records, offset, Flaw.END


def probe(folder: Path) -> None:
    """Raises OSError where nothing can be written."""
    path = folder / f".probe-{os.getpid()}"
    try:
        path.write_bytes(b"\0" * _PROBE_BYTES)
    finally:
        path.unlink(missing_ok=True)


def read_at(path: Path, offset: int, size_bytes: int) -> bytes:
    """Up to so many bytes of a file."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(size_bytes)


def write_all(file: int, data: bytes, offset: int) -> None:
    """All of `data` at this place, or OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def cut_to(file: int, size_bytes: int) -> None:
    """Ends a file there, if the disk lets it."""
    try:
        os.ftruncate(file, size_bytes)
    except OSError as error:
        log.warning("spool: half a record stays at the end of a segment", error=str(error))


def sync_folder(folder: Path) -> None:
    """Makes what was created or deleted in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
