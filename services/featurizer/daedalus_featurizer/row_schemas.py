"""The features' tables as row schemas: what the streams carry and the writer stores."""

from functools import cache

from daedalus_common.rows import Column, RowSchema
from daedalus_features import Column as FeatureColumn
from daedalus_features import FeatureConfig, Table, tables


def row_schema(table: Table) -> RowSchema:
    """The schema of one table's rows."""
    return _row_schema(table.layer, table.name, table.columns)


def row_schemas(params: FeatureConfig) -> tuple[RowSchema, ...]:
    """The schemas of every table that these parameters give."""
    return tuple(row_schema(table) for table in tables(params))


@cache
def _row_schema(layer: str, name: str, columns: tuple[FeatureColumn, ...]) -> RowSchema:
    return RowSchema(layer, name, tuple(Column(c.name, c.dtype, c.unit, c.labels) for c in columns))
