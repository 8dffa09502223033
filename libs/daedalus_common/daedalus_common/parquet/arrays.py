"""Arrow arrays over NumPy's memory, and back.

`pyarrow.array` and `to_numpy` would import pandas at their first call, wherever that is installed: up to 1.5 s and
50 MB for nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daedalus_common.parquet.arrow_tables import CATEGORY_TYPE, LIST_TYPE

Bools = NDArray[np.bool_]
Float64s = NDArray[np.float64]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]


def numbers(values: Int32s | Int64s | Float64s, kind: pa.DataType, absent: Bools | None = None) -> pa.Array:
    """`values` as an array of `kind`, which has the same width; null where `absent`."""
    return _from_buffers(kind, len(values), [_validity(absent), pa.py_buffer(np.ascontiguousarray(values))], absent)


def bools(values: Bools, absent: Bools) -> pa.Array:
    """One bit each; null where `absent`."""
    bits = pa.py_buffer(np.packbits(values, bitorder="little"))
    return _from_buffers(pa.bool_(), len(values), [_validity(absent), bits], absent)


def texts(values: Sequence[str | None]) -> pa.Array:
    """UTF-8 strings; None is null."""
    return _variable(pa.string(), [None if value is None else value.encode() for value in values])


def blobs(values: Sequence[bytes | None]) -> pa.Array:
    """Bytes as they are; None is null."""
    return _variable(pa.binary(), values)


def categories(codes: Int32s, labels: Sequence[str], absent: Bools) -> pa.Array:
    """Labels by their codes; null where `absent`."""
    indices = numbers(codes, CATEGORY_TYPE.index_type, absent)
    return pa.DictionaryArray.from_arrays(indices, texts(labels))


def lists(padded: Float64s, lengths: Int64s) -> pa.Array:
    """Row i of `padded`, shape (rows, width), as a list of its first `lengths[i]` numbers."""
    width = padded.shape[1]
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    # Nearly always every list is full.
    cells = padded.ravel() if (lengths == width).all() else padded[np.arange(width) < lengths[:, None]]
    return pa.ListArray.from_arrays(numbers(offsets, pa.int32()), numbers(cells, pa.float64()), type=LIST_TYPE)


def memory(column: pa.Array, kind: type) -> Any:
    """What lies in a column of fixed width, anything where it is null, (n,); `kind` is NumPy's of that width."""
    buffer = column.buffers()[1]
    return np.zeros(0, kind) if buffer is None else np.frombuffer(buffer, kind)[column.offset :][: len(column)]


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A table's column as one array, without a copy where it is one."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _variable(kind: pa.DataType, values: Sequence[bytes | None]) -> pa.Array:
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum([len(value) if value else 0 for value in values], out=offsets[1:])
    absent = np.array([value is None for value in values], dtype=np.bool_)
    content = pa.py_buffer(b"".join([value for value in values if value]))
    return _from_buffers(kind, len(values), [_validity(absent), pa.py_buffer(offsets), content], absent)


def _from_buffers(kind: pa.DataType, length: int, buffers: list[pa.Buffer], absent: Bools | None) -> pa.Array:
    nulls = 0 if absent is None else int(np.count_nonzero(absent))
    return pa.Array.from_buffers(kind, length, buffers, nulls)


def _validity(absent: Bools | None) -> pa.Buffer | None:
    if absent is None or not absent.any():
        return None
    return pa.py_buffer(np.packbits(~absent, bitorder="little"))
