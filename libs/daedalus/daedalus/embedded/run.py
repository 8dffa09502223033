"""What the parts of one run share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from daedalus.embedded.services import Surroundings
from daedalus.embedded.telemetry import Counters
from daedalus.supervisor.process import Command
from daedalus.supervisor.supervisor import Failure, Notice, Supervisor
from daedalus_common.broker.client import Client
from daedalus_common.config import Config
from daedalus_common.markets import Market


class SessionError(Exception):
    """The run cannot begin; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run consists of. `valkey` is None with a server of the user's, `simulator` without --demo."""

    surroundings: Surroundings
    valkey: Command | None
    simulator: Command | None
    simulator_url: str
    duration: timedelta | None
    """How long to record; None = until told to stop."""


@dataclass(slots=True)
class Outcome:
    """What a run left behind beside its files."""

    started: datetime
    seq_before: dict[Market, int] = field(default_factory=dict)
    """The last number of each market's sequence before the run; 0 for a new market."""
    seq_after: dict[Market, int] = field(default_factory=dict)
    """The same at its end; empty where the server could not be asked."""
    recorded_for: timedelta = timedelta()
    recording: bool = False
    """Whether it came to record at all."""
    ledger: bytes | None = None
    """The simulator's answer to `GET /control/ledger`."""
    drops: int = 0
    bad_frames: int = 0
    dead_letters: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    failure: Failure | None = None


@dataclass(slots=True)
class Run:
    """A run in progress."""

    parts: Parts
    supervisor: Supervisor
    client: Client
    stop: asyncio.Event
    """Set by whoever wants the run to end."""
    outcome: Outcome
    notify: Callable[[Notice], None]
    """Takes what an operator should read."""
    counters: Counters = field(default_factory=Counters)
    phase: str = "starting"

    @property
    def config(self) -> Config:
        return self.parts.surroundings.config

    @property
    def markets(self) -> tuple[Market, ...]:
        return tuple(settings.market for settings in self.config.markets())

    @property
    def over(self) -> bool:
        """Whether there is no point in going on."""
        return self.stop.is_set() or self.supervisor.failure is not None
