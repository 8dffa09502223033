"""What transforms give: tables of named columns, and rows of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from daedalus_features.arrays import FloatArray, IntArray

Dtype = Literal["float64", "int64", "bool", "category"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name is public API. `labels` are the values of a category, in the order of their codes.

    `meaning` is for a column that no feature gives, and that would be in the catalogue without a word.
    """

    name: str
    dtype: Dtype
    unit: str
    labels: tuple[str, ...] = ()
    meaning: str = ""


@dataclass(frozen=True)
class Table:
    """The columns that each row of a table has besides exchange, symbol and timestamp; `layer` is silver or gold."""

    name: str
    layer: Literal["silver", "gold"]
    columns: tuple[Column, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """The place of each column by its name."""
        return {column.name: place for place, column in enumerate(self.columns)}


@dataclass(frozen=True, slots=True)
class Rows:
    """r rows of a table: `timestamp` nanoseconds UTC (r,), `values` (r, columns).

    NaN is null and every other value is finite; int64 and bool are whole numbers, a category the index of its label.
    """

    table: Table
    timestamp: IntArray
    values: FloatArray

    def __len__(self) -> int:
        return len(self.timestamp)

    def column(self, name: str) -> FloatArray:
        """One column of the rows, shape (r,); raises KeyError for a column that the table does not have."""
        return self.values[:, self.table.index[name]]
