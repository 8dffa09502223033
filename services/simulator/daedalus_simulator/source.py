"""Where frames come from: what a synthetic market and a replayed recording have in common."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from daedalus_simulator.frames import Stream
from daedalus_simulator.instrument import Instrument
from daedalus_simulator.market import Snapshot


class SourceError(Exception):
    """A control request the source cannot serve; the text says why."""


class SnapshotUnavailable(Exception):
    """There is no book to answer a depth request with (yet); the text says why."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What a burst generated: counts, and the first and last ids (None where there were none)."""

    trades: int
    depth: int
    trade_ids: tuple[int, int] | None
    depth_ids: tuple[int, int] | None
    seconds: float


class Source(Protocol):
    """Produces frames for the exchange until stopped."""

    @property
    def name(self) -> str: ...

    @property
    def instruments(self) -> Mapping[str, Instrument]: ...

    async def run(self) -> None:
        """Produce; ends when the source is stopped."""

    async def snapshot(self, instrument_id: str) -> Snapshot:
        """The book as it is now, all levels. Raises ``SnapshotUnavailable``."""

    def snapshot_delivered(self, instrument_id: str) -> None:
        """The answer to a depth request has been written to its socket."""

    def subscribed(self, stream: Stream) -> None:
        """A client has subscribed (again) to a stream, and has been told so."""

    async def pause(self) -> None:
        """Hold the market; returns when nothing more is being sent. What has changed is sent first."""

    def resume(self) -> None:
        """Raises ``SourceError`` after a stop."""

    async def stop(self) -> None:
        """Pause for good."""

    async def burst(self, instrument_id: str, trades: int, depth: int) -> Burst:
        """Send that many frames at once. Raises ``SourceError`` where the source cannot."""

    def status(self) -> dict[str, object]:
        """Progress, as JSON."""


class Gate:
    """Running, paused or stopped."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.stopped = False

    @property
    def running(self) -> bool:
        return self._open.is_set() and not self.stopped

    @property
    def state(self) -> str:
        return "stopped" if self.stopped else "running" if self.running else "paused"

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        if self.stopped:
            raise SourceError("the source was stopped for good; start a new simulator")
        self._open.set()

    def stop(self) -> None:
        """Waiters are let through: they see ``stopped`` and end."""
        self.stopped = True
        self._open.set()

    async def wait(self) -> None:
        await self._open.wait()
