"""A run of entries from gathering to the moved cursor, in the order that survives a crash at any point.

gather -> plan, committed -> carry out
and after a crash: committed plan -> read again -> gather -> carry out
"""

import asyncio
from dataclasses import replace

import msgspec
import structlog

from daedalus_common.batches import RawEntry
from daedalus_common.broker.keys import EVENT_STREAMS, RAW
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.gap_tracking import GapState
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.feature_rows import schema_ids
from daedalus_common.plans import make_plan
from daedalus_common.rows import RowSchema
from daedalus_writer import metrics
from daedalus_writer.carrying_out import Carrier
from daedalus_writer.durable_end import Known
from daedalus_writer.flush import Reason
from daedalus_writer.gathering import CHUNK_ENTRIES, Gathering
from daedalus_writer.intake import Run
from daedalus_writer.opening import GROUP, Opening, TenureOf
from daedalus_writer.patience import Patience

log = structlog.get_logger(__name__)


class RunWriter:
    """Writes runs; `write` and `resume` raise Fenced or Conflict when the cursor is no longer ours to move."""

    def __init__(self, market_log: MarketLog, carrier: Carrier, patience: Patience, compression: Compression) -> None:
        self._log = market_log
        self._carrier = carrier
        self._patience = patience
        self._compression = compression
        self._schemas: dict[Market, dict[bytes, RowSchema]] = {}
        self._opening = Opening(market_log, carrier, patience)
        self._known: dict[tuple[Market, str], Known] = {}

    async def open(self, lease: Lease, stream: str, tenure_of: TenureOf) -> str:
        """The cursor to read from, when what a former owner or a former server left is put in order."""
        market = lease.market
        server = await self._patience.redis(lambda: self._log.open_market(market))
        self._known[market, stream] = await self._opening.known(market, stream, server)
        await self.resume(lease, stream)
        self._known[market, stream] = await self._opening.settle(lease, stream, server, tenure_of)
        return (await self._patience.redis(lambda: self._log.cursor(market, stream, GROUP))).id

    def work_ahead(self, market: Market, stream: str, run: Run) -> None:
        """Lets threads gather and encode what a run has so far, while more of it, or an earlier run, is on its way."""
        if _is_idle(run.decoding) and sum(map(len, run.replies)) >= CHUNK_ENTRIES:
            run.decoding = asyncio.create_task(self._gather(market, stream, run))
        if run.gathering is not None and _is_idle(run.encoding) and run.gathering.has_row_group:
            run.encoding = asyncio.create_task(self._encode(run, run.gathering))

    async def write(self, lease: Lease, stream: str, cursor: str, run: Run, reason: Reason) -> None:
        """Makes the run that follows `cursor` durable and moves the cursor to its last entry."""
        market = lease.market
        with metrics.FLUSH_SECONDS.time():
            gathering = await self._whole(market, stream, run)
            gaps = await self._gaps_before(market) if stream == RAW else msgspec.UNSET
            if isinstance(gaps, GapState):
                gathering.track_gaps(gaps)
            counters = await self._patience.redis(lambda: self._log.counters(market))
            plan = make_plan(
                stream=stream,
                cursor=cursor,
                first_id=run.first_id,
                last_id=run.last_id,
                entries=run.entries,
                rows=gathering.row_counts,
                counters=counters,
                dead=[letter.id for letter in gathering.dead],
                gaps=gaps,
                muted=self._known_of(market, stream).muted,
            )
            known = self._known_of(market, stream)
            await self._patience.redis(lambda: self._log.commit_plan(lease, plan, known.server, known.muted))
            await self._carrier.carry_out(lease, plan, gathering)
        metrics.FLUSHES.labels(**metrics.stream_labels(market, stream), reason=reason.value).inc()

    async def resume(self, lease: Lease, stream: str) -> None:
        """Carries out the plan that a former owner left unfinished, if there is one."""
        market = lease.market
        plan = await self._patience.redis(lambda: self._log.pending_plan(market, stream))
        if plan is None:
            return
        log.info("carrying out an unfinished plan", market=market.name, stream=stream, entries=plan.entries)
        known = replace(self._known_of(market, stream), muted=plan.muted or "")
        entries = await self._patience.redis(lambda: self._log.read_run(market, stream, plan.first_id, plan.last_id))
        run = Run(replies=[entries], gathering=Gathering(market, stream, self._compression, known))
        await self._gather(market, stream, run, frozenset(plan.dead))
        gathering = self._gathering_of(market, stream, run)
        if isinstance(plan.gaps, GapState):
            gathering.track_gaps(plan.gaps)
        await self._carrier.carry_out(lease, plan, gathering)
        metrics.PLANS_RESUMED.labels(**metrics.stream_labels(market, stream)).inc()

    async def _gaps_before(self, market: Market) -> GapState:
        """What is known at the cursor, behind which the run begins: a stream's runs are written one after the other."""
        return await self._patience.redis(lambda: self._log.gap_state(market))

    async def _whole(self, market: Market, stream: str, run: Run) -> Gathering:
        await asyncio.gather(*run.tasks)
        await self._gather(market, stream, run)
        return self._gathering_of(market, stream, run)

    async def _gather(self, market: Market, stream: str, run: Run, planned_dead: frozenset[str] = frozenset()) -> None:
        """Gathers the entries that nobody has begun to gather."""
        gathering = self._gathering_of(market, stream, run)
        replies, run.replies = run.replies, []
        raw_memory_bytes = run.raw_memory_bytes
        schemas = {} if stream in EVENT_STREAMS else await self._schemas_for(market, replies)
        with metrics.GATHER_SECONDS.time():
            await self._carrier.in_pool(gathering.take, replies, schemas, planned_dead)
        run.raw_memory_bytes -= raw_memory_bytes
        run.gathered_bytes = gathering.memory_bytes

    async def _encode(self, run: Run, gathering: Gathering) -> None:
        await self._carrier.in_pool(gathering.encode)
        run.gathered_bytes = gathering.memory_bytes

    def _gathering_of(self, market: Market, stream: str, run: Run) -> Gathering:
        if run.gathering is None:
            run.gathering = Gathering(market, stream, self._compression, self._known_of(market, stream))
        return run.gathering

    def _known_of(self, market: Market, stream: str) -> Known:
        return self._known.get((market, stream), Known())

    async def _schemas_for(self, market: Market, replies: list[list[RawEntry]]) -> dict[bytes, RowSchema]:
        """The market's schemas, read again when a row has one not seen before."""
        needed = {id_ for reply in replies for id_ in schema_ids(reply)}
        if not needed <= self._schemas.get(market, {}).keys():
            self._schemas[market] = await self._patience.redis(lambda: self._log.schemas(market))
        return self._schemas.get(market, {})


def _is_idle(task: asyncio.Task[None] | None) -> bool:
    """Nothing is under way; raises what made the last task fail."""
    if task is None:
        return True
    if task.done():
        task.result()
    return task.done()
