"""Carries out `daedalus up`: session, signals, screen, summary, exit code."""

import asyncio
import json
import random
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Console

from daedalus.cli.screen import show_lines, show_live
from daedalus.embedded.layout import DataDir, Layout, write_private
from daedalus.embedded.preparing import Chance, prepare
from daedalus.embedded.run import Outcome, Parts
from daedalus.embedded.session import Session
from daedalus.embedded.settings import Settings
from daedalus.supervisor.supervisor import Failure, Notice

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
_FILE_WIDTH = 160
EXIT_KILLED = 128 + signal.SIGINT


@dataclass(frozen=True, slots=True)
class Manner:
    """How to run, beside what."""

    duration: timedelta | None
    seed: int
    as_json: bool
    display: bool


def run_up(settings: Settings, manner: Manner, env: Mapping[str, str]) -> int:
    """The exit code. Raises ConfigError, DataDirError, NoServer, SessionError or StoreError, each with a clear text."""
    chance = Chance(random.Random(), secrets.token_urlsafe(24))
    with DataDir(settings.data_dir) as data_dir:
        parts = prepare(settings, data_dir, env, chance, manner.seed, manner.duration)
        errors = Console(stderr=True)
        outcome = asyncio.run(_run(parts, manner, errors))
        if outcome is None:
            errors.print("killed: what was published is in the server's file; start again to store it", highlight=False)
            return EXIT_KILLED
        return _conclude(outcome, parts, settings.demo, manner, errors)


async def _run(parts: Parts, manner: Manner, errors: Console) -> Outcome | None:
    """None when it was killed."""
    stop, main = asyncio.Event(), asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks us to outlive the terminal
            loop.add_signal_handler(number, on_signal)

    log = parts.surroundings.layout.log("daedalus")

    def notify(notice: Notice) -> None:
        with suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {notice.service} {notice.text}\n")
        if not manner.display:
            errors.print(f"{notice.service} {notice.text}", soft_wrap=True, highlight=False, markup=False)

    session = Session(parts, stop, notify)
    screen = asyncio.create_task((show_live if manner.display else show_lines)(session, errors))
    try:
        return await session.run()
    except asyncio.CancelledError:
        return None
    finally:
        screen.cancel()
        (end,) = await asyncio.gather(screen, return_exceptions=True)
        if isinstance(end, Exception):
            errors.print(f"the display failed: {end!r}", highlight=False, markup=False)


def _conclude(outcome: Outcome, parts: Parts, demo: bool, manner: Manner, errors: Console) -> int:
    layout = parts.surroundings.layout
    if outcome.failure is not None:
        _tell_failure(outcome.failure, layout, errors)
    if outcome.recording:
        reconciled = _summarize(outcome, parts, demo, manner)
    else:
        reconciled = None
        errors.print("stopped before recording began", highlight=False)
    if outcome.failure is not None:
        return EXIT_CONFIGURATION if outcome.failure.exit_code == EXIT_CONFIGURATION else EXIT_FAILED
    return EXIT_FAILED if reconciled is False else EXIT_OK


def _summarize(outcome: Outcome, parts: Parts, demo: bool, manner: Manner) -> bool | None:
    # Not at the top: pyarrow costs 60 MiB, which a supervisor of weeks need not hold.
    from daedalus.summary.building import summarize
    from daedalus.summary.report import render_summary, to_json

    layout = parts.surroundings.layout
    summary = summarize(outcome, parts.surroundings.config, layout.root, demo)
    text = json.dumps(to_json(summary), indent=2)
    write_private(layout.summary, text + "\n")
    if outcome.ledger is not None:
        write_private(layout.ledger, outcome.ledger.decode())
    if manner.as_json:
        print(text)
    else:
        # A file or a pipe has no width: nothing is cut off there.
        console = Console(highlight=False)
        console.print(render_summary(summary), width=None if console.is_terminal else _FILE_WIDTH)
    return summary.reconciled


def _tell_failure(failure: Failure, layout: Layout, errors: Console) -> None:
    log = layout.log(failure.service)
    lines = [f"the {failure.service} {failure.reason}; its last lines, from {log}:"]
    lines += [f"  {line}" for line in failure.last_lines] or ["  (it wrote nothing)"]
    errors.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)
