"""The source that replays a recording, at its own pace, faster, or as fast as the clients read.

All symbols share one timeline, by the local timestamps of their lines. A symbol begins when a client subscribes
to its depth (without depth: a while after its first subscription) or, with ``await_subscriptions``, when that
many streams are subscribed. At its recorded snapshot the tape waits until a client has fetched the depth, is
given exactly that snapshot, and has had time to digest it.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from daedalus_simulator.clock import Clock
from daedalus_simulator.exchange import Exchange
from daedalus_simulator.frames import DEPTH_CHANNELS, Stream
from daedalus_simulator.instrument import Instrument
from daedalus_simulator.market import Snapshot
from daedalus_simulator.source import Burst, Gate, SnapshotUnavailable, SourceError
from daedalus_simulator.tape import Recording, TapeFrame, TapeItem, TapeSnapshot
from daedalus_simulator.tapebook import TapeBook

_NEVER = float("inf")
_IDLE_SECONDS = 0.5
"""The longest the pump sleeps without looking again; every change that matters wakes it at once."""
_LATE_NS = 5_000_000_000
"""A symbol subscribed within 5 s of tape time keeps its place on the timeline; a later one is moved to now, lest it
rush through what it missed."""
_EARLY_DIFFS = 1000


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """``speed`` 1 is the recording's own pace, None as fast as the clients read."""

    speed: float | None = 1.0
    await_subscriptions: int = 0
    snapshot_wait_seconds: float = 8.0
    settle_seconds: float = 0.5
    start_grace_seconds: float = 2.0


@dataclass(slots=True)
class SymbolTape:
    """One symbol's place on the tape. ``hold_until`` and ``starts_at`` are monotonic seconds."""

    instrument: Instrument
    items: Iterator[TapeItem]
    head: TapeItem | None
    starts_at: float = _NEVER
    hold_until: float = 0.0
    shift_ns: int = 0
    lines: int = 0
    book: TapeBook | None = None
    recorded: Snapshot | None = None
    early: deque[TapeFrame] = field(default_factory=lambda: deque(maxlen=_EARLY_DIFFS))
    has_book: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ts_ns(self) -> int:
        """The next line's place on the common timeline."""
        assert self.head is not None
        return self.head.ts_ns + self.shift_ns

    def advance(self) -> TapeItem:
        assert self.head is not None
        item, self.head = self.head, next(self.items, None)
        self.lines += 1
        return item


