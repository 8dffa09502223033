"""Files of NDJSON, plain or gzip, as numbered lines."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from daedalus.etl.problems import UsageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SUFFIXES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
LINE_LIMIT_BYTES = 16 * 1024 * 1024
"""A book of 50 levels takes 2 KB; what is longer than this is no event and shall not fill the memory."""

HEAD_BYTES = 64 * 1024
"""So much of a file's beginning tells it from others: some thirty books, which hold times and prices."""

_BUFFER_BYTES = 1024 * 1024


class LineFile(msgspec.Struct, frozen=True, order=True):
    """A file as far as it was read, or is to be read: so many (uncompressed) bytes, and how they begin."""

    path: str
    size: int
    head: str
    """SHA-256 of the first HEAD_BYTES of them."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `number` counts from 1, `end` is the offset behind it in (uncompressed) bytes."""

    number: int
    end: int
    content: bytes
    fault: str | None = None
    """Why it has no content: the line is too long, or the rest of the file cannot be read."""


def input_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Files as they are given; of a folder all files in it and below that have one of SUFFIXES, by their paths.

    Raises UsageError for what is not there, a file of another kind or a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(_files_in(path))
            if not inside:
                raise UsageError(f"{path}: the folder holds no file named {allowed_names()}")
            found += inside
        elif not path.exists():
            raise UsageError(f"{path}: there is no such file or folder")
        elif not path.name.endswith(SUFFIXES):
            raise UsageError(f"{path}: event files are named {allowed_names()}; rename it if it is one")
        else:
            found.append(path)
    return tuple(found)


def holds_files(folder: Path) -> bool:
    """Whether `input_files` would find any in it."""
    return next(_files_in(folder), None) is not None


def head_of(path: Path, size: int) -> str:
    """The hash of a file's beginning, of its first `size` bytes at most: `LineFile.head`. Raises OSError."""
    source, file = _opened(path, 0)
    with source, file:
        return hashlib.sha256(file.read(min(size, HEAD_BYTES))).hexdigest()


def read_lines(path: Path, offset: int = 0, number: int = 0, end: int | None = None) -> Iterator[Line]:
    """The lines behind an offset, before which there are `number` lines. Raises OSError where the disk fails.

    With `end` the file is read as if it ended at that offset: what has been appended since then does not count.
    """
    source, file = _opened(path, offset)
    with source, file:
        while content := file.readline(
            LINE_LIMIT_BYTES if end is None else max(0, min(LINE_LIMIT_BYTES, end - offset))
        ):
            ended = content.endswith(b"\n")
            if isinstance(source, _Inflated) and source.fault and not ended:
                break
            number += 1
            offset += len(content)
            if len(content) == LINE_LIMIT_BYTES and not ended:
                offset += _skip_line(file)
                yield Line(number, offset, b"", f"the line is longer than {LINE_LIMIT_BYTES >> 20} MiB")
            else:
                yield Line(number, offset, content)
        if isinstance(source, _Inflated) and source.fault:
            yield Line(number + 1, offset, b"", f"the rest of the file cannot be read: {source.fault}")


def _files_in(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.name.endswith(SUFFIXES) and file.is_file())


def _opened(path: Path, offset: int) -> "tuple[_Inflated | io.FileIO, io.BufferedReader]":
    """The file behind an offset, and what it reads from."""
    if path.suffix == ".gz":
        inflated = _Inflated(path, offset)
        return inflated, io.BufferedReader(inflated, _BUFFER_BYTES)
    plain = path.open("rb", buffering=0)
    plain.seek(offset)
    return plain, io.BufferedReader(plain, _BUFFER_BYTES)


class _Inflated(io.RawIOBase):
    """The content of a gzip file, which ends where the file is damaged: `fault` then says how.

    (A reader above `GzipFile` itself would lose up to its buffer's size of what comes before the damage.)
    """

    def __init__(self, path: Path, offset: int) -> None:
        self._file = gzip.GzipFile(path)
        self._offset = offset
        self.fault: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        try:
            if self._offset:
                self._file.seek(self._offset)
                self._offset = 0
            found = b"" if self.fault else self._file.read1(len(target))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.fault, found = str(error), b""
        target[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self._file.close()
        super().close()


def _skip_line(file: BinaryIO) -> int:
    """Reads up to the end of the line; returns how many bytes that were."""
    skipped = 0
    while rest := file.readline(LINE_LIMIT_BYTES):
        skipped += len(rest)
        if rest.endswith(b"\n"):
            break
    return skipped


def allowed_names() -> str:
    """What event files may be named, for people."""
    return ", ".join(f"*{suffix}" for suffix in SUFFIXES)
