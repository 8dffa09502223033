"""Where the features of a market start from: the parameters that were recorded, or the configuration's."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.etl.problems import UsageError
from daedalus.etl.segments import open_segment, read_group
from daedalus.etl.task import Origin
from daedalus_common.events import CONTROL
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectStore
from daedalus_features import FeatureConfig

CONFIGURED = "etl-"
"""How the ids of geneses begin that no one has recorded."""

_READERS = 8
_AT_ONCE = 64
_COLUMNS = ("kind", "genesis_id", "params")


def configured_origin(params: FeatureConfig) -> Origin:
    """A start with the configuration's parameters."""
    return Origin(f"{CONFIGURED}{params.hash}", params.to_json())


class Geneses:
    """Looks for the geneses that were recorded, in the segments of control events alone.

    Raises UsageError where a damaged segment may have held the one that counts.
    """

    def __init__(self, store: ObjectStore, catalog: BronzeCatalog) -> None:
        self._store = store
        self._catalog = catalog

    def last_before(self, market: Market, day: date) -> Origin | None:
        """The latest one recorded before a day; reads backward from there."""
        for keys in self._backward(market, day):
            for genesis in self._read(keys[::-1]):
                if isinstance(genesis, BadSegment):
                    raise _unknown(market, genesis)
                if genesis is not None:
                    return genesis
        return None

    def any_from(self, market: Market, day: date | None) -> bool:
        """Whether one was recorded on that day or later."""
        damaged: BadSegment | None = None
        for partition in self._catalog.hours(market, FilterSpec(begin=day)):
            for genesis in self._read([info.key for info in partition.segments.get(CONTROL, ())]):
                if isinstance(genesis, Origin):
                    return True
                damaged = damaged or genesis
        if damaged is not None:
            raise _unknown(market, damaged)
        return False

    def _backward(self, market: Market, day: date) -> Iterator[list[str]]:
        """The control segments of one day after the other, the latest day first."""
        for each in reversed(self._catalog.days(market, CONTROL, FilterSpec(end=_day_before(day)))):
            hours = self._catalog.hours(market, FilterSpec(begin=each, end=each))
            yield [info.key for partition in hours for info in partition.segments.get(CONTROL, ())]

    def _read(self, keys: Sequence[str]) -> Iterator[Origin | BadSegment | None]:
        with ThreadPoolExecutor(_READERS) as pool:
            for begin in range(0, len(keys), _AT_ONCE):
                yield from pool.map(self._last_genesis, keys[begin : begin + _AT_ONCE])

    def _last_genesis(self, key: str) -> Origin | BadSegment | None:
        """Of one segment."""
        with self._store.open_input(key) as file:
            opened = open_segment(key, file)
            if isinstance(opened, BadSegment):
                return opened
            lacking = set(_COLUMNS) - set(opened.schema_arrow.names)
            if lacking:
                return BadSegment(key, f"{key}: it has no column {min(lacking)}")
            for group in reversed(range(opened.num_row_groups)):
                rows = read_group(key, opened, group, _COLUMNS)
                if isinstance(rows, BadSegment):
                    return rows
                for row in reversed(rows.to_pylist()):
                    if row["kind"] == "genesis" and row["params"] is not None:
                        return Origin(row["genesis_id"] or "", row["params"])
        return None


def _unknown(market: Market, damaged: BadSegment) -> UsageError:
    return UsageError(
        f"{market.name}: {damaged.reason}; it may have held the parameters that live computed with. Put it right, or "
        "give --parameters config to compute with the configuration's"
    )


def _day_before(day: date) -> date:
    return date.fromordinal(day.toordinal() - 1)
