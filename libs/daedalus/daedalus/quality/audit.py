"""The audit of one store's markets: hour by hour, so that memory holds an hour of one market.

Redis first, then the listings (see `waiting.py`). Which objects count is said in one place, `daedalus_common.lake`: all
but those that a merged one covers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow.parquet as pq

from daedalus.etl.bronze_catalog import TABLES, BronzeCatalog
from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.etl.segments import open_segment
from daedalus.quality.coverage import Coverage
from daedalus.quality.feature_parts import check_parts
from daedalus.quality.gap_rows import check_gap_rows
from daedalus.quality.hours import HourRows, read_hour
from daedalus.quality.ledger import Counts, Ledger, Waiting
from daedalus.quality.names import missing_names
from daedalus.quality.quality_tables import read_table
from daedalus.quality.report import ChannelCoverage, DayAudit, MarketAudit
from daedalus_common.gap_tracking import StreamPlace
from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import one_array
from daedalus_common.stores import ObjectMissing, ObjectStore
from daedalus_features.arrays import IntArray

_DAY = timedelta(days=1)
SETTLED_AFTER = timedelta(minutes=5)
"""Where Redis was not asked: a run may be half stored for so long, and what lacks may be on its way."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Bronze and quality; Silver and Gold, which may be the same."""

    bronze: ObjectStore
    features: ObjectStore


@dataclass(slots=True)
class _Rejected:
    """Dead letters of the raw stream: the numbers of those that have one, by generation; and the others."""

    numbers: Mapping[int, IntArray]
    strangers: int
    problems: list[str]


class _Young:
    """The first row that is so young that others of before it may still come."""

    def __init__(self, settled_ns: int) -> None:
        self._settled_ns = settled_ns
        self._first: tuple[int, int] | None = None

    def add(self, rows: HourRows) -> None:
        at = np.flatnonzero(rows.ts >= self._settled_ns)
        if self._first is None and len(at):
            self._first = int(rows.generation[at[0]]), int(rows.seq[at[0]])

    def waiting(self, ledger: Ledger) -> Waiting | None:
        if self._first is None:
            return None
        return Waiting((self._first[0], ledger.newest(self._first[0])), self._first)


def audit_market(
    stores: Stores,
    market: Market,
    filters: FilterSpec,
    waiting: Waiting | None,
    now: datetime,
    pool: Executor,
    tick: Callable[[str], None] = lambda _: None,
) -> MarketAudit:
    """One market's days that match. `waiting` is None where Redis was not asked, or where the range ends before now.

    Errors of the store propagate; whatever an object's content is becomes a problem that names it.
    """
    filters = replace(filters, exchange=market.exchange, symbol=market.symbol)
    found = MarketAudit(market, redis_asked=waiting is not None)
    rejected = _rejected(stores.bronze, market, filters)
    ledger, coverage = Ledger(market.name, rejected.numbers), Coverage()
    unnamed: list[str] = []
    gaps: dict[StreamPlace, int] = {}
    young = _Young(int((now - SETTLED_AFTER).timestamp()) * 1_000_000_000)
    for partition in BronzeCatalog(stores.bronze).hours(market, filters):
        tick(f"{market.name} {partition.start:%Y-%m-%dT%H}")
        rows = read_hour(stores.bronze, partition, pool)
        found.objects += rows.objects
        found.problems += rows.problems
        ledger.add(partition.hour, rows)
        coverage.add(partition.hour, rows)
        unnamed += missing_names((*partition.sizes(), *partition.covered))
        gaps |= {gap.place: gap.seq for gap in rows.gaps}
        young.add(rows)
    undecided = young.waiting(ledger) if waiting is None else None
    ledger.close(waiting or undecided)
    coverage.close()
    found.problems += [*ledger.problems, *rejected.problems]
    _miss_names(stores.bronze, unnamed, found)
    found.published, found.strangers = ledger.published, rejected.strangers
    found.days = list(_days(ledger, coverage))
    _check_sum(found)
    if undecided is not None and found.total("waiting"):
        found.notes.append(
            f"{market.name}: {found.total('waiting'):,} numbers of the last {SETTLED_AFTER.seconds // 60} minutes are "
            "not stored; Redis, where they may wait, was not asked"
        )
    if not found.objects:
        found.notes.append(f"{market.name}: nothing is recorded in the time asked for")
        if waiting is not None and filters.begin is None and waiting.passed and not rejected.numbers:
            found.problems.append(
                f"{market.name}: Redis has given {waiting.newest[1]:,} numbers, of which {waiting.passed:,} at least "
                "should be stored, and no segment is there"
            )
    tick(f"{market.name} late and features")
    _count_late(stores.bronze, market, filters, found)
    _count_features(stores.features, market, filters, found)
    _compare_gaps(stores.bronze, filters, gaps, ledger, waiting or undecided, found)
    return found


