"""The featurizer's loop over the markets it owns.

leases -> resume (state, genesis) -> one pipelined read of all markets -> steps -> fenced commits

While a step is computed, the server answers what was asked before: the commits of other markets, and for markets that
are behind the next read.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import structlog

from daedalus_common.broker import keys
from daedalus_common.broker.errors import Conflict, Fenced
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.entries import encode
from daedalus_common.events import Genesis
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.owner import Owner
from daedalus_common.rows import RowSchema
from daedalus_common.telemetry import Health
from daedalus_features import SchemaError
from daedalus_featurizer import metrics
from daedalus_featurizer.market_work import MarketWork, StepTaken
from daedalus_featurizer.reading import Reader
from daedalus_featurizer.row_schemas import row_schemas
from daedalus_featurizer.settings import Settings
from daedalus_featurizer.stored_state import restore

log = structlog.get_logger(__name__)

GROUP = "featurizer"
PASSES_TO_SEND: Final = 2
"""Passes of the event loop in which redis-py sends a command: before them, computing would keep the server waiting."""


class Featurizer:
    """Computes features for every market whose lease this replica holds."""

    def __init__(
        self,
        settings: Settings,
        market_log: MarketLog,
        keeper: LeaseKeeper,
        health: Health,
        monotonic: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings = settings
        self._log = market_log
        self._keeper = keeper
        self._health = health
        self._monotonic = monotonic
        self._now_ns = now_ns
        self._reader = Reader(market_log, settings.max_entries, monotonic)
        self._computing = asyncio.Lock()
        self._works: dict[Market, MarketWork] = {}
        self._refused: dict[Market, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then what the streams hold by then is processed, committed, and the leases are given back."""
        settings = self._settings
        try:
            await Owner(self._keeper, self, self._health, settings.lease_renew, settings.poll).run(stop)
        finally:
            await self._reader.close()

    async def turn(self, *, commit_all: bool = False) -> bool:
        """One read of all owned markets and every step that is due; True if a market has more to read at once.

        Raises redis errors; nothing is lost by them.
        """
        self._health.beat()
        resumed = await self._follow_leases()
        works = list(self._works.values())
        more = await self._reader.read(works)
        self._reader.ask_ahead()
        # Every market ends its turn before an error is raised: two turns must not step the same market at once.
        outcomes = await asyncio.gather(*(self._take_steps(work, commit_all) for work in works), return_exceptions=True)
        for outcome in (*resumed, *outcomes):
            if isinstance(outcome, BaseException):
                raise outcome
        return more

    async def _take_steps(self, work: MarketWork, commit_all: bool) -> None:
        limit = 0.0 if commit_all else self._settings.commit_after.total_seconds()
        try:
            while count := self._due(work, limit):
                taken = await self._compute(work, count)
                with metrics.COMMIT_SECONDS.time():
                    await self._log.commit_step(work.lease, taken.step)
                work.committed(taken, self._monotonic())
                self._count(work, taken)
        except Fenced:
            log.warning("market has another owner", market=work.lease.market.name)
            self._forget(work.lease)
        except Conflict as conflict:
            metrics.CONFLICTS.inc()
            log.warning("cursor moved, reading the state again", market=work.lease.market.name, reason=str(conflict))
            self._works.pop(work.lease.market, None)
        except SchemaError as error:
            self._refuse(work.lease, error)

    def _due(self, work: MarketWork, commit_after: float) -> int:
        entries, rows = self._settings.max_entries, self._settings.max_rows
        return work.due(self._monotonic(), commit_after=commit_after, max_entries=entries, max_rows=rows)

    async def _compute(self, work: MarketWork, count: int) -> StepTaken:
        async with self._computing:
            for _ in range(PASSES_TO_SEND):
                await asyncio.sleep(0)
            with metrics.STEP_SECONDS.time():
                return work.step(count)

    def _count(self, work: MarketWork, taken: StepTaken) -> None:
        market = work.lease.market
        labels = {"exchange": market.exchange, "symbol": market.symbol}
        self._keeper.load.count(market, taken.events)
        metrics.EVENTS.labels(**labels).inc(taken.events)
        for layer, rows in taken.rows.items():
            metrics.ROWS.labels(**labels, layer=layer).inc(rows)
        for reason, events in taken.invalid.items():
            metrics.INVALID.labels(**labels, reason=reason).inc(events)
        if taken.foreign:
            metrics.FOREIGN.labels(**labels).inc(taken.foreign)
        if taken.before_genesis:
            metrics.BEFORE_GENESIS.labels(**labels).inc(taken.before_genesis)
        if taken.last_ts is not None and self._works.get(market) is work:  # else it was given meanwhile
            metrics.LAG_SECONDS.labels(**labels).set(max(0.0, (self._now_ns() - taken.last_ts) / 1e9))

    # leases

    async def drain(self) -> list[Market]:
        """A turn that commits all it has read; the markets whose stream was at its end then, or is left alone."""
        await self.turn(commit_all=True)
        works = {market: self._works.get(market) for market in self._keeper.held}
        return [
            market
            for market, work in works.items()
            if (work.at_end and not work.waiting if work is not None else market in self._refused)
        ]

    async def release(self, market: Market) -> bool:
        """Work that is not committed is done again by the next owner."""
        self._drop(market)
        return True

    def _drop(self, market: Market) -> None:
        self._works.pop(market, None)
        metrics.LAG_SECONDS.remove(market.exchange, market.symbol)  # its next owner tells it

    async def _follow_leases(self) -> list[BaseException | None]:
        """Drops and resumes markets; what kept some from that, for in a cluster others may go on."""
        held = dict(self._keeper.held)
        for market, work in list(self._works.items()):
            if held.get(market) != work.lease:
                self._drop(market)
        for market in self._refused.keys() - held.keys():
            del self._refused[market]
            self._health.mark_ready(f"state of {market.name}")  # its next owner looks for itself
        leases = [lease for market, lease in held.items() if market not in self._works]
        new = [lease for lease in leases if self._refused.get(lease.market) != lease.epoch]
        outcomes = await asyncio.gather(*map(self._resume, new), return_exceptions=True)
        metrics.MARKETS.set(len(self._works))
        return outcomes

    async def _resume(self, lease: Lease) -> None:
        market = lease.market
        params = self._settings.params[market]
        try:
            server = await self._log.open_market(market)
            stored = await self._log.stored_state(market)
            state = restore(stored)
            schemas = row_schemas(params)
            genesis = stored.genesis or ""
            cursor = await self._log.cursor(market, keys.RAW, GROUP)
            # A state without a cursor: the group was removed meanwhile, and what it missed may be gone.
            is_stranded = state is not None and cursor.id == BEGINNING
            known = genesis.startswith(params.hash) and not is_stranded
            # An extension may have brought columns: nobody could read rows whose schema is not declared.
            if not known or not {schema.id for schema in schemas} <= (await self._log.schemas(market)).keys():
                genesis = await self._begin_anew(lease, schemas)
            if is_stranded:
                state, cursor = None, await self._log.cursor(market, keys.RAW, GROUP)
            self._works[market] = MarketWork(lease, params, cursor.id, state, server, genesis)
            self._health.mark_ready(f"state of {market.name}")
        except SchemaError as error:
            self._refuse(lease, error)
        except Fenced:
            self._forget(lease)
        except Conflict as conflict:
            log.warning("opening the market again", market=market.name, reason=str(conflict))

    async def _begin_anew(self, lease: Lease, schemas: tuple[RowSchema, ...]) -> str:
        params = self._settings.params[lease.market]
        genesis = Genesis(self._now_ns(), f"{params.hash}-{uuid4().hex[:12]}", params.to_json())
        await self._log.add_genesis(lease, genesis.id, genesis.capture_ts, encode(genesis), schemas)
        metrics.GENESES.labels(exchange=lease.market.exchange, symbol=lease.market.symbol).inc()
        log.info("features begin anew", market=lease.market.name, genesis=genesis.id)
        return genesis.id

    def _refuse(self, lease: Lease, error: SchemaError) -> None:
        """Refused, never guessed: the market stays as it is until someone decides."""
        market = lease.market
        self._works.pop(market, None)
        self._refused[market] = lease.epoch
        self._health.mark_unready(f"state of {market.name}", str(error))
        key = keys.state(market)
        log.error("state refused", market=market.name, reason=str(error), to_begin_anew=f"HDEL {key} genesis hot")

    def _forget(self, lease: Lease) -> None:
        work = self._works.get(lease.market)
        if work is not None and work.lease == lease:
            self._drop(lease.market)
        self._keeper.lose(lease)
