"""One run: a seed, a stack, every cell once, and the oracle's judgement of all that was recorded."""

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import yaml

from daedalus.summary.ledger import Feed
from daedalus.summary.sent import parse_sent
from daedalus_common.config import MarketSettings
from daedalus_common.events import Channel
from faults.applying import MIN_EVENTS, Say, apply_round
from faults.cells import NOBODY_WATCHED, Cell, Window, nothing
from faults.evidence import Ending, Evidence, Violation
from faults.oracle import judge
from faults.rig import Rig
from faults.schedule import rounds
from faults.setup import setup_of
from faults.stores import ROLES as STORES

AUDIT_SECONDS = 120.0
CHANNELS = {"depth": Channel.ORDERBOOK, "trade": Channel.TRADES, "ticker": Channel.TICKER}
"""By the simulator's names."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run showed."""

    seed: int
    store: str
    seconds: float
    windows: tuple[Window, ...]
    missing: dict[str, str]
    """Why a cell was not applicable, by its name."""
    violations: tuple[Violation, ...]
    peaks: dict[str, int]
    error: str | None = None
    """Why the run came to no end; then nothing of it counts."""


def run_seed(seed: int, cells: Sequence[Cell], folder: Path, say: Say) -> Outcome:
    """Everything for one seed; its data stays in `folder`."""
    began = time.monotonic()
    rng = Random(seed)
    setup = setup_of(seed, cells)
    missing = {cell.name: reason for cell in cells if (reason := setup.missing(cell)) is not None}
    windows: list[Window] = []
    peaks: dict[str, int] = {}
    try:
        with Rig(folder, seed, setup) as rig:
            starting = time.time_ns()
            rig.wait_until_flowing()
            windows.append(own_window("start", starting))
            for round_ in rounds([cell for cell in cells if cell.name not in missing], rng):
                windows += apply_round(rig, round_, str(seed), say)
            evidence = collect(rig, windows, say)
            peaks = dict(rig.usage.peaks())
        violations = judge(evidence)
        say(f"judged: {sum(len(sent.ids) for sent in evidence.sent.values()):,} frames sent")
    except Exception:
        seconds, error = time.monotonic() - began, traceback.format_exc()
        return Outcome(seed, setup.store, seconds, tuple(windows), missing, (), peaks, error)
    return Outcome(
        seed, setup.store, time.monotonic() - began, tuple(windows), missing, tuple(violations), peaks
    )  # fmt: skip


HANDED_OVER = NOBODY_WATCHED | {"reconnect"}
"""A market that comes back, and whose subscription the exchange never confirmed to have ended, ends its connection."""


def own_window(name: str, began: int, gaps: frozenset[str] = HANDED_OVER) -> Window:
    """The harness's own doing, which gives markets owners too."""
    cell = Cell("stack", name, nothing, gaps=gaps)
    now = time.time_ns()
    return Window(cell, began, now, now, 0.0, MIN_EVENTS, None, None)


def collect(rig: Rig, windows: list[Window], say: Say) -> Evidence:
    """Stops everything in order; what it left behind."""
    stopping = time.time_ns()
    ledger = rig.stop()
    # The exchange falls silent first.
    windows.append(own_window("stop", stopping, HANDED_OVER | {"stale"}))
    say("everything is stopped")
    data = rig.lake.fetch()
    audited = audit(rig, data)
    say("fetched and audited")
    return Evidence(
        data=data,
        settings=rig.settings,
        sent=parse_sent(ledger, rig.settings).feeds,
        last_seq=rig.progress.sequences(),
        windows=tuple(windows),
        lives=tuple(rig.usage.lives),
        deaths=tuple(rig.deaths),
        endings=endings(ledger, rig.settings),
        lags=rig.progress.lags(),
        audit=audited,
    )


def endings(ledger: bytes, settings: Sequence[MarketSettings]) -> tuple[Ending, ...]:
    """The connections that ended, as the simulator saw it."""
    markets = {each.symbol: each.market for each in settings}
    return tuple(
        Ending(
            each["at_ns"],
            frozenset(Feed(markets[symbol], CHANNELS[name]) for symbol, name in each["streams"] if symbol in markets),
        )
        for each in json.loads(ledger)["ended"]
    )


def audit(rig: Rig, data: Path) -> str | None:
    """What `daedalus audit` finds wrong with the recording in `data`; None: it adds up."""
    path = rig.folder / "audited.yaml"
    store = {"backend": "local", "base_dir": str(data)}
    path.write_text(yaml.safe_dump(rig.stack.config | {"storage": dict.fromkeys(STORES, store)}))
    command = [sys.executable, "-m", "daedalus", "audit", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False)
    return None if done.returncode == 0 else f"daedalus audit ended with {done.returncode}:\n{done.stdout}{done.stderr}"
