"""Reads the quality tables of a market back: whole, for they are small."""

import re
from collections.abc import Iterator, Sequence
from datetime import date

import pyarrow as pa

from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.etl.segments import open_segment, read_group
from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import arrow_schema
from daedalus_common.stores import ObjectStore
from daedalus_common.tables import QUALITY

_DAY = re.compile(r"/year=(\d+)/month=(\d+)/day=(\d+)/[^/]+\.parquet$")


def has_table(store: ObjectStore, table: str, market: Market) -> bool:
    """Whether the market has any row of it: recordings of before version 2 of the tables have none."""
    return next(store.list(f"quality/{table}/{market.partition}/"), None) is not None


def read_table(
    store: ObjectStore, table: str, market: Market, columns: Sequence[str], filters: FilterSpec
) -> Iterator[pa.Table | BadSegment]:
    """The rows of the days that match, object by object; what cannot be read is told. Raises StoreError."""
    schema = arrow_schema(QUALITY[table])
    for key in _keys(store, table, market, filters):
        with store.open_input(key) as file:
            opened = open_segment(key, file)
            if isinstance(opened, BadSegment):
                yield opened
                continue
            present = set(opened.schema_arrow.names)
            for number in range(opened.num_row_groups):
                rows = read_group(key, opened, number, tuple(name for name in columns if name in present))
                if isinstance(rows, BadSegment):
                    yield rows
                    break
                for name in columns:
                    if name not in present:
                        rows = rows.append_column(name, pa.nulls(len(rows), schema.field(name).type))
                yield rows


def _keys(store: ObjectStore, table: str, market: Market, filters: FilterSpec) -> Iterator[str]:
    """Of the objects that count, in the order of days' names."""
    found = (
        info
        for info in store.list(f"quality/{table}/{market.partition}/")
        if (day := _DAY.search(info.key)) is not None and filters.matches_day(date(*map(int, day.groups())))
    )
    for info in current(store, found).objects:
        yield info.key
