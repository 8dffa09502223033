"""Files of NDJSON, plain or gzip, as numbered lines."""

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SUFFIXES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
LINE_LIMIT_BYTES = 16 * 1024 * 1024
"""A book of 50 levels takes 2 KB; what is longer than this is no event and shall not fill the memory."""

_BUFFER_BYTES = 1024 * 1024


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

    Raises FileNotFoundError, and ValueError for a file of another kind or a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES) and file.is_file())
            if not inside:
                raise ValueError(f"{path}: the folder holds no file named {_allowed()}")
            found += inside
        elif not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file")
        elif not path.name.endswith(SUFFIXES):
            raise ValueError(f"{path}: event files are named {_allowed()}")
        else:
            found.append(path)
    return tuple(found)


def read_lines(path: Path, offset: int = 0, number: int = 0) -> Iterator[Line]:
    """The lines behind an offset, before which there are `number` lines. Raises OSError where the disk fails."""
    source = _Inflated(path, offset) if path.suffix == ".gz" else path.open("rb", buffering=0)
    with source, io.BufferedReader(source, _BUFFER_BYTES) as file:
        if isinstance(source, io.FileIO):
            file.seek(offset)
        while content := file.readline(LINE_LIMIT_BYTES):
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


def _allowed() -> str:
    return ", ".join(f"*{suffix}" for suffix in SUFFIXES)
