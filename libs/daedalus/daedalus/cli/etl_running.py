"""Carries out `daedalus etl`: orders, signals, progress, report, exit code."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import FrameType

from rich.console import Console

from daedalus.cli.etl_plan import print_plan
from daedalus.cli.etl_report import render_report
from daedalus.etl.executor import TransformExecutor
from daedalus.etl.filters import FilterSpec
from daedalus.etl.order import Order
from daedalus.etl.problems import EtlError, UsageError
from daedalus.etl.progress import ProgressBar, ProgressLines, Sizing
from daedalus.etl.report import Report, to_json
from daedalus.etl.targets import parse_targets, targets_of
from daedalus.etl.task import Parameters
from daedalus.etl.watch import watching
from daedalus_common.config import ConfigError, load_config
from daedalus_common.stores import StoreDenied, StoreError, StoreMisconfigured
from daedalus_features import ExtensionError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_REJECTED = 3
_SIGNALLED = 128
_FILE_WIDTH = 10_000
"""A pipe has no width: a line there is one that grep finds, however long."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The command line, not yet checked against a configuration."""

    targets: tuple[str, ...] | None
    """None: all that the configuration enables."""
    config: Path | None
    input: tuple[str, ...]
    output: str | None
    state_dir: Path | None
    filters: FilterSpec
    limit: int | None
    workers: int
    cluster: str | None
    parameters: Parameters
    replace: bool
    restart: bool


@dataclass(frozen=True, slots=True)
class Manner:
    """How the report is shown."""

    as_json: bool
    by_day: bool = False


class Stop(Event):
    """Set by the first signal; a second one ends the process at once, which loses nothing but time."""

    def __init__(self) -> None:
        super().__init__()
        self.number: int | None = None

    def on_signal(self, number: int, _: FrameType | None) -> None:
        if self.is_set():
            os.write(2, b"stopped at once; the same command goes on\n")
            os._exit(_SIGNALLED + number)
        self.number = number
        self.set()
        os.write(2, b"stopping once the tasks under way are done (again: at once)\n")


def run_once(wishes: Wishes, manner: Manner, env: Mapping[str, str], *, dry_run: bool = False) -> int:
    """`run` and `backfill`; the exit code."""

    def work(stop: Stop, errors: Console) -> int:
        executor, order = _prepared(wishes, env)
        if dry_run:
            print_plan(executor.plan(order), manner.as_json, _console())
            return EXIT_OK
        show = ProgressBar if errors.is_terminal else ProgressLines
        with (
            executor.open(order) as session,
            Sizing(session.remaining_bytes) as sizing,
            show(errors, sizing) as progress,
        ):
            report = session.run(stop, progress.tick)
        report.interrupted = stop.number
        _show(report, manner)
        return exit_code(report)

    return _guarded(work)


def run_watching(wishes: Wishes, manner: Manner, env: Mapping[str, str], poll_seconds: float) -> int:
    """`watch`; the exit code."""

    def work(stop: Stop, errors: Console) -> int:
        executor, order = _prepared(wishes, env)
        if executor.places.input.store is None:
            raise UsageError("watch reads Bronze; NDJSON files are for `daedalus etl run`")

        def tell(text: str) -> None:
            errors.print(text, highlight=False, markup=False, soft_wrap=True)

        with executor.open(order) as session:
            tell(f"watching {executor.places.input.text} every {poll_seconds:g} s; Ctrl-C stops")
            for report in watching(session, poll_seconds, stop, tell):
                if manner.as_json:
                    print(json.dumps(to_json(report)), flush=True)
                elif report.events:
                    _show(report, manner)
        return _SIGNALLED + stop.number if stop.number else EXIT_OK

    return _guarded(work)


def exit_code(report: Report) -> int:
    """Of a run that did not fail."""
    if report.interrupted is not None:
        return _SIGNALLED + report.interrupted
    return EXIT_REJECTED if report.rejected else EXIT_OK


def _prepared(wishes: Wishes, env: Mapping[str, str]) -> tuple[TransformExecutor, Order]:
    config = load_config(wishes.config, env)
    if wishes.config is None:
        missing = [name for name, given in (("--input", wishes.input), ("--output", wishes.output)) if not given]
        if missing:
            raise UsageError(f"{' and '.join(missing)} missing: give it, or --config FILE")
    executor = TransformExecutor.from_config(
        config, input=wishes.input, output=wishes.output, state_dir=wishes.state_dir
    )
    enabled = targets_of(config.etl.channels.enabled)
    order = Order(
        targets=enabled if wishes.targets is None else parse_targets(wishes.targets),
        filters=wishes.filters,
        limit=wishes.limit,
        parameters=wishes.parameters,
        replace=wishes.replace,
        restart=wishes.restart,
        workers=wishes.workers,
        cluster=wishes.cluster,
    )
    return executor, order


def _show(report: Report, manner: Manner) -> None:
    if manner.as_json:
        print(json.dumps(to_json(report), indent=2), flush=True)
        return
    _console().print(render_report(report, manner.by_day))
    if report.interrupted is not None:
        print(f"stopped; run the same command again to go on (checkpoints: {report.state})", file=sys.stderr)


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)


def _guarded(work: Callable[[Stop, Console], int]) -> int:
    errors = Console(stderr=True)
    try:
        with _signals() as stop:
            return work(stop, errors)
    except ConfigError as error:
        text, code = str(error), EXIT_CONFIGURATION
    except (UsageError, ExtensionError, StoreMisconfigured) as error:
        text, code = f"daedalus etl: {error}", EXIT_CONFIGURATION
    except (EtlError, StoreError) as error:
        text, code = f"daedalus etl: {error}", EXIT_FAILED
        if not isinstance(error, StoreDenied):
            text += "\nwhat was finished is kept: run the same command again to go on"
    errors.print(text, highlight=False, markup=False, soft_wrap=True)
    return code


@contextmanager
def _signals() -> Iterator[Stop]:
    stop = Stop()
    before = {number: signal.signal(number, stop.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
