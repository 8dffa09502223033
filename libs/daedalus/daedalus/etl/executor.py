"""The front of batch: a configuration in, tables out.

executor = TransformExecutor.from_config(config)
report = executor.run(["orderbook", "bars"], FilterSpec(symbol="BTC/USDT"), workers=2)
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Self

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus.etl.checkpoint import Checkpoint
from daedalus.etl.computing import extend, store_of
from daedalus.etl.filters import FilterSpec
from daedalus.etl.jobs import JobFolder
from daedalus.etl.locations import Input, input_of, location, output_of
from daedalus.etl.market_run import MarketRun
from daedalus.etl.ndjson import NdjsonInput, NdjsonScan
from daedalus.etl.order import Order, bench_of, check_order, chosen, job_of
from daedalus.etl.planning import Piece
from daedalus.etl.problems import UsageError
from daedalus.etl.report import Report
from daedalus.etl.run import Runner, Tick
from daedalus.etl.sources import NDJSON_TASK_EVENTS, BronzeTasks, NdjsonTasks, TaskSource
from daedalus.etl.targets import parse_targets
from daedalus.etl.task import Parameters, Task
from daedalus.etl.workers import Workers, local_workers
from daedalus_common.config import Config
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectStore, StoreSettings
from daedalus_features import FeatureConfig


def _no_tick(_: Report) -> None:
    """For whoever shows no progress."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    seconds: Callable[[], float] = time.monotonic
    token: Callable[[], str] = lambda: secrets.token_hex(3)


class TransformExecutor:
    """Computes tables from a recorded history, resumably, on this machine or on a cluster."""

    def __init__(
        self,
        config: Config,
        input_: Input,
        output: StoreSettings,
        state_dir: Path,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.input = input_
        self.output = output
        self.config = config
        self._state_dir = state_dir
        self._surroundings = surroundings or Surroundings()

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        input: str | Path | Sequence[str] = (),
        output: str | Path | None = None,
        state_dir: Path | None = None,
    ) -> Self:
        """Where it reads, writes and keeps its checkpoints: as given, else as the configuration says.

        `input` is a folder with Bronze, `s3://bucket/prefix`, or files or folders of NDJSON. Raises UsageError.
        """
        texts = (str(input),) if isinstance(input, str | Path) else tuple(input)
        return cls(
            config,
            input_of(texts, config),
            output_of(None if output is None else str(output), config, fsync=config.ingestion.enable_fsync),
            state_dir or config.storage.paths.state_dir,
        )

    def run(
        self,
        targets: str | Iterable[str],
        filters: FilterSpec = FilterSpec(),  # noqa: B008 frozen
        *,
        limit: int | None = None,
        workers: int = 1,
        cluster: str | None = None,
        parameters: Parameters = "recorded",
        replace: bool = False,
        restart: bool = False,
        stop: Event | None = None,
        tick: Tick = _no_tick,
    ) -> Report:
        """Computes what is missing. Raises UsageError for what cannot be, EtlError or StoreError for what fails.

        `targets` are orderbook, trades, ticker, bars, or all. `stop` ends it early: it finishes the tasks under way.
        `tick` is called several times a second with the report so far.
        """
        names = (targets,) if isinstance(targets, str) else targets
        order = Order(parse_targets(names), filters, limit, parameters, replace, restart, workers, cluster)
        with self.open(order) as session:
            return session.run(stop or Event(), tick)

    def plan(self, order: Order) -> "list[PlannedMarket]":
        """What a run would do. Writes nothing. Raises as `run`."""
        check_order(order, self.config, self.input)
        extend()
        folder = JobFolder(self._state_dir, job_of(order, self.config, self.input, self.output))
        with local_workers(1) as workers:
            return Session(self, order, folder, workers, self._surroundings).plan()

    @contextmanager
    def open(self, order: Order) -> "Iterator[Session]":
        """An order that is checked, with both stores tried out, the job locked and workers at hand."""
        check_order(order, self.config, self.input)
        extend()
        if self.input.store is not None:
            store_of(self.input.store)
        store_of(self.output).probe()
        folder = JobFolder(self._state_dir, job_of(order, self.config, self.input, self.output))
        with folder.locked(), _workers(order) as workers:
            yield Session(self, order, folder, workers, self._surroundings)


@contextmanager
def _workers(order: Order) -> Iterator[Workers]:
    if order.cluster is None:
        with local_workers(order.workers) as workers:
            yield workers
        return
    # Not at the top: Dask is an extra.
    from daedalus.etl.cluster import cluster_workers

    with cluster_workers(order.cluster) as workers:
        yield workers


@dataclass(frozen=True, slots=True)
class PlannedMarket:
    """What a run would read of one market: of Bronze days, segments and bytes, of NDJSON at most so many events."""

    market: Market
    days: tuple[str, ...]
    tasks: int
    segments: int
    size_bytes: int
    events: int
    held_back: int


