"""Encoding of one Silver or Gold row as a single stream field.

    schema id(8) | timestamp ns(8) | null bitmap, one bit a column, 1 = value present | the present float64s

A live consumer, such as a trading bot, reads the `silver` stream and decodes rows with the schema of that id, which
the market keeps in its `schemas` hash. Every column fits a float64: counts, flags and labels are small whole numbers.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]

_PREFIX = 16


class Column(msgspec.Struct, frozen=True):
    """A column of a Silver or Gold table; `labels` are the values of a category, in code order."""

    name: str
    dtype: Literal["float64", "int64", "bool", "category"] = "float64"
    unit: str = "1"
    labels: tuple[str, ...] = ()


class RowSchema(msgspec.Struct, frozen=True):
    """Where rows go and what their columns are. `layer` is `silver` or `gold`; `table` is such as `orderbook`."""

    layer: str
    table: str
    columns: tuple[Column, ...]

    @property
    def id(self) -> bytes:
        """8 bytes that change with any column's name, type, unit or place."""
        return blake2b(msgspec.json.encode(self), digest_size=8).digest()


class UnknownSchema(ValueError):
    """A row whose schema nobody has declared: refused, never guessed."""


def pack_rows(schema: RowSchema, timestamp: NDArray[np.int64], values: Float64s) -> list[bytes]:
    """One payload per row; `values` has shape (rows, columns), NaN is null."""
    if values.shape != (len(timestamp), len(schema.columns)):
        raise ValueError(f"{schema.table}: values of shape {values.shape} for {len(schema.columns)} columns")
    present = ~np.isnan(values)
    bitmaps = np.packbits(present, axis=1, bitorder="little")
    id_ = schema.id
    return [
        id_ + int(timestamp[i]).to_bytes(8, "little") + bitmaps[i].tobytes() + values[i, present[i]].tobytes()
        for i in range(len(timestamp))
    ]


def schema_id(payload: bytes) -> bytes:
    """The schema id of a packed row; raises ValueError when the payload is too short to be one."""
    if len(payload) < _PREFIX:
        raise ValueError(f"row of {len(payload)} bytes")
    return bytes(payload[:8])


def unpack_rows(schema: RowSchema, payloads: Sequence[bytes]) -> tuple[NDArray[np.int64], Float64s]:
    """(timestamp (n,), values (n, columns) with NaN for null) of rows of one schema.

    Raises UnknownSchema or ValueError for a payload that is not a row of this schema.
    """
    width = len(schema.columns)
    start = _PREFIX + (width + 7) // 8
    timestamp = np.empty(len(payloads), dtype=np.int64)
    values = np.full((len(payloads), width), np.nan)
    expected = schema.id
    for i, payload in enumerate(payloads):
        if len(payload) < start:
            raise ValueError(f"row of {len(payload)} bytes is shorter than its bitmap")
        if schema_id(payload) != expected:
            raise UnknownSchema(f"row of schema {payload[:8].hex()}, expected {expected.hex()}")
        timestamp[i] = int.from_bytes(payload[8:16], "little")
        bits = np.unpackbits(np.frombuffer(payload, np.uint8, start - _PREFIX, _PREFIX), bitorder="little")
        present = bits[:width].astype(np.bool_)
        if len(payload) != start + 8 * int(present.sum()):
            raise ValueError(f"row of {len(payload)} bytes does not have the length its bitmap says")
        values[i, present] = np.frombuffer(payload, "<f8", -1, start)
    return timestamp, values
