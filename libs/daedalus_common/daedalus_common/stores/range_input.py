"""A seekable binary file over anything that can give the bytes from one position to another."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ReadRange = Callable[[int, int], bytes | memoryview]
"""From a first position up to, not including, a second one: all of these bytes."""


def open_range_input(read_range: ReadRange, size_bytes: int, buffer_bytes: int) -> io.BufferedReader:
    """A file of `size_bytes` that reads at least `buffer_bytes` at a time, where there are as many."""
    return io.BufferedReader(_RangeInput(read_range, size_bytes), buffer_bytes)


class _RangeInput(io.RawIOBase):
    def __init__(self, read_range: ReadRange, size_bytes: int) -> None:
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}, before the beginning")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        stop = min(self._position + len(target), self._size_bytes)
        if stop <= self._position:
            return 0
        found = self._read_range(self._position, stop)
        target[: len(found)] = found
        self._position += len(found)
        return len(found)