class Session:
    """An order being carried out; `run` may be called again, to compute what has come since."""

    def __init__(
        self, executor: TransformExecutor, order: Order, folder: JobFolder, workers: Workers, around: Surroundings
    ) -> None:
        self._executor = executor
        self._order = order
        self._folder = folder
        self._workers = workers
        self._around = around
        self._runs: dict[Market, MarketRun] = {}
        self._bronze: ObjectStore | None = None if executor.input.store is None else store_of(executor.input.store)
        self._bench = bench_of(order, executor.config, executor.input, executor.output)

    def run(self, stop: Event, tick: Tick = _no_tick, *, patient: bool = False) -> Report:
        """One pass over all markets. `patient`: see `BronzeTasks`."""
        started = self._around.seconds()
        report = self.new_report()
        lines = None if self._bronze is not None else NdjsonInput(self._executor.input.files)
        scan = None if lines is None else lines.scan()
        if scan is not None:
            _take_in(report, scan)
        markets = self.markets() if scan is None else chosen(scan.markets, self._order.filters, "the input")
        for market in markets:
            source = self._source(market, lines, patient)
            if market in self._runs:
                self._runs[market].follow(source)
            else:
                self._runs[market] = self._begin(market, source)

        def timed_tick(shown: Report) -> None:
            shown.seconds = self._around.seconds() - started
            tick(shown)

        runner = Runner(self._workers, self._bench, self._bronze, report, stop, timed_tick)
        try:
            runner.carry_out([self._runs[market] for market in markets])
        finally:
            report.seconds = self._around.seconds() - started
        return report

    def new_report(self) -> Report:
        """One with nothing in it yet."""
        return Report(
            job=self._folder.id,
            input=self._executor.input.text,
            output=location(self._executor.output),
            state=str(self._folder.path),
            targets=tuple(target.value for target in self._order.targets),
        )

    def markets(self) -> list[Market]:
        """Of Bronze, those that the order is about. Raises UsageError for names that nothing has."""
        if self._bronze is None:
            return []
        catalog = BronzeCatalog(self._bronze)
        if self._order.filters.exchange is None and self._order.filters.symbol is None:
            return catalog.markets()
        found = catalog.markets(self._order.filters)
        return found or chosen(catalog.markets(), self._order.filters, self._executor.input.text)

    def remaining_bytes(self, given_up: Event) -> int:
        """Of Bronze, that all markets have from where their checkpoints are. Lists all of it, a day at a time."""
        if self._bronze is None:
            return 0
        catalog, total = BronzeCatalog(self._bronze), 0
        for market in self.markets():
            checkpoint = self._folder.read(market)
            after = None if checkpoint is None or checkpoint.hour is None else checkpoint.hour - 1
            read = set() if checkpoint is None else set(checkpoint.consumed)
            for hour in catalog.hours(market, self._order.filters, after):
                if given_up.is_set():
                    return total
                infos = (info for of_table in hour.segments.values() for info in of_table)
                total += sum(info.size_bytes for info in infos if info.key not in read)
        return total

    def plan(self) -> list[PlannedMarket]:
        """What `run` would do; reads nothing but listings and footers, writes nothing."""
        if self._bronze is None:
            return self._plan_of_lines()
        planned = []
        for market in self.markets():
            checkpoint = self._checkpoint(market)
            source = BronzeTasks(
                self._bronze, self._order.wanted, self._params, market, self._around.now(), patient=False
            )
            pieces = list(source.pieces(checkpoint))
            pending = [checkpoint.pending] if checkpoint.pending else []
            read: list[Task | Piece] = [*pending, *pieces]
            sizes = [size for each in read for size in each.sizes.values()]
            days = sorted({*(task.day for task in pending), *(piece.day.isoformat() for piece in pieces)})
            planned.append(
                PlannedMarket(
                    market, tuple(days), len(pending) + len(pieces), len(sizes), sum(sizes), 0, source.held_back
                )
            )
        return planned

    def _plan_of_lines(self) -> list[PlannedMarket]:
        scan = NdjsonInput(self._executor.input.files).scan()
        markets = chosen(scan.markets, self._order.filters, "the input")
        events = [(market, scan.events[market] - self._checkpoint(market).events) for market in markets]
        return [PlannedMarket(market, (), -(-left // NDJSON_TASK_EVENTS), 0, 0, left, 0) for market, left in events]

    def _checkpoint(self, market: Market) -> Checkpoint:
        found = None if self._order.restart else self._folder.read(market)
        return found or Checkpoint(market, f"{self._folder.id}-{self._around.token()}")

    def _begin(self, market: Market, source: TaskSource) -> MarketRun:
        deletes = self._executor.config.etl.delete_after_processing and self._bronze is not None
        return MarketRun(source, self._checkpoint(market), self._folder.write, deletes)

    def _source(self, market: Market, lines: NdjsonInput | None, patient: bool) -> TaskSource:
        wanted = self._order.wanted
        if self._bronze is None:
            if lines is None:
                raise UsageError("neither Bronze nor NDJSON files to read")
            return NdjsonTasks(lines, wanted, self._params, market)
        return BronzeTasks(self._bronze, wanted, self._params, market, self._around.now(), patient)

    def _params(self, market: Market) -> FeatureConfig:
        params = FeatureConfig(**self._executor.config.feature_parameters(market))
        return params.restricted([each for each in params.channels if each in self._bench.channels])


def _take_in(report: Report, scan: NdjsonScan) -> None:
    report.bad_lines = scan.bad.total
    report.first_bad_lines = tuple(map(str, scan.bad.first))
