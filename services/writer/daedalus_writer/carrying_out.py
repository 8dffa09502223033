"""A plan becomes objects, and when every one of them is durable the cursor moves.

for segment in plan.segments: store.create(key, parquet of its rows)  -> advance
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import ParamSpec, TypeVar

import pyarrow as pa
import structlog
from msgspec.structs import replace

from daedalus_common.broker.dead_letters import DeadLetter
from daedalus_common.broker.market_log import MAX_DEAD_LETTERS, MarketLog
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.parquet.objects import Draft, Identity, read_identity
from daedalus_common.plans import (
    Destination,
    Plan,
    Segment,
    counter_field,
    counters_after,
    make_plan,
    object_key,
    with_counter,
)
from daedalus_common.stores import CreateResult, ObjectMissing, ObjectStore
from daedalus_writer import metrics
from daedalus_writer.durable_end import End
from daedalus_writer.gathering import Gathering
from daedalus_writer.known_objects import KnownObjects
from daedalus_writer.newest_objects import NewestObject, end_of
from daedalus_writer.patience import Patience
from daedalus_writer.shelves import Shelf, Shelves

log = structlog.get_logger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is durable."""

    segment: Segment
    rows: int
    size_bytes: int
    end: End | None


class Carrier:
    """Carries out plans: as often as needed, with the same objects each time."""

    def __init__(
        self,
        market_log: MarketLog,
        shelves: Shelves,
        pool: Executor,
        patience: Patience,
        keep: Mapping[str, timedelta],
        max_dead_letters: int = MAX_DEAD_LETTERS,
    ) -> None:
        self._log = market_log
        self._shelves = shelves
        self._pool = pool
        self._patience = patience
        self._keep_ms = {stream: int(least.total_seconds() * 1000) for stream, least in keep.items()}
        self._max_dead = max_dead_letters
        self.known = KnownObjects()

    async def carry_out(self, lease: Lease, plan: Plan, gathering: Gathering) -> None:
        """Creates the objects of a committed plan and moves the cursor past it. Raises Fenced or Conflict."""
        segments = await self._agreed(lease.market, plan, gathering.row_counts)
        stored = await self._create_all(lease, plan.stream, segments, gathering)
        done = replace(plan, segments=tuple(object_.segment for object_ in stored))
        if gathering.gaps_after is not None:
            done = replace(done, gaps=gathering.gaps_after)
        keep_ms = self._keep_ms.get(plan.stream, 0)
        dropped = await self._patience.redis(
            lambda: self._log.advance(lease, plan, done, gathering.dead, keep_ms, self._max_dead)
        )
        _count(lease.market, plan.stream, stored, gathering.dead)
        metrics.count_gaps(lease.market, gathering.gap_rows)
        if dropped:
            metrics.DEAD_LETTERS_DROPPED.labels(**metrics.market_labels(lease.market)).inc(dropped)

    def shelf(self, stream: str) -> Shelf:
        """Where the objects of a stream go."""
        return self._shelves.of(stream)

    async def in_pool(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Runs what takes long outside of the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))

    async def _agreed(self, market: Market, plan: Plan, rows: Mapping[Destination, int]) -> tuple[Segment, ...]:
        """The plan's segments, which the rows match unless somebody removed entries or grouping was changed."""
        planned = {segment.destination: segment.rows for segment in plan.segments}
        if planned == rows:
            return plan.segments
        _anomaly(market, plan.stream, "run_changed", planned=sum(planned.values()), found=sum(rows.values()))
        counters = await self._patience.redis(lambda: self._log.counters(market))
        return reconciled(plan, rows, counters)

    async def _create_all(
        self, lease: Lease, stream: str, segments: Sequence[Segment], gathering: Gathering
    ) -> list[Stored]:
        stored = []
        async with self.known.creating(lease, stream) as made:
            for segment in segments:
                object_ = await self._create(lease.market, stream, segment, gathering.drafts[segment.destination])
                made.add(counter_field(segment), _newest_of(object_))
                stored.append(object_)
        return stored

    async def _create(self, market: Market, stream: str, segment: Segment, draft: Draft) -> Stored:
        shelf = self._shelves.of(stream)
        with metrics.ENCODE_SECONDS.time():
            data, identity, end = await self.in_pool(_finished, draft, market, segment.table, stream)
        while True:
            key = object_key(segment)
            with metrics.UPLOAD_SECONDS.labels(layer=draft.layer).time():
                create = partial(self.in_pool, shelf.store.create, key, data, _metadata(identity))
                result = await self._patience.store(shelf.role, create)
            if result is CreateResult.CREATED:
                return Stored(segment, identity.rows, len(data), end)
            try:
                found = await self._patience.store(shelf.role, partial(self.in_pool, _look, shelf.store, key))
            except ObjectMissing:
                continue  # removed since: create it after all
            if found == identity:
                return Stored(segment, identity.rows, len(data), end)
            _anomaly(market, stream, "object_differs", key=key, found=found, ours=identity)
            segment = with_counter(segment, segment.counter + 1)


