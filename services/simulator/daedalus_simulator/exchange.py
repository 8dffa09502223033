"""The state of the exchange: who is subscribed to what, what was sent, and which faults are on."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import WSCloseCode

from daedalus_simulator.clock import Clock
from daedalus_simulator.connection import Connection
from daedalus_simulator.faults import Drop, Fault, Skip, Stall, Status, Text, fault_json, fault_kind
from daedalus_simulator.frames import CHANNELS, Channel, Frame, Stream
from daedalus_simulator.ledger import InstrumentLedger

_FRAMES_PER_TURN = 128
"""A flood hands the event loop back this often (about 1 ms): REST, pings and other connections stay alive."""
_FAULTS_KEPT = 1000
_ENDINGS_KEPT = 10_000

Recorder = Callable[[str, Frame], None]


@dataclass(slots=True)
class _ActiveStatus:
    status: Status
    left: int | None
    until: float | None


class Exchange:
    """Publishes frames to subscribers and keeps the ledger."""

    def __init__(self, clock: Clock, ledger_limit: int) -> None:
        self._clock = clock
        self._ledger_limit = ledger_limit
        self._subscribers: dict[Stream, list[Connection]] = {}
        self._wanted: dict[str, frozenset[Channel]] = {}
        self._skips: dict[Stream, int] = {}
        self._statuses: list[_ActiveStatus] = []
        self._since_turn = 0
        self._everything: frozenset[Channel] | None = None
        self._recorder: Recorder | None = None
        self.connections: set[Connection] = set()
        self.connections_opened = 0
        self.endings: deque[tuple[int, tuple[Stream, ...]]] = deque(maxlen=_ENDINGS_KEPT)
        """When connections ended, by the wall clock in ns, and what they were subscribed to."""
        self.bytes_sent = 0
        self.ledgers: dict[str, InstrumentLedger] = {}
        self.faults: deque[dict[str, object]] = deque(maxlen=_FAULTS_KEPT)
        self.fault_counts: Counter[str] = Counter()

    def record(self, recorder: Recorder) -> None:
        """Give every frame of every stream, subscribed or not, to ``recorder``."""
        self._recorder = recorder
        self._everything = frozenset(CHANNELS)

    def ledger(self, instrument_id: str) -> InstrumentLedger:
        found = self.ledgers.get(instrument_id)
        if found is None:
            found = self.ledgers[instrument_id] = InstrumentLedger(self._ledger_limit)
        return found

    def wanted(self, instrument_id: str) -> frozenset[Channel]:
        """The channels whose frames are worth building."""
        return self._everything or self.subscribed(instrument_id)

    def subscribed(self, instrument_id: str) -> frozenset[Channel]:
        return self._wanted.get(instrument_id, frozenset())

    def subscriptions(self) -> dict[Stream, int]:
        """Subscribers per stream."""
        return {stream: len(connections) for stream, connections in self._subscribers.items()}

    def stalled(self, instrument_id: str) -> bool:
        """Whether any client of the instrument is stalled."""
        return any(c.stalled(instrument_id) and c.watches(instrument_id) for c in self.connections)

    def connect(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.connections_opened += 1

    def disconnect(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection.streams:
            self.endings.append((time.time_ns(), tuple(connection.streams.values())))
        for name in list(connection.streams):
            self.unsubscribe(connection, name)

    def subscribe(self, connection: Connection, name: str, stream: Stream) -> None:
        """Idempotent: a second subscription of a connection changes nothing."""
        connection.streams[name] = stream
        subscribers = self._subscribers.setdefault(stream, [])
        if connection not in subscribers:
            subscribers.append(connection)
        self._note_wanted(stream[0])

    def unsubscribe(self, connection: Connection, name: str) -> None:
        stream = connection.streams.pop(name, None)
        if stream is None or stream in connection.streams.values():
            return
        self._subscribers[stream].remove(connection)
        if not self._subscribers[stream]:
            del self._subscribers[stream]
        self._note_wanted(stream[0])

    async def publish(self, instrument_id: str, frames: Sequence[Frame]) -> None:
        """Send frames, in order, to whoever is subscribed, as fast as the slowest of them reads."""
        for frame in frames:
            if self._recorder is not None:
                self._recorder(instrument_id, frame)
            stream = (instrument_id, frame.channel)
            subscribers = self._subscribers.get(stream)
            if not subscribers:
                continue
            ledger = self.ledger(instrument_id).channel(frame.channel)
            ledger.generated += 1
            if self._skips and self._skipped(stream):
                continue
            sent = 0
            for connection in tuple(subscribers):
                sent += await connection.send(instrument_id, frame.payload)
            if sent:
                ledger.add(frame)
                self.bytes_sent += sent * len(frame.payload)
            self._since_turn += 1
            if self._since_turn >= _FRAMES_PER_TURN:
                self._since_turn = 0
                await asyncio.sleep(0)

    async def fire(self, fault: Fault) -> int:
        """Make a fault happen; the number of connections it concerned (0 for skip and status)."""
        self.fault_counts[fault_kind(fault)] += 1
        self.faults.append({**fault_json(fault), "at_ms": self._clock.wall_ms()})
        if isinstance(fault, Skip):
            stream = (fault.symbol, fault.channel)
            self._skips[stream] = self._skips.get(stream, 0) + fault.count
            return 0
        if isinstance(fault, Status):
            until = None if fault.seconds is None else self._clock.monotonic() + fault.seconds
            self._statuses.append(_ActiveStatus(fault, fault.count, until))
            return 0
        targets = [c for c in self.connections if fault.symbol is None or c.watches(fault.symbol)]
        for connection in targets:
            await _inflict(fault, connection)
        return len(targets)

    def refusal(self, path: str, websocket: bool) -> Status | None:
        """The HTTP error to answer a request with, if a status fault is on for it."""
        now = self._clock.monotonic()
        self._statuses = [a for a in self._statuses if a.left != 0 and (a.until is None or a.until > now)]
        for active in self._statuses:
            if active.status.path in path and (active.status.websocket or not websocket):
                if active.left is not None:
                    active.left -= 1
                return active.status
        return None

    def _skipped(self, stream: Stream) -> bool:
        left = self._skips.get(stream, 0)
        if left == 0:
            return False
        self._skips[stream] = left - 1
        return True

    def _note_wanted(self, instrument_id: str) -> None:
        channels = (channel for instrument, channel in self._subscribers if instrument == instrument_id)
        self._wanted[instrument_id] = frozenset(channels)


async def _inflict(fault: Drop | Text | Stall, connection: Connection) -> None:
    match fault:
        case Drop(how="abort"):
            connection.abort()
        case Drop():
            await connection.close(WSCloseCode.SERVICE_RESTART, "dropped on request")
        case Text():
            await connection.send(fault.symbol, fault.text.encode())
        case Stall():
            connection.stall(fault.symbol, fault.seconds)
