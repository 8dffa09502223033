"""How far a run is: a bar on a terminal, a line every few seconds elsewhere. All on stderr."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from threading import Event, Thread
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from daedalus.etl.problems import EtlError
from daedalus.etl.report import Report
from daedalus_common.stores import StoreError

_LINE_SECONDS = 5.0
_SELDOM_SECONDS = 60.0
_OFTEN_FOR_SECONDS = 60.0
_MEGABYTE = 1e6


class Sizing:
    """Finds out in the background how much there is to read; `total` is None until it is known."""

    def __init__(self, measure: Callable[[Event], int]) -> None:
        self.total: int | None = None
        self._given_up = Event()
        self._measure = measure
        self._thread = Thread(target=self._run, daemon=True, name="sizing")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            total = self._measure(self._given_up)
        except (EtlError, StoreError):
            return  # the run itself meets it too, and tells
        if not self._given_up.is_set():
            self.total = total


class ProgressBar(AbstractContextManager["ProgressBar"]):
    """On a terminal."""

    def __init__(self, console: Console, sizing: Sizing) -> None:
        self._sizing = sizing
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._bar = self._progress.add_task("computing", total=None, rate="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tick(self, report: Report) -> None:
        self._progress.update(
            self._bar,
            completed=read_bytes(report),
            total=self._sizing.total,
            description=f"{len(report.markets)} markets",
            rate=f"{rate(report):,.0f} events/s",
        )


class ProgressLines(AbstractContextManager["ProgressLines"]):
    """Where nobody looks at a terminal: every few seconds, after the first minute once a minute."""

    def __init__(self, console: Console, sizing: Sizing) -> None:
        self._console = console
        self._sizing = sizing
        self._due = _LINE_SECONDS

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def tick(self, report: Report) -> None:
        if report.seconds < self._due:
            return
        pause = _LINE_SECONDS if report.seconds < _OFTEN_FOR_SECONDS else _SELDOM_SECONDS
        self._due = report.seconds + pause
        self._console.print(progress_line(report, self._sizing.total), highlight=False, markup=False, soft_wrap=True)


def progress_line(report: Report, total_bytes: int | None) -> str:
    """`12 s: 3 markets, 35 MB of 120 MB, 1,200,000 events (100,000/s), 29 s left`."""
    done = read_bytes(report)
    of = "" if total_bytes is None else f" of {total_bytes / _MEGABYTE:,.0f} MB"
    left = time_left(done, total_bytes, report.seconds)
    rest = "" if left is None else f", {left.total_seconds():.0f} s left"
    return (
        f"{report.seconds:.0f} s: {len(report.markets)} markets, {done / _MEGABYTE:,.0f} MB{of}, "
        f"{report.events:,} events ({rate(report):,.0f}/s){rest}"
    )


def time_left(done_bytes: int, total_bytes: int | None, seconds: float) -> timedelta | None:
    """At the pace so far; None while nothing can be said."""
    if total_bytes is None or not done_bytes or seconds <= 0:
        return None
    return timedelta(seconds=seconds * max(0, total_bytes - done_bytes) / done_bytes)


def read_bytes(report: Report) -> int:
    """Of the input, by finished tasks."""
    return sum(market.amounts.input_bytes for market in report.markets.values())


def rate(report: Report) -> float:
    """Events a second since the run began."""
    return report.events / report.seconds if report.seconds > 0 else 0.0
