"""The rows of an object, piece by piece, and the hashes that tell whether another object has the same ones."""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daedalus_common.parquet.arrays import memory, one_array
from daedalus_compactor.footers import Unfit

Int64s = NDArray[np.int64]

_PIECE_ROWS = 4096
"""6.5 MB of books of 2 x 50 levels."""
_ENTRY = ("stream_ms", "stream_seq", "seq")
_ROW = ("timestamp", "seq")
_ORDER = ("generation", "stream_ms", "stream_seq")


def open_rows(file: BinaryIO | pa.NativeFile) -> pq.ParquetFile:
    """Raises Unfit for what is no Parquet file, and the errors of the store behind it."""
    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _unfit(error, "its footer is damaged") from error


def pieces(opened: pq.ParquetFile) -> Iterator[pa.Table]:
    """All columns of some rows after the other, decoded on this thread. Raises as `open_rows`."""
    try:
        for batch in opened.iter_batches(_PIECE_ROWS, use_threads=False):
            yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise _unfit(error, "its rows cannot be decoded") from error


class RowsHash:
    """SHA-256 over the numbers that tell rows apart: of events what their key hash is made of, of other rows their
    timestamp and seq; and whether events are in the order of their sequence."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._last: tuple[int, ...] | None = None
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """The next rows. Raises Unfit for a table that is none of ours."""
        names = set(rows.column_names)
        chosen = _ENTRY if names >= set(_ENTRY) else _ROW
        if not names >= set(chosen):
            raise Unfit(f"it has no column {min(set(chosen) - names)}")
        columns = [_numbers(rows, name) for name in chosen]
        self._hash.update(np.stack(columns, axis=1).astype("<i8").tobytes())
        self.rows += len(rows)

    def check_order(self, rows: pa.Table) -> None:
        """Of the next rows of Bronze, whose readers rely on it. Raises Unfit."""
        order = [_numbers(rows, name) for name in _ORDER]
        before = self._last or (-1, -1, -1)
        generation, ms, sub = (np.diff(column, prepend=first) for column, first in zip(order, before, strict=True))
        later = (generation > 0) | ((generation == 0) & ((ms > 0) | ((ms == 0) & (sub > 0))))
        if not later.all():
            raise Unfit("its rows are not in the order of the sequence")
        self._last = tuple(int(column[-1]) for column in order)

    @property
    def digest(self) -> str:
        return self._hash.copy().hexdigest()


def _numbers(rows: pa.Table, name: str) -> Int64s:
    column = one_array(rows[name])
    kind = np.int32 if column.type == pa.int32() else np.int64
    values: Int64s = memory(column, kind).astype(np.int64)
    if column.null_count:
        values = np.where(np.array(column.is_valid().to_pylist(), np.bool_), values, 0)
    return values


def _unfit(error: BaseException, what: str) -> Unfit:
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    return Unfit(f"{what}: {' '.join(str(error).split())}")
