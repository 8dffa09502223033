"""A run of entries from gathering to the moved cursor, in the order that survives a crash at any point.

gather -> plan, committed -> carry out
and after a crash: committed plan -> read again -> gather -> carry out
"""

import structlog

from daedalus_common.batches import RawEntry
from daedalus_common.broker.keys import RAW
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.plans import make_plan
from daedalus_common.rows import RowSchema
from daedalus_writer import metrics
from daedalus_writer.carrying_out import Carrier
from daedalus_writer.feature_rows import schema_ids
from daedalus_writer.flush import Reason
from daedalus_writer.gathering import Gathered, gather
from daedalus_writer.intake import Run
from daedalus_writer.patience import Patience

log = structlog.get_logger(__name__)


class RunWriter:
    """Writes runs; every method raises Fenced or Conflict when the market or the cursor is no longer ours to move."""

    def __init__(self, market_log: MarketLog, carrier: Carrier, patience: Patience) -> None:
        self._log = market_log
        self._carrier = carrier
        self._patience = patience
        self._schemas: dict[Market, dict[bytes, RowSchema]] = {}

    async def write(self, lease: Lease, stream: str, cursor: str, run: Run, reason: Reason) -> None:
        """Makes the run that follows `cursor` durable and moves the cursor to its last entry."""
        market = lease.market
        with metrics.FLUSH_SECONDS.time():
            gathered = await self._whole(market, stream, run)
            counters = await self._patience.redis(lambda: self._log.counters(market))
            plan = make_plan(
                stream=stream,
                cursor=cursor,
                first_id=run.first_id,
                last_id=run.last_id,
                entries=run.entries,
                rows=gathered.row_counts,
                counters=counters,
                dead=[letter.id for letter in gathered.dead],
            )
            await self._patience.redis(lambda: self._log.commit_plan(lease, plan))
            await self._carrier.carry_out(lease, plan, gathered)
        metrics.FLUSHES.labels(**metrics.stream_labels(market, stream), reason=reason.value).inc()

    async def decode(self, market: Market, stream: str, run: Run) -> None:
        """Decodes what the run holds so far, while more of it is read or an earlier run is written."""
        replies, run.replies = run.replies, []
        entries = sum(map(len, replies))
        run.decoded.append(await self._gather(market, stream, replies))
        run.undecoded -= entries

    async def resume(self, lease: Lease, stream: str) -> None:
        """Carries out the plan that a former owner left unfinished, if there is one."""
        market = lease.market
        plan = await self._patience.redis(lambda: self._log.pending_plan(market, stream))
        if plan is None:
            return
        log.info("carrying out an unfinished plan", market=market.name, stream=stream, entries=plan.entries)
        run = await self._patience.redis(lambda: self._log.read_run(market, stream, plan.first_id, plan.last_id))
        gathered = await self._gather(market, stream, [run], frozenset(plan.dead))
        await self._carrier.carry_out(lease, plan, gathered)
        metrics.PLANS_RESUMED.labels(**metrics.stream_labels(market, stream)).inc()

    async def _whole(self, market: Market, stream: str, run: Run) -> Gathered:
        if run.decoding is not None:
            await run.decoding
        if run.replies:
            await self.decode(market, stream, run)
        return Gathered.joined(run.decoded)

    async def _gather(
        self,
        market: Market,
        stream: str,
        replies: list[list[RawEntry]],
        planned_dead: frozenset[str] = frozenset(),
    ) -> Gathered:
        schemas = {} if stream == RAW else await self._schemas_for(market, replies)
        with metrics.GATHER_SECONDS.time():
            return await self._carrier.in_pool(gather, market, stream, replies, schemas, planned_dead)

    async def _schemas_for(self, market: Market, replies: list[list[RawEntry]]) -> dict[bytes, RowSchema]:
        """The market's schemas, read again when a row has one not seen before."""
        needed = {id_ for reply in replies for id_ in schema_ids(reply)}
        if not needed <= self._schemas.get(market, {}).keys():
            self._schemas[market] = await self._patience.redis(lambda: self._log.schemas(market))
        return self._schemas.get(market, {})
