"""Rows on their way into one object, with the keys that identify them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daedalus_common.parquet.arrays import memory, numbers, one_array
from daedalus_common.tables import Table

Keys = NDArray[np.int64]
"""Shape (rows, 3): stream_ms, stream_seq, seq."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of one table in stream order; `schema` is the hex id of a Silver or Gold schema, else empty."""

    table: Table
    arrow: pa.Table
    keys: Keys
    schema: str = ""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def timestamp(self) -> NDArray[np.int64]:
        """Nanoseconds, of Silver and Gold rows, (n,)."""
        timestamp: NDArray[np.int64] = memory(one_array(self.arrow["timestamp"]), np.int64)
        return timestamp


def split(rows: StoredRows, by: NDArray[np.int64]) -> dict[int, StoredRows]:
    """Rows by the value that `by` has for each; nearly always there is only one."""
    values = np.unique(by).tolist()
    if len(values) == 1:
        return {values[0]: rows}
    members = {value: np.flatnonzero(by == value) for value in values}
    return {
        value: StoredRows(rows.table, rows.arrow.take(numbers(where, pa.int64())), rows.keys[where], rows.schema)
        for value, where in members.items()
    }
