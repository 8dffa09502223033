"""Carries out the tasks of many markets at a time, those of one market in order."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from msgspec.structs import replace

from daedalus.etl.market_run import MarketRun
from daedalus.etl.problems import EtlError, Occupied, UsageError
from daedalus.etl.quarantine import as_found
from daedalus.etl.report import Report
from daedalus.etl.task import Bench, Task, TaskDone
from daedalus.etl.workers import Workers
from daedalus_common.lake import covered_by
from daedalus_common.stores import ObjectMissing, ObjectStore
from daedalus_features import SchemaError

_TICK_SECONDS = 0.2

Tick = Callable[[Report], None]
"""Called several times a second."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    run: MarketRun
    task: Task


class Runner:
    """Submits tasks until there are none left, or until told to stop: then those under way are finished first."""

    def __init__(
        self, workers: Workers, bench: Bench, bronze: ObjectStore | None, report: Report, stop: Event, tick: Tick
    ) -> None:
        self._workers = workers
        self._bench = bench
        self._bronze = bronze
        self._report = report
        self._stop = stop
        self._tick = tick

    def carry_out(self, runs: Iterable[MarketRun]) -> None:
        """Raises the first error of a task or its planning, once the other tasks under way have ended and are kept."""
        waiting = deque(runs)
        under_way: dict[Future[TaskDone], _UnderWay] = {}
        errors: list[BaseException] = []
        while True:
            while waiting and len(under_way) < self._workers.slots and not errors and not self._stop.is_set():
                try:
                    self._begin(waiting.popleft(), under_way)
                except Exception as error:
                    errors.append(error)
            if not under_way:
                break
            ended, _ = wait(under_way, _TICK_SECONDS, FIRST_COMPLETED)
            for future in ended:
                work = under_way.pop(future)
                try:
                    self._end(work, future)
                    waiting.append(work.run)
                except Exception as error:
                    errors.append(self._workers.translated(error))
            self._tick(self._report)
        if errors:
            raise errors[0]

    def _begin(self, run: MarketRun, under_way: dict[Future[TaskDone], _UnderWay]) -> None:
        self._delete(run)
        task = run.next_task()
        market = self._report.of(run.market)
        market.held_back = run.held_back
        market.checkpoint = run.checkpoint
        if task is not None:
            future = self._workers.submit(self._bench, task, run.checkpoint.state, dict(run.counters))
            under_way[future] = _UnderWay(run, task)

    def _end(self, work: _UnderWay, future: Future[TaskDone]) -> None:
        try:
            done = future.result()
        except Occupied:
            work.run.refused()
            raise
        except SchemaError as error:
            raise UsageError(
                f"{work.run.market.name}: {error}; give --restart (with --replace) to compute it anew, or "
                "--parameters config to leave recorded parameters aside"
            ) from error
        except ObjectMissing as error:
            raise EtlError(
                f"{work.run.market.name}: {error}: a segment that was listed is gone; give --restart (with --replace) "
                "to compute the market from what is there now"
            ) from error
        if done.bad_segments and self._bronze is not None:
            done = replace(done, bad_segments=as_found(self._bronze, done.bad_segments))
        work.run.done(work.task, done)
        market = self._report.of(work.run.market)
        market.add(work.task, done, work.task.day or _day(done.last_ts))
        market.checkpoint = work.run.checkpoint
        self._delete(work.run)

    def _delete(self, run: MarketRun) -> None:
        """Segments of finished tasks; also those that a crash has left."""
        keys = run.checkpoint.deleting
        if not keys or self._bronze is None:
            return
        for key in keys:
            # What a merged segment covers would count again without it.
            for covered in covered_by(self._bronze, key):
                self._bronze.delete(covered)
            self._bronze.delete(key)
        self._report.of(run.market).deleted += len(keys)
        run.deleted()


def _day(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).date().isoformat()
