"""An order being carried out: its markets, their tasks, and what came of them."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus.etl.checkpoint import Checkpoint
from daedalus.etl.computing import store_of
from daedalus.etl.jobs import JobFolder
from daedalus.etl.locations import location
from daedalus.etl.market_run import MarketRun
from daedalus.etl.ndjson import LineSums, NdjsonInput, NdjsonScan
from daedalus.etl.order import Order, Places, bench_of, check_names, chosen
from daedalus.etl.planning import Piece
from daedalus.etl.problems import UsageError
from daedalus.etl.quarantine import changed
from daedalus.etl.report import Report
from daedalus.etl.run import Runner, Tick
from daedalus.etl.sources import NDJSON_TASK_EVENTS, BronzeTasks, NdjsonTasks, TaskSource
from daedalus.etl.task import Task
from daedalus.etl.workers import Workers
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectStore
from daedalus_features import FeatureConfig

_SCAN_SECONDS = 0.1
"""Between looks whether a scan has ended."""


def no_tick(_: Report) -> None:
    """For whoever shows no progress."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    seconds: Callable[[], float] = time.monotonic
    token: Callable[[], str] = lambda: secrets.token_hex(3)


@dataclass(frozen=True, slots=True)
class PlannedMarket:
    """What a run would read of one market: of Bronze days, segments and bytes, of NDJSON events and bytes."""

    market: Market
    days: tuple[str, ...]
    tasks: int
    segments: int
    size_bytes: int
    events: int
    held_back: int


class Session:
    """An order being carried out; `run` may be called again, to compute what has come since."""

    def __init__(self, places: Places, order: Order, folder: JobFolder, workers: Workers, around: Surroundings) -> None:
        self._places = places
        self._order = order
        self._folder = folder
        self._workers = workers
        self._around = around
        self._runs: dict[Market, MarketRun] = {}
        self._bronze: ObjectStore | None = None if places.input.store is None else store_of(places.input.store)
        self._bench = bench_of(order, places)
        self._line_bytes: int | None = None
        """Of NDJSON, that are yet to be read; None before the first scan."""

    def run(self, stop: Event, tick: Tick = no_tick, *, patient: bool = False) -> Report:
        """One pass over all markets. `patient`: see `BronzeTasks`."""
        started = self._around.seconds()
        report = self.new_report()
        if not patient:
            self._check_there_is_bronze()
        scan = self._scan()
        if scan is not None:
            _take_in(report, scan)
        markets = self.markets() if scan is None else self._markets_of(scan)
        for market in markets:
            source = self._source(market, scan, patient)
            if market in self._runs:
                self._runs[market].follow(source)
            else:
                self._runs[market] = self._begin(market, source)
            checkpoint = self._runs[market].checkpoint
            source.check(checkpoint)
            if self._bronze is not None and checkpoint.bad_segments:
                report.of(market).changed = changed(self._bronze, checkpoint.bad_segments)
        if scan is not None:
            self._line_bytes = sum(_left(scan.sums[market], self._runs[market].checkpoint) for market in markets)

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
            input=self._places.input.text,
            output=location(self._places.output),
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
        return found or chosen(catalog.markets(), self._order.filters, self._places.input.text)

    def remaining_bytes(self, given_up: Event) -> int:
        """Of input, that all markets have from where their checkpoints are.

        Lists all of Bronze, a day at a time; of NDJSON it waits for the first scan.
        """
        if self._bronze is None:
            while self._line_bytes is None and not given_up.wait(_SCAN_SECONDS):
                pass
            return self._line_bytes or 0
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
        self._check_there_is_bronze()
        if self._bronze is None:
            return self._plan_of_lines(self._scan_of_lines())
        planned = []
        for market in self.markets():
            checkpoint = self._checkpoint(market)
            source = BronzeTasks(
                self._bronze, self._order.wanted, self._params, market, self._around.now(), patient=False
            )
            source.check(checkpoint)
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

    def _plan_of_lines(self, scan: NdjsonScan) -> list[PlannedMarket]:
        planned = []
        for market in self._markets_of(scan):
            checkpoint = self._checkpoint(market)
            self._lines(market, scan).check(checkpoint)
            left = scan.events[market] - checkpoint.events
            size_bytes = _left(scan.sums[market], checkpoint)
            planned.append(PlannedMarket(market, (), -(-left // NDJSON_TASK_EVENTS), 0, size_bytes, left, 0))
        return planned

    def _scan(self) -> NdjsonScan | None:
        """Of NDJSON, what there is now."""
        return None if self._bronze is not None else self._scan_of_lines()

    def _scan_of_lines(self) -> NdjsonScan:
        return NdjsonInput(self._places.input.files).scan()

    def _markets_of(self, scan: NdjsonScan) -> list[Market]:
        markets = chosen(scan.markets, self._order.filters, "the input")
        check_names(markets)
        return markets

    def _check_there_is_bronze(self) -> None:
        """A folder without any is likely another one than was meant; in a bucket nothing tells."""
        settings = self._places.input.store
        if settings is not None and settings.backend == "local" and not (settings.base_dir / "bronze").is_dir():
            raise UsageError(f"{settings.base_dir} holds neither bronze/ nor NDJSON files (.ndjson, .jsonl, also .gz)")

    def _checkpoint(self, market: Market) -> Checkpoint:
        found = None if self._order.restart else self._folder.read(market)
        return found or Checkpoint(market, f"{self._folder.id}-{self._around.token()}")

    def _begin(self, market: Market, source: TaskSource) -> MarketRun:
        deletes = self._places.config.etl.delete_after_processing and self._bronze is not None
        return MarketRun(source, self._checkpoint(market), self._folder.write, deletes)

    def _source(self, market: Market, scan: NdjsonScan | None, patient: bool) -> TaskSource:
        if scan is not None:
            return self._lines(market, scan)
        if self._bronze is None:
            raise UsageError("neither Bronze nor NDJSON files to read")
        return BronzeTasks(self._bronze, self._order.wanted, self._params, market, self._around.now(), patient)

    def _lines(self, market: Market, scan: NdjsonScan) -> NdjsonTasks:
        return NdjsonTasks(scan, self._order.wanted, self._params, market)

    def _params(self, market: Market) -> FeatureConfig:
        params = FeatureConfig(**self._places.config.feature_parameters(market))
        return params.restricted([each for each in params.channels if each in self._bench.channels])


def _left(sums: LineSums, checkpoint: Checkpoint) -> int:
    """Bytes of a market's lines behind a checkpoint."""
    return sums.size_bytes - sums.bytes_of(checkpoint.events)


def _take_in(report: Report, scan: NdjsonScan) -> None:
    report.bad_lines = scan.bad.total
    report.first_bad_lines = tuple(map(str, scan.bad.first))
