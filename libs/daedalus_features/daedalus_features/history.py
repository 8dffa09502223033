"""The ring of recent rows: what windows over rows look back on, one fixed-width record per row."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from daedalus_features.arrays import NANOSECONDS, FloatArray, IntArray
from daedalus_features.errors import SchemaError

WINDOW_COLUMNS = ("log_return", "mid_change", "tfi", "volume", "spread", "relative_spread", "ofi")
"""What windows need of a row. log_return and mid_change are to the previous row, NaN across a gap."""

HISTORY_COLUMNS = ("seconds", "nanoseconds", *WINDOW_COLUMNS)
"""The columns of a record. A timestamp takes two, since a float64 holds nanoseconds exactly for 104 days only."""


@dataclass(frozen=True)
class History:
    """h rows, oldest first: `timestamp` (h,) nanoseconds, `columns` (len(WINDOW_COLUMNS), h)."""

    timestamp: IntArray
    columns: FloatArray

    def __len__(self) -> int:
        return len(self.timestamp)

    def extended(self, timestamp: IntArray, columns: FloatArray) -> "History":
        """This history and newer rows after it."""
        return History(np.concatenate((self.timestamp, timestamp)), np.concatenate((self.columns, columns), axis=1))

    def newest(self, limit: int) -> "History":
        """The last `limit` rows at most; many rows that are left out are let go of."""
        if len(self) <= limit:
            return self
        timestamp, columns = self.timestamp[-limit:], self.columns[:, -limit:]
        if len(self) > 2 * limit:
            timestamp, columns = timestamp.copy(), columns.copy()
        return History(timestamp, columns)

    @cached_property
    def records(self) -> FloatArray:
        """One record per row, shape (h, len(HISTORY_COLUMNS))."""
        records = np.empty((len(self), len(HISTORY_COLUMNS)))
        records[:, 0], records[:, 1] = np.divmod(self.timestamp, NANOSECONDS)
        records[:, 2:] = self.columns.T
        return records

    @staticmethod
    def of_records(records: FloatArray) -> "History":
        """The history that the records spell; raises SchemaError for any other shape."""
        if records.ndim != 2 or records.shape[1] != len(HISTORY_COLUMNS):
            raise SchemaError(f"history of shape {records.shape}: a record has {len(HISTORY_COLUMNS)} numbers")
        seconds, nanoseconds = records[:, 0].astype(np.int64), records[:, 1].astype(np.int64)
        return History(seconds * NANOSECONDS + nanoseconds, np.ascontiguousarray(records[:, 2:].T))

    @staticmethod
    def empty() -> "History":
        """No rows."""
        return History(np.zeros(0, np.int64), np.zeros((len(WINDOW_COLUMNS), 0)))
