"""Parts of Silver and Gold: that each can be read, holds what its footer says, and no row is there twice."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa

from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.etl.segments import open_segment, read_group
from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import memory, one_array
from daedalus_common.parquet.covers import Covers, read_covers
from daedalus_common.stores import ObjectInfo, ObjectMissing, ObjectStore
from daedalus_features.arrays import IntArray

_DATE = re.compile(r"year=(\d+)/month=(\d+)/(?:day=(\d+)/)?")
_KEY = ("timestamp", "seq")


@dataclass(slots=True)
class FeatureCount:
    """Of one market's Silver and Gold."""

    rows: int = 0
    parts: int = 0
    double: int = 0
    problems: list[str] = field(default_factory=list)


def check_parts(store: ObjectStore, market: Market, filters: FilterSpec) -> FeatureCount:
    """Every partition of the days that match, one at a time. Errors of the store propagate."""
    count = FeatureCount()
    for layer in ("silver", "gold"):
        for table in store.folders(f"{layer}/"):
            for folder in _market_folders(store, f"{layer}/{table}/", market):
                partitions: dict[str, list[ObjectInfo]] = defaultdict(list)
                for info in store.list(folder):
                    if info.key.endswith(".parquet") and _matches(info.key, filters):
                        partitions[info.key.rpartition("/")[0]].append(info)
                for name in sorted(partitions):
                    _check_partition(store, name, partitions[name], count)
    return count


def _market_folders(store: ObjectStore, table: str, market: Market) -> Iterator[str]:
    yield f"{table}{market.partition}/"
    for name in store.folders(table):
        if name.startswith("duration="):
            yield f"{table}{name}/{market.partition}/"


def _matches(key: str, filters: FilterSpec) -> bool:
    found = _DATE.search(key)
    if found is None:
        return True
    year, month, day = int(found[1]), int(found[2]), found[3]
    try:
        return filters.matches_month(year, month) if day is None else filters.matches_day(date(year, month, int(day)))
    except ValueError:
        return True


def _check_partition(store: ObjectStore, name: str, infos: list[ObjectInfo], count: FeatureCount) -> None:
    covered: set[str] = set()
    rows: list[tuple[str, IntArray]] = []
    # What a merged part covers it stands for: the covered ones are about to go, and need not be read.
    for info in current(store, infos).objects:
        count.parts += 1
        try:
            found, covers, problem = _read(store, info.key)
        except ObjectMissing:
            continue  # replaced since it was listed
        if covers:  # few do, and looking at every name for each part would take the square of their number
            made = covers.made or info.modified
            covered |= {
                each.key for each in infos if each.key != info.key and each.key in covers and each.modified <= made
            }
        if problem is not None:
            count.problems.append(problem)
        rows.append((info.key, found))
    # A run that replaces parts may have made its own before the day was over; its listing does not tell that it covers.
    current_rows = [(key, found) for key, found in rows if key not in covered and len(found)]
    count.rows += sum(len(found) for _, found in current_rows)
    if len(current_rows) < 1:
        return
    every = np.concatenate([found for _, found in current_rows])
    _, first, times = np.unique(every, axis=0, return_index=True, return_counts=True)
    if (times > 1).any():
        double = int((times - 1).sum())
        count.double += double
        timestamp, seq = every[first[times > 1][0]].tolist()
        row = np.array([timestamp, seq])
        holders = [key for key, found in current_rows if (found == row).all(axis=1).any()]
        count.problems.append(
            f"{name}: {double:,} rows are there more than once, the first of timestamp {timestamp} and seq {seq} in "
            f"{', '.join(holders)}"
        )


def _read(store: ObjectStore, key: str) -> tuple[IntArray, Covers, str | None]:
    """(timestamp and seq of each row, shape (n, 2); the parts it covers; what is wrong with it)."""
    nothing = np.zeros((0, 2), np.int64)
    with store.open_input(key) as file:
        opened = open_segment(key, file)
        if isinstance(opened, BadSegment):
            return nothing, Covers(), opened.reason
        said = opened.metadata.metadata or {}
        covers = _covers(said)
        if set(_KEY) - set(opened.schema_arrow.names):
            return nothing, covers, f"{key}: it has no columns {' and '.join(_KEY)}"
        groups: list[pa.Table] = []
        for number in range(opened.num_row_groups):
            group = read_group(key, opened, number, _KEY)
            if isinstance(group, BadSegment):
                return nothing, covers, group.reason
            groups.append(group)
    if not groups:
        return nothing, covers, None
    together = pa.concat_tables(groups)
    rows = np.stack([memory(one_array(together[name]), np.int64) for name in _KEY], axis=1)
    expected = said.get(b"daedalus.rows", b"?").decode(errors="replace")
    wrong = f"{key}: its footer says {expected} rows, it has {len(rows)}" if expected != str(len(rows)) else None
    return rows, covers, wrong


def _covers(said: Mapping[bytes, bytes]) -> Covers:
    try:
        return read_covers(said)
    except ValueError:
        return Covers()
