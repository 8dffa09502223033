"""Rows of the Silver and Gold tables as Arrow tables, and the places they go to."""

import numpy as np
import pyarrow as pa
from msgspec.structs import replace
from numpy.typing import NDArray

from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import bools, categories, memory, numbers, one_array
from daedalus_common.parquet.arrow_tables import arrow_schema
from daedalus_common.parquet.stored_rows import Keys, StoredRows, split
from daedalus_common.plans import Destination, gold_destination, hour_at, silver_destination
from daedalus_common.rows import Column, RowSchema
from daedalus_common.tables import BAR_DURATION, rows_table

Bools = NDArray[np.bool_]
Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]

_GOLD = "gold"
_LARGEST_WHOLE = 2.0**53


def stored_table(schema: RowSchema, timestamp: Int64s, values: Float64s, keys: Keys) -> StoredRows:
    """Rows of one schema: `timestamp` (n,) ns, `values` (n, columns) with NaN for null, `keys` (n, 3)."""
    table = rows_table(schema)
    columns = [numbers(timestamp, pa.timestamp("ns", "UTC")), numbers(keys[:, 2], pa.int64())]
    columns += [_column(column, values[:, i]) for i, column in enumerate(schema.columns)]
    return StoredRows(table, pa.Table.from_arrays(columns, schema=arrow_schema(table)), keys, schema.id.hex())


def by_duration(schema: RowSchema, rows: StoredRows) -> dict[int, StoredRows]:
    """Rows by bar duration in seconds; 0 stands for rows that are no time bars."""
    if schema.layer != _GOLD or BAR_DURATION not in rows.arrow.column_names:
        return {0: rows}
    return split(rows, memory(one_array(rows.arrow[BAR_DURATION]), np.int64))


def row_destination(market: Market, schema: RowSchema, duration: int, hour: int) -> Destination:
    """Where rows of one bar duration (0: no time bars) go whose timestamp lies in an hour, counted from the epoch."""
    if schema.layer == _GOLD:
        place = gold_destination(schema.table, duration or None, market, hour_at(hour))
    else:
        place = silver_destination(schema.table, market, hour_at(hour))
    return replace(place, schema=schema.id.hex())


def wrong_values(schema: RowSchema, values: Float64s) -> Bools:
    """Rows with a value that its column cannot hold: such a row is of a faulty producer."""
    wrong: Bools = np.zeros(len(values), dtype=np.bool_)
    for i, column in enumerate(schema.columns):
        cells = values[:, i]
        low, high = _range(column)
        if column.dtype != "float64":
            # NaN is null and passes: it compares as false.
            wrong |= (cells < low) | (cells > high) | (np.floor(cells) < cells)
        if column.name == BAR_DURATION:
            wrong |= ~(cells >= 1)
    return wrong


def _range(column: Column) -> tuple[float, float]:
    if column.dtype == "bool":
        return 0.0, 1.0
    if column.dtype == "category":
        return 0.0, len(column.labels) - 1.0
    return -_LARGEST_WHOLE, _LARGEST_WHOLE


def _column(column: Column, cells: Float64s) -> pa.Array:
    absent = np.isnan(cells)
    if column.dtype == "float64":
        return numbers(cells, pa.float64(), absent)
    whole = np.where(absent, 0.0, cells).astype(np.int64)
    if column.dtype == "int64":
        return numbers(whole, pa.int64(), absent)
    if column.dtype == "bool":
        return bools(whole.astype(np.bool_), absent)
    return categories(whole.astype(np.int32), column.labels, absent)