class ReplaySource:
    """One task moves all symbols along the timeline."""

    name = "replay"

    def __init__(self, exchange: Exchange, recording: Recording, settings: ReplaySettings, clock: Clock) -> None:
        self._exchange = exchange
        self._recording = recording
        self._settings = settings
        self._clock = clock
        self._gate = Gate()
        self._changed = asyncio.Event()
        self._publishing = asyncio.Lock()
        self._anchor: tuple[float, int] | None = None
        self._position_ns = 0
        self._tapes: dict[str, SymbolTape] = {}
        for instrument_id, instrument in recording.instruments.items():
            items = recording.items(instrument_id)
            self._tapes[instrument_id] = SymbolTape(instrument, items, next(items, None))

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        return self._recording.instruments

    async def run(self) -> None:
        while not self._gate.stopped:
            await self._gate.wait()
            wait = await self._move()
            if wait > 0:
                self._changed.clear()
                await _first_of(self._changed, min(wait, _IDLE_SECONDS))

    async def snapshot(self, instrument_id: str) -> Snapshot:
        """The recorded snapshot while the tape stands at it, afterwards the book as rebuilt from the tape.

        A request that comes before the tape has reached its snapshot waits for it.
        """
        tape = self._tapes[instrument_id]
        ready = await _first_of(tape.has_book, self._settings.snapshot_wait_seconds)
        if not ready or tape.book is None:
            raise SnapshotUnavailable(
                f"the recording of {instrument_id} has not come to a depth snapshot: subscribe to its streams first"
            )
        return tape.recorded or tape.book.snapshot()

    def snapshot_delivered(self, instrument_id: str) -> None:
        """The client has the answer in its socket but has still to parse it (10-30 ms for 1000 levels, more on a
        busy machine) before it can apply an update by itself instead of merging it into the snapshot. Nothing
        tells when it is done, so the tape gives it ``settle_seconds``."""
        tape = self._tapes[instrument_id]
        now = self._clock.monotonic()
        if tape.hold_until > now:
            tape.hold_until = now + self._settings.settle_seconds
        self._changed.set()

    def subscribed(self, stream: Stream) -> None:
        instrument_id, channel = stream
        tape = self._tapes.get(instrument_id)
        if tape is None:
            return
        now = self._clock.monotonic()
        if self._settings.await_subscriptions == 0:
            self._start(tape, now if channel in DEPTH_CHANNELS else now + self._settings.start_grace_seconds)
        elif self._position_ns or len(self._exchange.subscriptions()) >= self._settings.await_subscriptions:
            for instrument, other in self._tapes.items():
                if self._exchange.subscribed(instrument):
                    self._start(other, now)
        # Without a clock a resynchronising client would be flooded while it fetches its snapshot; hold for it.
        if channel in DEPTH_CHANNELS and tape.book is not None and self._settings.speed is None:
            tape.hold_until = now + self._settings.snapshot_wait_seconds
        self._changed.set()

    async def pause(self) -> None:
        self._gate.close()
        async with self._publishing:
            self._anchor = None

    def resume(self) -> None:
        self._gate.open()

    async def stop(self) -> None:
        self._gate.stop()
        self._changed.set()
        async with self._publishing:
            self._anchor = None

    async def burst(self, instrument_id: str, trades: int, depth: int) -> Burst:
        raise SourceError("a recording cannot burst; replay it with --speed max instead")

    def status(self) -> dict[str, object]:
        return {
            "state": self._gate.state,
            "done": all(tape.head is None for tape in self._tapes.values()),
            "position_ns": self._position_ns,
            "symbols": {
                tape.instrument.symbol: {
                    "started": tape.starts_at <= self._clock.monotonic(),
                    "lines": tape.lines,
                    "done": tape.head is None,
                }
                for tape in self._tapes.values()
            },
            "bad_lines": {"count": self._recording.rejects.count, "first": self._recording.rejects.first},
        }

    def _start(self, tape: SymbolTape, at: float) -> None:
        if tape.starts_at == _NEVER and tape.head is not None and self._position_ns - tape.ts_ns > _LATE_NS:
            tape.shift_ns = self._position_ns - tape.ts_ns
        tape.starts_at = min(tape.starts_at, at)

    async def _move(self) -> float:
        """Replay the next line of the timeline if it is due; else the seconds to wait, at most."""
        now = self._clock.monotonic()
        tape = next_tape([t for t in self._tapes.values() if self._may_move(t, now)])
        if tape is None:
            return _IDLE_SECONDS
        wait = tape.hold_until - now
        if wait > 0:
            self._anchor = None
            return wait
        if self._settings.speed is not None:
            self._anchor = self._anchor or (now, tape.ts_ns)
            wait = due(self._anchor, self._settings.speed, tape.ts_ns) - now
            if wait > 0:
                return wait
        async with self._publishing:
            if self._gate.running:
                await self._play(tape)
        return 0.0

    def _may_move(self, tape: SymbolTape, now: float) -> bool:
        """Whether the symbol takes part in the timeline: begun and not at its end. Without a clock it also needs
        somebody who reads: with nobody, or with a stalled client, the tape would just run out."""
        if tape.head is None or tape.starts_at > now:
            return False
        instrument_id = tape.instrument.id
        if self._settings.speed is not None:
            return True
        return bool(self._exchange.subscribed(instrument_id)) and not self._exchange.stalled(instrument_id)

    async def _play(self, tape: SymbolTape) -> None:
        self._position_ns = max(self._position_ns, tape.ts_ns)
        item = tape.advance()
        if isinstance(item, TapeSnapshot):
            self._seed(tape, item)
            return
        if item.levels is not None:
            if tape.book is None:
                tape.early.append(item)
            else:
                tape.recorded = None
                tape.book.apply(item.frame, item.levels)
        await self._exchange.publish(tape.instrument.id, (item.frame,))

    def _seed(self, tape: SymbolTape, item: TapeSnapshot) -> None:
        first = tape.book is None
        tape.book = TapeBook(item.snapshot)
        for early in tape.early:
            if early.levels is not None:
                tape.book.apply(early.frame, early.levels)
        tape.early.clear()
        if first:
            tape.recorded = item.snapshot
            if self._exchange.subscribed(tape.instrument.id) & DEPTH_CHANNELS:
                tape.hold_until = self._clock.monotonic() + self._settings.snapshot_wait_seconds
        tape.has_book.set()


def next_tape(tapes: Sequence[SymbolTape]) -> SymbolTape | None:
    """The one whose next line is the earliest on the timeline."""
    return min(tapes, key=lambda tape: tape.ts_ns, default=None)


def due(anchor: tuple[float, int], speed: float, ts_ns: int) -> float:
    """When (monotonic seconds) a line is due, if the anchor's line was due at the anchor's time."""
    at, anchor_ns = anchor
    return at + (ts_ns - anchor_ns) / 1e9 / speed


async def _first_of(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
