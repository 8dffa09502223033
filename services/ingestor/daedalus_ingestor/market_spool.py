"""One market's spool: what is pending, what is on disk, what is loaded and not yet confirmed."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import structlog

from daedalus_common.markets import Market
from daedalus_ingestor import metrics
from daedalus_ingestor.spool_files import MarketFiles
from daedalus_ingestor.spool_records import Record, record_bytes

log = structlog.get_logger(__name__)

_LOAD_BYTES: Final = 2 * 1024 * 1024


class SpoolError(Exception):
    """The spool cannot be used; the text says which folder and why."""


class Shared(Protocol):
    """What all markets have in common: the bound, and a disk that may fail."""

    pending_bytes: int

    def has_room(self, payload: bytes) -> bool: ...

    def failed(self, market: Market, error: OSError) -> float: ...

    def unreadable(self, market: Market, error: OSError) -> float: ...

    def readable(self, market: Market) -> None: ...

    def is_waiting(self, until: float | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """Events in order as (capture_ts, payload); or none, and how many are lost where the next would stand."""

    events: list[tuple[int, bytes]]
    lost: int


class _Run(NamedTuple):
    """Loaded records, not yet confirmed: neighbours on disk and in the sequence."""

    number: int
    position: int
    size: int
    newest_ts: int


class MarketSpool:
    """One market's. All but the disk's work happens on the event loop; `_busy` keeps the disk's work in order."""

    def __init__(self, spool: Shared, market: Market, log_id: str, files: MarketFiles) -> None:
        self.market = market
        self.log_id = log_id
        self.files = files
        self.epoch = 0
        self.head: Callable[[], int] = lambda: 1
        """The number of the event that follows the newest one in memory: the outbox tells."""
        self.pending_bytes = 0
        self.size_bytes = files.size_bytes
        self.oldest_ts: int | None = None
        """capture_ts of the oldest event here, or a little before."""
        self.is_active = files.unread > 0
        """The market's newest events are here, so that what comes has to follow them here."""
        self._spool = spool
        self._unread = files.unread
        self._pending: list[tuple[int, bytes]] = []
        self._in_flight = 0
        self._runs: deque[_Run] = deque()
        self._confirmed = files.next
        self._left: list[Record] = []
        self._damaged = 0
        self._lost = 0
        self._must_renumber = False
        self._load_at = 0.0
        self._is_closed = False
        self._busy = asyncio.Lock()

    @property
    def unread(self) -> int:
        """Events that are not loaded."""
        return self._unread + self._in_flight + len(self._pending)

    @property
    def loaded(self) -> int:
        """Events that are loaded and not confirmed: in memory and on disk."""
        return sum(run.size for run in self._runs)

    @property
    def loaded_to(self) -> int:
        """The number that follows the newest loaded event; 0 when none is loaded."""
        return self._runs[-1].number + self._runs[-1].size if self._runs else 0

    @property
    def depth(self) -> int:
        return self.unread + self.loaded

    def has_room(self, payload: bytes) -> bool:
        return self._spool.has_room(payload)

    def append(self, capture_ts: int, payload: bytes) -> None:
        """Ask `has_room` first: this takes whatever comes."""
        self.is_active = True
        if self.oldest_ts is None:
            self.oldest_ts = capture_ts
        self._pending.append((capture_ts, payload))
        self._weigh(record_bytes(payload))
        metrics.SPOOLED.inc()

    async def resume(self, stream_epoch: int, applied: int, epoch: int) -> bool:
        """Finds what the stream lacks of an earlier process's records, to be published under `epoch`.

        False: another process has published since, so that they cannot go into the sequence. Raises SpoolError.
        """
        self.epoch = epoch
        try:
            async with self._busy:
                resumed = await asyncio.to_thread(self.files.resume, stream_epoch, applied)
                if not resumed.is_late:
                    await asyncio.to_thread(self.files.confirm, resumed.position)
        except OSError as error:
            raise SpoolError(f"the spool of {self.market.name} cannot be read: {error}") from error
        self._look()
        self._confirmed = self.files.next
        self.is_active = self._must_renumber = self._unread > 0
        self._lost = resumed.lost
        return not resumed.is_late

    async def tail(self, count: int) -> list[bytes]:
        """The newest payloads on disk, oldest first; for what is left of an earlier process. Raises OSError."""
        async with self._busy:
            return await asyncio.to_thread(self.files.tail, count)

    async def load(self, count: int) -> Loaded:
        """The oldest unread events; the caller puts them behind those in memory before anything else happens.

        A loss takes one number, that of the gap which declares it. It is told when everything loaded before it is
        confirmed, and what follows is numbered anew.
        """
        async with self._busy:
            if self._is_closed or self._spool.is_waiting(self._load_at):
                return Loaded([], 0)
            try:
                loaded = await self._load(count)
            except OSError as error:
                self._load_at = self._spool.unreadable(self.market, error)
                return Loaded([], 0)
            if self._load_at:
                self._load_at = 0.0
                self._spool.readable(self.market)
            return loaded

    async def _load(self, count: int) -> Loaded:
        if self._must_renumber:
            if self._runs:
                return Loaded([], 0)
            number = self.head() + (1 if self._lost else 0)
            await asyncio.to_thread(self.files.anchor_at, self.files.read_to, self.epoch, number)
            self._confirmed = self.files.next
            self._must_renumber, lost, self._lost = False, self._lost, 0
            if lost:
                return Loaded([], lost)
        records: list[Record] = []
        if self._unread:
            records, lost = await asyncio.to_thread(self.files.read, count, _LOAD_BYTES)
            self._look()
            if lost:
                self._must_renumber, self._lost = True, lost
                return Loaded([], 0)
        if records:
            self._runs.append(_Run(self.head(), records[0].position, len(records), records[-1].capture_ts))
            if self.oldest_ts is None:
                self.oldest_ts = records[0].capture_ts
        events = [(record.capture_ts, record.payload) for record in records]
        if not self._unread:
            events += self._take_pending()
            self.is_active = False
        return Loaded(events, 0)

    def confirm(self, following: int) -> None:
        """All events with a number below `following` are in the stream; the next flush tells the disk."""
        while self._runs and self._runs[0].number < following:
            run = self._runs.popleft()
            done = min(following - run.number, run.size)
            self._confirmed = run.position + done
            if done == run.size:
                self.oldest_ts = run.newest_ts
            else:
                left = _Run(run.number + done, run.position + done, run.size - done, run.newest_ts)
                self._runs.appendleft(left)
        if not self._runs and not self.is_active:
            self.oldest_ts = None

    async def flush(self) -> None:
        """Writes what is pending, and the cursor; a disk that fails leaves both for later."""
        if (not self._pending and self._confirmed == self.files.next) or self._spool.is_waiting():
            return
        async with self._busy:
            if self._is_closed:
                return
            first, position = self.head() + self._unread, self.files.end
            batch, self._pending = self._pending, []
            try:
                self._in_flight = len(batch)
                records = [
                    Record(position + i, self.epoch, first + i, capture_ts, payload)
                    for i, (capture_ts, payload) in enumerate(batch)
                ]
                await asyncio.to_thread(self._write, records, self._confirmed)
            except OSError as error:
                self._spool.failed(self.market, error)
            finally:
                self._in_flight = 0
                written = self.files.end - position
                self._pending[:0] = batch[written:]
                self._look()
                self._weigh(-sum(record_bytes(payload) for _, payload in batch[:written]))

    async def close(self) -> None:
        """Writes what is pending, after what a thread is just writing. Raises OSError; it is closed then too."""
        await self.flush()
        async with self._busy:
            self._is_closed = True
            self._give_up()
            self._look()
            self.files.close()

    def leave(self, first: int, events: Iterable[tuple[int, bytes]]) -> int:
        """The market is closed with these events in memory, numbered from `first`: those that are not on disk either
        are for a late folder. Returns how many there is no room for."""
        lost = 0
        for number, (capture_ts, payload) in enumerate(events, first):
            if any(run.number <= number < run.number + run.size for run in self._runs):
                continue
            if self.has_room(payload):
                self._left.append(Record(len(self._left), self.epoch, number, capture_ts, payload))
                self._weigh(record_bytes(payload))
            else:
                lost += 1
        return lost

    def take_left(self) -> list[Record]:
        """What `leave` was told of."""
        left, self._left = self._left, []
        self._weigh(-sum(record_bytes(record.payload) for record in left))
        return left

    def _give_up(self) -> None:
        """Forgets what the disk did not take."""
        lost = len(self._take_pending())
        if lost:
            metrics.ABANDONED.labels(reason="disk").inc(lost)
            log.error("spooled events are lost, the disk did not take them", market=self.market.name, lost=lost)

    def _write(self, records: list[Record], confirmed: int) -> None:
        self.files.confirm(confirmed)
        self.files.write(records)
        self.files.sync()

    def _take_pending(self) -> list[tuple[int, bytes]]:
        taken, self._pending = self._pending, []
        self._weigh(-sum(record_bytes(payload) for _, payload in taken))
        return taken

    def _look(self) -> None:
        """Takes over what the disk's work has changed."""
        self._unread, self.size_bytes = self.files.unread, self.files.size_bytes
        metrics.SPOOL_DAMAGED.inc(self.files.damaged - self._damaged)
        self._damaged = self.files.damaged

    def _weigh(self, size_bytes: int) -> None:
        self.pending_bytes += size_bytes
        self._spool.pending_bytes += size_bytes
