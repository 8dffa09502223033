"""How far a market's Bronze reaches."""

from datetime import datetime

from daedalus.etl.bronze_catalog import TABLES, BronzeCatalog, HourPartition
from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.etl.foreign_parts import times
from daedalus.etl.segments import open_segment
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectStore


def input_end(store: ObjectStore, market: Market, filters: FilterSpec, settled_before: datetime) -> int:
    """ns of the last event in the segments that match; 0 where there is none.

    Segments that are younger do not count: it is not certain that they can be read yet.
    """
    catalog = BronzeCatalog(store)
    days = {day for table in TABLES for day in catalog.days(market, table, filters)}
    for day in sorted(days, reverse=True):
        for partition in reversed(list(catalog.hours(market, FilterSpec(begin=day, end=day)))):
            last = max(_last_ts(store, partition, table, settled_before) for table in partition.segments)
            if last:
                return last
    return 0


def _last_ts(store: ObjectStore, partition: HourPartition, table: str, settled_before: datetime) -> int:
    """Of the last segment of a table that can be read."""
    for info in reversed(partition.segments[table]):
        if info.modified >= settled_before and info.key not in partition.covers:
            continue
        with store.open_input(info.key) as file:
            opened = open_segment(info.key, file)
            found = None if isinstance(opened, BadSegment) else times(opened.metadata, "ts")
        if found is not None:
            return found[1]
    return 0
