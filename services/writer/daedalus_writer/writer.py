"""The writer's loop over the streams of the markets it owns.

leases -> open (unfinished plan first) -> read after the position -> flush due? -> write the run
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from redis.exceptions import RedisError

from daedalus_common.broker import keys
from daedalus_common.broker.errors import Conflict, Fenced
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog, Place
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.owner import Owner
from daedalus_common.telemetry import Health
from daedalus_writer import metrics
from daedalus_writer.budget import Pool, budgets, pool_of
from daedalus_writer.flush import Limits, Reason, flushes_due
from daedalus_writer.group_watch import GroupWatch
from daedalus_writer.intake import Intake, Run
from daedalus_writer.patience import Patience
from daedalus_writer.run_writing import RunWriter
from daedalus_writer.settings import Pace

log = structlog.get_logger(__name__)

GROUP = "writer"
LAG_EVERY_SECONDS = 5.0


@dataclass(slots=True)
class MarketWork:
    """The work on one market under one lease, by stream."""

    lease: Lease
    intakes: dict[str, Intake] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """What is under way on a stream: opening it, or writing a run."""
    writing: dict[str, Run] = field(default_factory=dict)

    @property
    def is_drained(self) -> bool:
        """Every stream has been read to its end."""
        return len(self.intakes) == len(keys.STREAMS) and all(intake.drained for intake in self.intakes.values())

    @property
    def is_busy(self) -> bool:
        """Something is being written, or waits for that."""
        return bool(self.tasks) or any(intake.run.entries for intake in self.intakes.values())


class Writer:
    """Makes every entry of the owned markets durable, exactly once."""

    def __init__(
        self,
        market_log: MarketLog,
        keeper: LeaseKeeper,
        run_writer: RunWriter,
        patience: Patience,
        health: Health,
        limits: Limits,
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = market_log
        self._keeper = keeper
        self._run_writer = run_writer
        self._patience = patience
        self._health = health
        self._limits = limits
        self._pace = pace
        self._clock = clock
        self._wall_clock = wall_clock
        self._works: dict[Market, MarketWork] = {}
        self._groups = GroupWatch(market_log, clock, wall_clock)
        self._is_stopping = False
        self._telling: asyncio.Task[None] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then what the streams still hold is written, and the leases are given back."""
        self._telling = asyncio.create_task(self._tell_lag())
        try:
            await Owner(self._keeper, self, self._health, self._pace.lease_renew, self._pace.poll).run(stop)
        finally:
            self._telling.cancel()  # with a server that hangs each of its looks takes the timeout
            await asyncio.gather(self._telling, return_exceptions=True)  # what ended it before, a turn has raised
            self._groups.forget()
            for market in list(self._works):
                await self._drop(market)
            metrics.HELD_BYTES.set(0)

    async def turn(self) -> bool:
        """One look at everything: leases, reads, flushes. True if there is more to read at once.

        Raises redis errors; nothing is lost by them.
        """
        self._health.beat()
        await self._follow_leases()
        self._collect()
        self._open_streams()
        more = await self._read()
        self._work_ahead()
        self._start_flushes()
        metrics.HELD_BYTES.set(self._held().total())
        return more

    async def drain(self) -> list[Market]:
        """A turn that reads every stream to its end, and no further; the markets that are written by then."""
        if not self._is_stopping:
            self._is_stopping = True
            for _, intake in self._intakes():
                intake.drained = False
        await self.turn()
        return [market for market, work in self._works.items() if work.is_drained and not work.is_busy]

    async def release(self, market: Market) -> bool:
        """What is planned will be carried out by the next owner."""
        await self._drop(market)
        return True

    # leases

    async def _follow_leases(self) -> None:
        held = dict(self._keeper.held)
        for market, work in list(self._works.items()):
            if held.get(market) != work.lease:
                await self._drop(market)
        for market, lease in held.items():
            self._works.setdefault(market, MarketWork(lease))
        metrics.MARKETS.set(len(self._works))

    async def _drop(self, market: Market) -> None:
        """Forgets a market: its entries are in the streams, its plans beside them."""
        work = self._works.pop(market, None)
        if work is None:
            return
        runs = [*work.writing.values(), *(intake.run for intake in work.intakes.values())]
        tasks = [*work.tasks.values(), *(task for run in runs for task in run.tasks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in keys.STREAMS:
            metrics.forget_lag(market, stream)

    # streams

    def _open_streams(self) -> None:
        for work in self._works.values():
            for stream in keys.STREAMS:
                if stream not in work.intakes and stream not in work.tasks:
                    self._start(work, stream, self._open(work, stream))

    async def _open(self, work: MarketWork, stream: str) -> None:
        cursor = await self._run_writer.open(work.lease, stream, self._keeper.tenure)
        work.intakes[stream] = Intake(work.lease, stream, cursor, cursor, self._pace.poll, self._pace.idle)

    async def _read(self) -> bool:
        now = self._clock()
        unread = [intake for _, intake in self._intakes() if not intake.is_full(self._limits)]
        due = [intake for intake in unread if (not intake.drained if self._is_stopping else intake.read_at <= now)]
        held, readers = self._held(), Counter(pool_of(intake.stream) for intake in due)
        budget = budgets(self._limits.memory_bytes, held)
        room = {pool: (budget[pool] - held[pool]) // count for pool, count in readers.items()}
        # Where nothing is held, one entry is read even if it alone is larger than the budget.
        asked = [
            (intake, intake.entries_to_ask(room[pool], self._limits) or (0 if held[pool] else 1))
            for intake in due
            for pool in [pool_of(intake.stream)]
        ]
        asked = [(intake, count) for intake, count in asked if count]
        if not asked:
            return False
        places = [Place(intake.lease.market, intake.stream, intake.position, count) for intake, count in asked]
        replies = await self._log.read_many(places)
        now = self._clock()
        for (intake, count), reply in zip(asked, replies, strict=True):
            intake.accept(count, reply, now)
            if intake.lease.market in self._log.unanswered:
                intake.drained = False
            self._keeper.load.count(intake.lease.market, len(reply))
        return any(not intake.drained for intake, _ in asked)

    def _work_ahead(self) -> None:
        for work, intake in self._intakes():
            self._run_writer.work_ahead(work.lease.market, intake.stream, intake.run)

    def _start_flushes(self) -> None:
        now = self._clock()
        intakes = {intake.name: (work, intake) for work, intake in self._intakes()}
        looks = [
            intake.look(now, writing=intake.stream in work.tasks, last=self._is_stopping and work.is_drained)
            for work, intake in intakes.values()
        ]
        for pool, size_bytes in budgets(self._limits.memory_bytes, self._held()).items():
            of_pool = [look for look in looks if pool_of(look.name[1]) is pool]
            for name, reason in flushes_due(of_pool, replace(self._limits, memory_bytes=size_bytes)):
                work, intake = intakes[name]
                run = work.writing[intake.stream] = intake.take()
                self._start(work, intake.stream, self._write(work, intake, run, reason))

    async def _write(self, work: MarketWork, intake: Intake, run: Run, reason: Reason) -> None:
        await self._run_writer.write(work.lease, intake.stream, intake.cursor, run, reason)
        intake.cursor = run.last_id

    # tasks

    def _start(self, work: MarketWork, stream: str, job: Coroutine[Any, Any, None]) -> None:
        work.tasks[stream] = asyncio.create_task(self._guarded(work, stream, job))

    async def _guarded(self, work: MarketWork, stream: str, job: Coroutine[Any, Any, None]) -> None:
        market = work.lease.market
        try:
            await job
        except Fenced:
            log.warning("market has another owner", market=market.name, epoch=work.lease.epoch)
            self._keeper.lose(work.lease)
        except Conflict as conflict:
            metrics.CONFLICTS.labels(**metrics.stream_labels(market, stream)).inc()
            log.warning("cursor moved, opening the stream again", market=market.name, reason=str(conflict))
            work.intakes.pop(stream, None)

    def _collect(self) -> None:
        """Takes note of finished tasks; raises what a task did not expect."""
        if self._telling is not None and self._telling.done():
            self._telling.result()
        for work in self._works.values():
            for stream, task in list(work.tasks.items()):
                if task.done():
                    del work.tasks[stream]
                    work.writing.pop(stream, None)
                    task.result()

    # accounts

    def _intakes(self) -> Iterator[tuple[MarketWork, Intake]]:
        return ((work, intake) for work in self._works.values() for intake in work.intakes.values())

    def _held(self) -> Counter[Pool]:
        held: Counter[Pool] = Counter()
        for work in self._works.values():
            runs = [(stream, intake.run) for stream, intake in work.intakes.items()]
            for stream, run in (*runs, *work.writing.items()):
                held[pool_of(stream)] += run.memory_bytes
        return held

    async def _tell_lag(self) -> None:
        while True:
            await asyncio.sleep(LAG_EVERY_SECONDS)
            for work, intake in list(self._intakes()):
                await self._tell_lag_of(work, intake)
            await self._groups.look(list(self._works))

    async def _tell_lag_of(self, work: MarketWork, intake: Intake) -> None:
        market, stream, before = work.lease.market, intake.stream, intake.cursor
        try:
            cursor = await self._log.cursor(market, stream, GROUP)
        except (RedisError, Conflict):
            return  # the loop itself tells of these
        if cursor.id != before == intake.cursor and stream not in work.tasks and work.intakes.get(stream) is intake:
            log.warning("the server is back at an earlier cursor", market=market.name, stream=stream, cursor=cursor.id)
            del work.intakes[stream]
        if work is self._works.get(market):
            oldest = work.writing.get(stream, intake.run).first_id
            age = max(0.0, self._wall_clock() - int(oldest.split("-")[0]) / 1000) if oldest else 0.0
            metrics.tell_lag(market, stream, cursor.lag, age)