def _days(ledger: Ledger, coverage: Coverage) -> Iterator[DayAudit]:
    for day in sorted(coverage.recorded):
        first, last = coverage.recorded[day]
        channels = [
            ChannelCoverage(channel, coverage.share(day, channel), coverage.gap_seconds(day, channel))
            for channel in coverage.channels()
        ]
        yield DayAudit(day, first, last, ledger.days.get(day, Counts()), coverage.gap_counts[day], channels)


def _miss_names(store: ObjectStore, names: Sequence[str], found: MarketAudit) -> None:
    """Where a recording or a generation begins, its first numbers are unknown: only the names tell what was before."""
    for name in names:
        if not any(name in problem for problem in found.problems) and not _is_there(store, name):
            found.problems.append(f"{name} is missing: those before and behind it are numbered as if it had been there")


def _is_there(store: ObjectStore, key: str) -> bool:
    """Since it was listed."""
    try:
        with store.open_input(key):
            return True
    except ObjectMissing:
        return False


def _check_sum(found: MarketAudit) -> None:
    accounted = sum(day.counts.published for day in found.days)
    if accounted != found.published:
        found.problems.append(
            f"{found.market.name}: {found.published:,} numbers were published by the ends of its generations, and "
            f"{accounted:,} are accounted for"
        )


def _rejected(store: ObjectStore, market: Market, filters: FilterSpec) -> _Rejected:
    # A dead letter lies in the day of its entry, which may not be that of its `ts`.
    begin = None if filters.begin is None else filters.begin - _DAY
    end = None if filters.end is None else filters.end + _DAY
    numbers: dict[int, set[int]] = {}
    strangers, problems = 0, []
    for rows in read_table(store, "rejected", market, ("generation", "seq"), replace(filters, begin=begin, end=end)):
        if isinstance(rows, BadSegment):
            problems.append(rows.reason)
            continue
        pairs = zip(*(one_array(rows[name]).to_pylist() for name in ("generation", "seq")), strict=True)
        for generation, seq in pairs:
            if generation is None or seq is None:
                strangers += 1
            else:
                numbers.setdefault(generation, set()).add(seq)
    return _Rejected(
        {generation: np.array(sorted(seqs), np.int64) for generation, seqs in numbers.items()}, strangers, problems
    )


def _count_late(store: ObjectStore, market: Market, filters: FilterSpec, found: MarketAudit) -> None:
    """Events outside the sequence, by the footers of their objects."""
    catalog = BronzeCatalog(store, "ccxt/late")
    for partition in catalog.hours(market, filters):
        for table in TABLES:
            for info in partition.segments.get(table, ()):
                with store.open_input(info.key) as file:
                    opened = open_segment(info.key, file)
                    if isinstance(opened, pq.ParquetFile):
                        found.late += opened.metadata.num_rows
                    else:
                        found.problems.append(opened.reason)


def _count_features(store: ObjectStore, market: Market, filters: FilterSpec, found: MarketAudit) -> None:
    features = check_parts(store, market, filters)
    found.feature_rows, found.feature_parts = features.rows, features.parts
    found.feature_double = features.double
    found.problems += features.problems


def _compare_gaps(
    store: ObjectStore,
    filters: FilterSpec,
    gaps: Mapping[StreamPlace, int],
    ledger: Ledger,
    waiting: Waiting | None,
    found: MarketAudit,
) -> None:
    def may_lack(generation: int, seq: int) -> bool:
        waits = waiting is not None and seq >= waiting.begin(generation)
        return waits or ledger.may_lack_gap_row(generation, seq)

    rows = check_gap_rows(store, found.market, filters, gaps, may_lack, may_end_twice=ledger.has_lost_tail)
    found.problems += rows.problems
    found.notes += rows.notes
