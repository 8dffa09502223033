"""The writer's loop over the streams of the markets it owns.

leases -> open (unfinished plan first) -> read after the position -> flush due? -> write the run
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.exceptions import RedisError

from daedalus_common.broker import keys
from daedalus_common.broker.errors import Conflict, Fenced
from daedalus_common.broker.lease_keeper import LeaseKeeper, keep_leases
from daedalus_common.broker.market_log import MarketLog, Place
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.service import pause
from daedalus_common.telemetry import Health
from daedalus_writer import metrics
from daedalus_writer.flush import Limits, Reason, flushes_due
from daedalus_writer.intake import Intake, Run
from daedalus_writer.patience import Patience
from daedalus_writer.run_writing import RunWriter
from daedalus_writer.settings import Pace

log = structlog.get_logger(__name__)

GROUP = "writer"
RETRY_SECONDS = 1.0
LAG_EVERY_SECONDS = 5.0
STOP_SECONDS = 20.0
"""For what the streams still hold at a stop; what is not written by then stays in them for the next start."""


@dataclass(slots=True)
class MarketWork:
    """The work on one market under one lease, by stream."""

    lease: Lease
    intakes: dict[str, Intake] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """What is under way on a stream: opening it, or writing a run."""
    writing: dict[str, Run] = field(default_factory=dict)


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

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then what the streams still hold is written, and the leases are given back."""
        finished = asyncio.Event()
        # Not until `stop`: the last flushes need the leases too.
        renewal = asyncio.create_task(keep_leases(self._keeper, self._pace.lease_renew, self._give, finished))
        lag = asyncio.create_task(self._tell_lag(finished))
        try:
            while not stop.is_set():
                if renewal.done():
                    renewal.result()  # without it every market would quietly go to others
                more = await self._tolerant_turn()
                await pause(stop, 0 if more else self._pace.poll.total_seconds())
            await self._finish()
        finally:
            finished.set()
            await asyncio.gather(renewal, lag)
            for market in list(self._works):
                await self._drop(market)
            metrics.HELD_BYTES.set(0)
        await self._leave()

    async def turn(self, *, stopping: bool = False) -> bool:
        """One look at everything: leases, reads, flushes. True if there is more to read at once.

        Raises redis errors; nothing is lost by them.
        """
        self._health.beat()
        await self._follow_leases(take=not stopping)
        self._collect()
        self._open_streams()
        more = await self._read(stopping=stopping)
        self._work_ahead()
        self._start_flushes(stopping=stopping)
        metrics.HELD_BYTES.set(self._held_bytes())
        return more

    async def _tolerant_turn(self) -> bool:
        try:
            more = await self.turn()
            self._health.mark_ready("redis")
            return more
        except RedisError as error:
            self._health.mark_unready("redis", f"a command failed: {error}")
            log.warning("redis does not answer", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)
            return False

    async def _finish(self) -> None:
        # A market whose lease was only just taken is drained as well.
        await self._follow_leases(take=True)
        for _, intake in self._intakes():
            intake.drained = False
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while not self._is_done():
                    await self.turn(stopping=True)
                    await asyncio.sleep(0.01)
        except (TimeoutError, RedisError) as error:
            left = sum(intake.run.entries for _, intake in self._intakes())
            log.warning("stopped before all was written; the streams keep the rest", read=left, error=str(error))

    def _is_done(self) -> bool:
        works = self._works.values()
        idle = not any(work.tasks for work in works) and all(len(work.intakes) == len(keys.STREAMS) for work in works)
        return idle and all(intake.drained and not intake.run.entries for _, intake in self._intakes())

    # leases

    async def _follow_leases(self, *, take: bool) -> None:
        held = dict(self._keeper.held)
        for market, work in list(self._works.items()):
            if held.get(market) != work.lease:
                await self._drop(market)
        if take:
            for market, lease in held.items():
                self._works.setdefault(market, MarketWork(lease))
        metrics.MARKETS.set(len(self._works))

    async def _give(self, market: Market) -> None:
        """For another replica, which will carry out what is planned."""
        await self._drop(market)
        await self._keeper.give(market)

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

    async def _leave(self) -> None:
        try:
            await self._keeper.leave()
        except RedisError as error:
            log.warning("leases not given back; others take them when they expire", error=str(error))

    # streams

    def _open_streams(self) -> None:
        for work in self._works.values():
            for stream in keys.STREAMS:
                if stream not in work.intakes and stream not in work.tasks:
                    self._start(work, stream, self._open(work, stream))

    async def _open(self, work: MarketWork, stream: str) -> None:
        market = work.lease.market
        await self._patience.redis(lambda: self._log.open_market(market))
        await self._run_writer.resume(work.lease, stream)
        cursor = await self._patience.redis(lambda: self._log.cursor(market, stream, GROUP))
        work.intakes[stream] = Intake(work.lease, stream, cursor.id, cursor.id, self._pace.poll, self._pace.idle)

    async def _read(self, *, stopping: bool) -> bool:
        now = self._clock()
        unread = [intake for _, intake in self._intakes() if not intake.is_full(self._limits)]
        due = [intake for intake in unread if (not intake.drained if stopping else intake.read_at <= now)]
        held = self._held_bytes()
        room = (self._limits.memory_bytes - held) // max(1, len(due))
        # Where nothing is held, one entry is read even if it alone is larger than the budget.
        asked = [(intake, intake.entries_to_ask(room, self._limits) or (0 if held else 1)) for intake in due]
        asked = [(intake, count) for intake, count in asked if count]
        if not asked:
            return False
        places = [Place(intake.lease.market, intake.stream, intake.position, count) for intake, count in asked]
        replies = await self._log.read_many(places)
        now = self._clock()
        for (intake, count), reply in zip(asked, replies, strict=True):
            intake.accept(count, reply, now)
        return any(not intake.drained for intake, _ in asked)

    def _work_ahead(self) -> None:
        for work, intake in self._intakes():
            self._run_writer.work_ahead(work.lease.market, intake.stream, intake.run)

    def _start_flushes(self, *, stopping: bool) -> None:
        now = self._clock()
        intakes = {intake.name: (work, intake) for work, intake in self._intakes()}
        looks = [intake.look(now, writing=intake.stream in work.tasks) for work, intake in intakes.values()]
        last = stopping and all(intake.drained for _, intake in intakes.values())
        for name, reason in flushes_due(looks, self._limits, stopping=last):
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
            if self._keeper.held.get(market) == work.lease:
                self._keeper.lose(market)
        except Conflict as conflict:
            metrics.CONFLICTS.labels(**metrics.stream_labels(market, stream)).inc()
            log.warning("cursor moved, opening the stream again", market=market.name, reason=str(conflict))
            work.intakes.pop(stream, None)

    def _collect(self) -> None:
        """Takes note of finished tasks; raises what a task did not expect."""
        for work in self._works.values():
            for stream, task in list(work.tasks.items()):
                if task.done():
                    del work.tasks[stream]
                    work.writing.pop(stream, None)
                    task.result()

    # accounts

    def _intakes(self) -> Iterator[tuple[MarketWork, Intake]]:
        return ((work, intake) for work in self._works.values() for intake in work.intakes.values())

    def _held_bytes(self) -> int:
        runs = [intake.run for _, intake in self._intakes()]
        runs += [run for work in self._works.values() for run in work.writing.values()]
        return sum(run.memory_bytes for run in runs)

    async def _tell_lag(self, finished: asyncio.Event) -> None:
        while not await pause(finished, LAG_EVERY_SECONDS):
            for work, intake in list(self._intakes()):
                await self._tell_lag_of(work, intake)

    async def _tell_lag_of(self, work: MarketWork, intake: Intake) -> None:
        market, stream = work.lease.market, intake.stream
        try:
            lag = (await self._log.cursor(market, stream, GROUP)).lag
        except (RedisError, LookupError):
            return  # the loop itself tells of these
        if work is self._works.get(market):
            oldest = work.writing.get(stream, intake.run).first_id
            age = max(0.0, self._wall_clock() - int(oldest.split("-")[0]) / 1000) if oldest else 0.0
            metrics.tell_lag(market, stream, lag, age)
