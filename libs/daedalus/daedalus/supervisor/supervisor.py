"""Keeps children running: one loop that looks at each of them and does what the policy says."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from daedalus.supervisor.policy import (
    GiveUp,
    History,
    MemoryAction,
    MemoryLimits,
    MemoryState,
    RestartPolicy,
    after_exit,
    describe_exit,
    judge_memory,
)
from daedalus.supervisor.process import Command, Process, Usage, rotate_log

_TICK_SECONDS = 0.1
_SAMPLE_SECONDS = 1.0
_MIB = 1024 * 1024


class State(StrEnum):
    """Where a child is in its life."""

    NEW = "new"
    RUNNING = "running"
    WAITING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened to a child and that an operator should read."""

    service: str
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A child that starting again would not help; `last_lines` is the end of what it wrote."""

    service: str
    reason: str
    exit_code: int
    last_lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """What the display shows of a child. `uptime` is of the running process, None if there is none."""

    name: str
    state: State
    pid: int | None
    uptime: timedelta | None
    restarts: int
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What every child is held to."""

    restart: RestartPolicy
    memory: MemoryLimits
    shutdown_timeout: timedelta


@dataclass(slots=True)
class _Child:
    command: Command
    limits: MemoryLimits
    state: State = State.NEW
    process: Process | None = None
    started: float = 0.0
    start_at: float = 0.0
    kill_at: float = 0.0
    start_again: bool = False
    """When it has stopped: it was asked to only because it grew too large."""
    restarts: int = 0
    history: History = field(default_factory=History)
    memory: MemoryState = field(default_factory=MemoryState)
    usage: Usage | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no process runs."""


class Supervisor:
    """Children by name. Nothing but `run` changes their state between calls; call everything from one event loop,
    in the main thread."""

    def __init__(
        self, rules: Rules, notify: Callable[[Notice], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = rules
        self._notify = notify
        self._clock = clock
        self._children: dict[str, _Child] = {}
        self._sampled = clock()
        self.failure: Failure | None = None
        """Set once, by the first child that cannot be kept running."""
        self.failed = asyncio.Event()

    def start(self, command: Command, *, restart_when_large: bool = True) -> None:
        """Starts a child and keeps it running from now on. Raises OSError where it cannot be started at all.

        `restart_when_large=False` for what would load the same data again: then a critical size is only a warning.
        """
        limits = self._rules.memory
        if not restart_when_large:
            limits = replace(limits, critical_size_bytes=sys.maxsize)
        child = self._children[command.name] = _Child(command, limits)
        self._launch(child)

    async def run(self) -> None:
        """The loop; ends only by cancellation, and then leaves the children as they are."""
        while True:
            self._turn()
            await asyncio.sleep(_TICK_SECONDS)

    async def stop(self, name: str) -> int | None:
        """SIGTERM, and SIGKILL after the shutdown timeout; returns the exit code, None if it did not run.

        `run` must be running.
        """
        child = self._children.get(name)
        if child is None:
            return None
        if child.process is None:
            child.state = State.FAILED if child.state is State.FAILED else State.STOPPED
            return None
        child.start_again = False
        if child.state is not State.STOPPING:
            self._ask_to_stop(child)
        process = child.process
        await child.ended.wait()
        return process.exit_code()

    def kill_all(self) -> None:
        """Ends every child at once, newest first."""
        for child in reversed(self._children.values()):
            if child.process is not None:
                child.process.kill()
                child.process = None
                child.ended.set()
            child.state = State.STOPPED

    def status(self) -> tuple[ChildStatus, ...]:
        """All children in the order of their start."""
        return tuple(self._status(name, child) for name, child in self._children.items())

    def keeps(self, name: str) -> bool:
        """Whether the child runs or will be started again."""
        child = self._children.get(name)
        return child is not None and child.state in (State.RUNNING, State.WAITING, State.STOPPING)

    def running(self, name: str) -> Process | None:
        """The process of a child, None if it has none now."""
        child = self._children.get(name)
        return child.process if child is not None else None

    def _status(self, name: str, child: _Child) -> ChildStatus:
        process = child.process
        uptime = timedelta(seconds=self._clock() - child.started) if process else None
        usage = child.usage if process else None
        return ChildStatus(name, child.state, process.pid if process else None, uptime, child.restarts, usage)

    def _turn(self) -> None:
        now = self._clock()
        sample = now - self._sampled >= _SAMPLE_SECONDS
        if sample:
            self._sampled = now
        for child in self._children.values():
            if child.process is not None:
                self._look_at(child, child.process, now, sample)
            elif child.state is State.WAITING and now >= child.start_at:
                self._relaunch(child)

    def _look_at(self, child: _Child, process: Process, now: float, sample: bool) -> None:
        code = process.exit_code()
        if code is not None:
            self._ended(child, process, code, now)
        elif child.state is State.STOPPING:
            if now >= child.kill_at:
                self._say(child, f"did not stop within {self._rules.shutdown_timeout.total_seconds():g} s: killed")
                process.kill()
        elif sample:
            rotate_log(child.command.log)
            self._measure(child, process)

    def _measure(self, child: _Child, process: Process) -> None:
        usage = process.usage()
        if usage is None:
            return
        child.usage = usage
        action, child.memory = judge_memory(usage.rss_bytes, child.memory, child.limits)
        size, limits = usage.rss_bytes // _MIB, child.limits
        if action is MemoryAction.WARN:
            self._say(child, f"uses {size} MiB (warning at {limits.warning_size_bytes // _MIB} MiB)")
        elif action is MemoryAction.RESTART:
            self._say(child, f"uses {size} MiB (critical at {limits.critical_size_bytes // _MIB} MiB): restarting it")
            child.start_again = True
            self._ask_to_stop(child)

    def _ask_to_stop(self, child: _Child) -> None:
        assert child.process is not None
        child.state = State.STOPPING
        child.kill_at = self._clock() + self._rules.shutdown_timeout.total_seconds()
        child.process.terminate()

    def _ended(self, child: _Child, process: Process, code: int, now: float) -> None:
        child.process = child.usage = None
        child.ended.set()
        if child.state is State.STOPPING and not child.start_again:
            child.state = State.STOPPED
            return
        if child.state is State.STOPPING:
            child.start_again = False
            self._wait(child, now)
            return
        decision = after_exit(code, timedelta(seconds=now - child.started), child.history, self._rules.restart)
        if isinstance(decision, GiveUp):
            child.state = State.FAILED
            self._fail(Failure(child.command.name, decision.reason, code, process.last_lines()))
            return
        child.history = decision.history
        delay = decision.delay.total_seconds()
        self._say(child, f"ended unasked ({describe_exit(code)}); starting it again in {delay:g} s")
        self._wait(child, now + delay)

    def _wait(self, child: _Child, start_at: float) -> None:
        child.state, child.start_at = State.WAITING, start_at

    def _relaunch(self, child: _Child) -> None:
        child.restarts += 1
        try:
            self._launch(child)
        except OSError as error:  # no memory or process left: not the child's fault
            self._say(child, f"cannot be started: {os.strerror(error.errno or 0)}")
            self._wait(child, self._clock() + self._rules.restart.max_delay.total_seconds())

    def _launch(self, child: _Child) -> None:
        child.process = Process(child.command)
        child.ended.clear()
        child.state, child.started, child.memory = State.RUNNING, self._clock(), MemoryState()
        refused = child.process.apply_priority()
        if refused is not None and child.restarts == 0:
            self._say(child, refused)

    def _fail(self, failure: Failure) -> None:
        if self.failure is None:
            self.failure = failure
            self.failed.set()

    def _say(self, child: _Child, text: str) -> None:
        self._notify(Notice(child.command.name, text))


def restarts(statuses: tuple[ChildStatus, ...]) -> Mapping[str, int]:
    """Restarts of each child that had any."""
    return {status.name: status.restarts for status in statuses if status.restarts}
