"""Declared tables as Arrow schemas, and as the options of a Parquet writer."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from daedalus_common.tables import ColumnType, StoredColumn, Table

LIST_TYPE = pa.list_(pa.field("element", pa.float64(), nullable=False))
CATEGORY_TYPE = pa.dictionary(pa.int32(), pa.string())

_TYPES: dict[ColumnType, pa.DataType] = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "binary": pa.binary(),
    "category": CATEGORY_TYPE,
    "timestamp_ns": pa.timestamp("ns", "UTC"),
    "timestamp_ms": pa.timestamp("ms", "UTC"),
    "float64_list": LIST_TYPE,
}
_DELTA_OF_TYPE: dict[ColumnType, str] = {"string": "DELTA_BYTE_ARRAY"}


@dataclass(frozen=True, slots=True)
class Compression:
    """Parquet codec and level; None where the codec has no levels."""

    codec: str
    level: int | None


@lru_cache(maxsize=256)
def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table."""
    return pa.schema([pa.field(column.name, _TYPES[column.type], column.nullable) for column in table.columns])


def parquet_options(table: Table, compression: Compression) -> dict[str, Any]:
    """Arguments of `pyarrow.parquet.ParquetWriter`."""
    return {
        "compression": compression.codec,
        "compression_level": compression.level,
        "use_dictionary": [_path(column) for column in table.columns if column.encoding == "dictionary"],
        "column_encoding": {
            _path(column): _DELTA_OF_TYPE.get(column.type, "DELTA_BINARY_PACKED")
            for column in table.columns
            if column.encoding == "delta"
        },
        "write_statistics": [_path(column) for column in table.columns if column.statistics],
        # Arrow's own copy of the schema would double the footer of a Silver part (15 KB of 30 KB for 5 rows of 190
        # columns) and tell readers nothing but to make categories of the strings.
        "store_schema": False,
        # A flipped bit inside a page may decode to a wrong number; checking costs nothing that could be measured.
        "write_page_checksum": True,
    }


def _path(column: StoredColumn) -> str:
    """The column's leaf in the Parquet schema."""
    return f"{column.name}.list.element" if column.type == "float64_list" else column.name