def reconciled(plan: Plan, rows: Mapping[Destination, int], counters: Mapping[str, str]) -> tuple[Segment, ...]:
    """Segments for `rows` that keep the plan's names where it has one."""
    kept = tuple(segment for segment in plan.segments if segment.destination in rows)
    planned = {segment.destination for segment in kept}
    added = make_plan(
        stream=plan.stream,
        cursor=plan.cursor,
        first_id=plan.first_id,
        last_id=plan.last_id,
        entries=plan.entries,
        rows={place: count for place, count in rows.items() if place not in planned},
        counters={**counters, **counters_after(plan.segments)},
    )
    return kept + added.segments


def origin_of(stream: str) -> dict[str, str]:
    """What a footer says of where its rows come from."""
    return {"stream": stream, "writer_version": version("daedalus-writer")}


def _finished(draft: Draft, market: Market, table: str, stream: str) -> tuple[memoryview, Identity, End | None]:
    """The object, and its end as a look at the store would find it."""
    data, identity = draft.finished(market, origin_of(stream))
    return data, identity, end_of(pa.BufferReader(data), table, stream)


def _newest_of(object_: Stored) -> NewestObject:
    return NewestObject(object_.segment.stamp, object_.segment.counter, object_.end)


def _look(store: ObjectStore, key: str) -> Identity | None:
    with store.open_input(key) as file:
        return read_identity(file)


def _metadata(identity: Identity) -> dict[str, str]:
    """For those who look at a bucket without reading the footers."""
    return {
        "first-id": identity.first_id,
        "last-id": identity.last_id,
        "rows": str(identity.rows),
        "key-hash": identity.key_hash,
    }


def _anomaly(market: Market, stream: str, kind: str, **details: object) -> None:
    metrics.ANOMALIES.labels(**metrics.stream_labels(market, stream), kind=kind).inc()
    log.error("anomaly", market=market.name, stream=stream, kind=kind, **details)


def _count(market: Market, stream: str, stored: list[Stored], dead: Sequence[DeadLetter]) -> None:
    for object_ in stored:
        labels = {**metrics.market_labels(market), **metrics.table_labels(object_.segment.table)}
        metrics.ROWS.labels(**labels).inc(object_.rows)
        metrics.OBJECTS.labels(**labels).inc()
        metrics.OBJECT_BYTES.labels(**labels).inc(object_.size_bytes)
    for letter in dead:
        reason = metrics.reason_label(letter.reason)
        metrics.DEAD_LETTERS.labels(**metrics.stream_labels(market, stream), reason=reason).inc()
    if dead:
        log.warning(
            "entries that are not ours went to the dead letters",
            market=market.name, stream=stream, entries=len(dead), first_reason=dead[0].reason,
        )  # fmt: skip
