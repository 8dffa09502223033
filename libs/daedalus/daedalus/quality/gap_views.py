"""A market's gaps as people ask for them: from quality/gaps, or worked out from Bronze where there is none."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace as replaced
from datetime import date, datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.quality.hours import read_hour
from daedalus.quality.quality_tables import has_table, read_table
from daedalus_common.gap_tracking import GapRow, GapState, stretches, track
from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import memory, one_array
from daedalus_common.stores import ObjectStore

_WHOLE = ("generation", "stream_ms", "stream_seq", "seq", "ts")
_OPTIONAL = ("begin_ts", "end_ts")
_TEXTS = ("phase", "channel", "reason", "lost")


class GapView(msgspec.Struct, frozen=True, order=True):
    """One gap; times are ns. It began with the last event before it (`begin_ts`; where none is known, with `ts`)."""

    ts: int
    """Of the gap event."""
    market: str
    channel: str
    reason: str
    generation: int
    stream_ms: int
    stream_seq: int
    seq: int
    lost: int | None
    begin_ts: int | None
    end_ts: int | None
    """None while it is open."""

    @property
    def begin(self) -> int:
        return self.ts if self.begin_ts is None else self.begin_ts

    @property
    def duration_seconds(self) -> float | None:
        return None if self.end_ts is None else max(0, self.end_ts - self.begin) / 1e9


class GapSum(msgspec.Struct, frozen=True, order=True):
    """Gaps of one market, channel and reason together; `seconds` of those that have ended, each stretch once."""

    market: str
    channel: str
    reason: str
    gaps: int
    open: int
    lost: int
    seconds: float


class Gaps(msgspec.Struct, frozen=True):
    """Of one market; `from_bronze` where quality/gaps has nothing of it."""

    views: tuple[GapView, ...]
    from_bronze: bool
    problems: tuple[str, ...]


def read_gaps(
    store: ObjectStore,
    market: Market,
    since: datetime | None,
    until: datetime | None,
    pool: Executor,
    tick: Callable[[], None] = lambda: None,
) -> Gaps:
    """The gaps that overlap the time asked for, ascending. Raises StoreError."""
    # A gap that began the day before is still in it.
    begin: date | None = None if since is None else since.date() - timedelta(days=1)
    filters = FilterSpec(begin=begin)
    from_bronze = not has_table(store, "gaps", market)
    if from_bronze:
        found, problems = _of_bronze(store, market, filters, pool, tick)
    else:
        found, problems = _of_quality(store, market, filters, tick)
    low, high = (None if each is None else int(each.timestamp() * 1e9) for each in (since, until))
    views = (view for view in _merged(found) if _overlaps(view, low, high))
    return Gaps(tuple(sorted(views)), from_bronze, tuple(problems))


def summed(views: Iterable[GapView]) -> list[GapSum]:
    """By market, channel and reason."""
    groups: dict[tuple[str, str, str], list[GapView]] = {}
    for view in views:
        groups.setdefault((view.market, view.channel, view.reason), []).append(view)
    return [
        GapSum(
            *name,
            gaps=len(of),
            open=sum(view.end_ts is None for view in of),
            lost=sum(view.lost or 0 for view in of),
            seconds=sum((end - begin) / 1e9 for begin, end in {(v.begin, v.end_ts) for v in of} if end is not None),
        )
        for name, of in sorted(groups.items())
    ]


def _of_quality(
    store: ObjectStore, market: Market, filters: FilterSpec, tick: Callable[[], None]
) -> tuple[list[GapView], list[str]]:
    views: list[GapView] = []
    problems: list[str] = []
    for rows in read_table(store, "gaps", market, (*_WHOLE, *_OPTIONAL, *_TEXTS), filters):
        tick()
        if isinstance(rows, BadSegment):
            problems.append(rows.reason)
        else:
            views += _views(market, rows)
    return views, problems


def _views(market: Market, rows: pa.Table) -> Iterator[GapView]:
    whole = [memory(one_array(rows[name]), np.int32 if name == "generation" else np.int64).tolist() for name in _WHOLE]
    times = [_optional(rows, name) for name in _OPTIONAL]
    texts = [one_array(rows[name]).to_pylist() for name in _TEXTS]
    for generation, ms, sub, seq, ts, begin, end, _, channel, reason, lost in zip(*whole, *times, *texts, strict=True):
        yield GapView(ts, market.name, channel, reason, generation, ms, sub, seq, lost, begin, end)


def _optional(rows: pa.Table, name: str) -> list[int | None]:
    column = one_array(rows[name])
    present = column.is_valid().to_pylist()
    values = memory(column, np.int64).tolist()
    return [value if there else None for value, there in zip(values, present, strict=True)]


def _of_bronze(
    store: ObjectStore, market: Market, filters: FilterSpec, pool: Executor, tick: Callable[[], None]
) -> tuple[list[GapView], list[str]]:
    state, views = GapState(), list[GapView]()
    problems: list[str] = []
    for partition in BronzeCatalog(store).hours(
        market, replaced(filters, exchange=market.exchange, symbol=market.symbol)
    ):
        tick()
        rows = read_hour(store, partition, pool)
        problems += rows.problems
        state, found = track(state, stretches(rows.channels(), rows.gaps))
        views += [_view(market, row) for row in found]
    return views, problems


def _view(market: Market, row: GapRow) -> GapView:
    event = row.gap.event
    return GapView(
        event.ts, market.name, event.channel, event.reason, event.generation, event.stream_ms, event.stream_seq,
        event.seq, event.lost, row.gap.begin_ts, row.end_ts,
    )  # fmt: skip


def _merged(rows: Sequence[GapView]) -> Iterator[GapView]:
    """One view a gap: its row of phase `closed` where there is one.

    Of very many gaps open together some have none (`gap_tracking.MAX_OPEN`): they ended with the others.
    """
    views: dict[tuple[int, ...], GapView] = {}
    ends: dict[tuple[str, int | None], int] = {}
    for row in rows:
        key = (row.generation, row.stream_ms, row.stream_seq, row.seq)
        if key not in views or (views[key].end_ts is None and row.end_ts is not None):
            views[key] = row
        if row.end_ts is not None:
            ends.setdefault((row.channel, row.begin_ts), row.end_ts)
    for view in views.values():
        end = ends.get((view.channel, view.begin_ts)) if view.end_ts is None and view.begin_ts is not None else None
        yield msgspec.structs.replace(view, end_ts=end) if end is not None and end >= view.ts else view


def _overlaps(view: GapView, low: int | None, high: int | None) -> bool:
    ended_before = low is not None and view.end_ts is not None and view.end_ts < low
    return not ended_before and (high is None or view.begin <= high)
