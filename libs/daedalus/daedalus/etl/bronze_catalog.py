"""What lies in Bronze: its markets, and the segments of each by hour. Folders that do not match are never listed."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.etl.segments import read_footer
from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.parquet.covers import Covers
from daedalus_common.plans import hour_at
from daedalus_common.stores import ObjectInfo, ObjectStore
from daedalus_common.tables import BRONZE

TABLES = tuple(BRONZE)
"""orderbook, trades, ticker, control."""

_EVERYTHING = FilterSpec()
_SEGMENT = re.compile(r"hour=(\d{1,2})/segment_\d{8}T\d{2}_(\d+)\.parquet")


@dataclass(frozen=True, slots=True)
class HourPartition:
    """The segments of one market whose events' `ts` lie in one hour, per table in the order of their rows."""

    market: Market
    hour: int
    """Counted from the epoch, as in `plans.hour_at`."""
    segments: Mapping[str, tuple[ObjectInfo, ...]]
    """Those that count, only tables that have some."""
    covers: Mapping[str, Covers] = field(default_factory=dict)
    """What the merged ones among them stand for, by key."""

    @property
    def start(self) -> datetime:
        return hour_at(self.hour)

    @property
    def day(self) -> date:
        return self.start.date()

    @property
    def size_bytes(self) -> int:
        return sum(info.size_bytes for infos in self.segments.values() for info in infos)

    @property
    def covered(self) -> tuple[str, ...]:
        """The keys that merged segments stand for."""
        return tuple(key for covers in self.covers.values() for key, _ in covers.items())

    def keys(self) -> dict[str, tuple[str, ...]]:
        """The keys by table, as `bronze_reader.read_events` takes them."""
        return {table: tuple(info.key for info in infos) for table, infos in self.segments.items()}

    def sizes(self) -> dict[str, int]:
        """Bytes by key."""
        return {info.key: info.size_bytes for infos in self.segments.values() for info in infos}


class BronzeCatalog:
    """Bronze of one source in one store. Errors of the store propagate."""

    def __init__(self, store: ObjectStore, source: str = "ccxt") -> None:
        self._store = store
        self._source = source

    def markets(self, filters: FilterSpec = _EVERYTHING) -> list[Market]:
        """The markets that match and have any segment, sorted; days are not looked at."""
        folders: dict[tuple[str, str], list[str]] = defaultdict(list)
        for table in TABLES:
            for exchange, at in self._values(f"bronze/{self._source}/{table}/", "exchange"):
                if filters.matches_exchange(exchange):
                    for symbol, folder in self._values(at, "symbol"):
                        if filters.matches_symbol(symbol):
                            folders[exchange, symbol].append(folder)
        found = (self._market(exchange, symbol, places) for (exchange, symbol), places in folders.items())
        return sorted(market for market in found if market is not None)

    def hours(
        self, market: Market, filters: FilterSpec = _EVERYTHING, after_hour: int | None = None
    ) -> Iterator[HourPartition]:
        """The hours of the market that match, ascending, of those after `after_hour`. Lists one day at a time."""
        if not filters.matches_market(market):
            return
        if after_hour is not None:
            first = hour_at(after_hour + 1).date()
            if filters.end is not None and filters.end < first:
                return
            filters = replace(filters, begin=first if filters.begin is None else max(first, filters.begin))
        days: dict[date, dict[str, str]] = defaultdict(dict)
        for table in TABLES:
            for day, folder in self._days(market, table, filters):
                days[day][table] = folder
        for day in sorted(days):
            for partition in self._hours_of_day(market, day, days[day]):
                if after_hour is None or partition.hour > after_hour:
                    yield partition

    def days(self, market: Market, table: str, filters: FilterSpec = _EVERYTHING) -> list[date]:
        """The days that match and for which the table has a folder, ascending."""
        return sorted(day for day, _ in self._days(market, table, filters))

    def _market(self, exchange: str, symbol: str, folders: list[str]) -> Market | None:
        """The market as a footer names it; by its folder's name where all its segments are damaged."""
        found = None
        for folder in folders:
            for info in self._store.list(folder):
                if not info.key.endswith(".parquet"):
                    continue
                found = Market(exchange, symbol)
                footer = read_footer(self._store, info.key)
                if not isinstance(footer, BadSegment) and footer.market.partition == found.partition:
                    return footer.market
        return found

    def _days(self, market: Market, table: str, filters: FilterSpec) -> Iterator[tuple[date, str]]:
        """(day, folder) of those that match, in the order of the folders' names, where 10 comes before 2."""
        for year, of_year in self._numbers(f"bronze/{self._source}/{table}/{market.partition}/", "year"):
            if 1 <= year <= 9999 and filters.matches_year(year):
                for month, of_month in self._numbers(of_year, "month"):
                    if 1 <= month <= 12 and filters.matches_month(year, month):
                        for day, of_day in self._numbers(of_month, "day"):
                            found = _date(year, month, day)
                            if found is not None and filters.matches_day(found):
                                yield found, of_day

    def _hours_of_day(self, market: Market, day: date, folders: Mapping[str, str]) -> Iterator[HourPartition]:
        hours: dict[int, dict[str, list[ObjectInfo]]] = defaultdict(lambda: defaultdict(list))
        covers: dict[int, dict[str, Covers]] = defaultdict(dict)
        for table, folder in folders.items():
            named = ((_SEGMENT.fullmatch(info.key.removeprefix(folder)), info) for info in self._store.list(folder))
            found = {info.key: (int(name[1]), info) for name, info in named if name is not None and int(name[1]) < 24}
            counting = current(self._store, (info for _, info in found.values()))
            for info in counting.objects:
                hours[found[info.key][0]][table].append(info)
            for key, of_key in counting.covers.items():
                covers[found[key][0]][key] = of_key
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for hour in sorted(hours):
            segments = {table: tuple(infos) for table, infos in hours[hour].items()}
            number = int((midnight + timedelta(hours=hour)).timestamp()) // 3600
            yield HourPartition(market, number, segments, covers[hour])

    def _numbers(self, folder: str, key: str) -> Iterator[tuple[int, str]]:
        return ((int(value), at) for value, at in self._values(folder, key) if value.isdecimal())

    def _values(self, folder: str, key: str) -> Iterator[tuple[str, str]]:
        """(value, folder) of the partitions `key=value` right below a folder."""
        for name in self._store.folders(folder):
            found, _, value = name.partition("=")
            if found == key and value:
                yield value, f"{folder}{name}/"


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
