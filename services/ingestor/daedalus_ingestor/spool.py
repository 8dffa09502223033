"""The overflow of the queue on disk: one folder for a machine's ingestors, in it one per market, together bounded.

    append (at once) -> pending -> flush (a thread, every FLUSH) -> segments -> load (a thread) -> the market's outbox

A market spools from its first event that does not fit the queue until all it has spooled is loaded again: so its
order holds. What is loaded stays on disk until it is confirmed. A process that is killed loses what is pending, at
most FLUSH; the take-over's gap, which follows it in the sequence, covers that. What a closed market has in memory and
not on disk goes to a late folder, as does all that comes too late for its sequence; `late_events` sends those.

A crash may repeat records that the stream already has. `MarketFiles.resume` finds them by the (epoch, number) which
each record carries, and those that remain are numbered anew, durably, before the first of them is published.
"""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from daedalus_common.markets import Market
from daedalus_common.service import pause
from daedalus_common.telemetry import Health
from daedalus_ingestor import metrics
from daedalus_ingestor.market_spool import MarketSpool, SpoolError
from daedalus_ingestor.spool_files import MarketFiles
from daedalus_ingestor.spool_folders import in_time_name, lock, lock_patiently, new_late_name, remove_empty, size_of
from daedalus_ingestor.spool_io import probe
from daedalus_ingestor.spool_records import Record, record_bytes

log = structlog.get_logger(__name__)

FLUSH: Final = timedelta(seconds=0.2)
_RETRY_SECONDS: Final = 1.0
"""A burst may come right after the disk is well again; what is tried is a file of 64 KiB."""
_PENDING_BYTES: Final = 16 * 1024 * 1024
"""Events that no thread has written yet: 0.5 s of 20,000/s; a disk that is slower than that is no help."""
_LARGEST_SEGMENT: Final = 8 * 1024 * 1024
_SMALLEST_SEGMENT: Final = 64 * 1024
_CHECK: Final = "spool"
_LATE_RECORDS: Final = 1000
_WEIGH_SECONDS: Final = 1.0
"""Others write into the same bound, and late folders go."""
_PASSING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What may go by itself, or by somebody's hand while the ingestor runs."""


class Spool:
    """What all markets share: the folder, the bound, and whether the disk works.

    A market's folder is locked while it is open, so the replicas of one machine share `folder`: whoever gets a market
    finds what another left of it. Raises SpoolError.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        *,
        fsync: bool = True,
        health: Health | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder = folder
        self._health = health
        self.max_bytes = max_bytes
        self.fsync = fsync
        self.pending_bytes = 0
        self.markets: dict[Market, MarketSpool] = {}
        self._clock = clock
        self._now_ns = now_ns
        self._limit = max_bytes
        self._retry_at = 0.0
        self._strays_bytes = 0
        self._weigh_at = 0.0
        self._locks: dict[Market, int] = {}
        self._problem = ""
        self._unreadable: dict[Market, str] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._weigh_strays()
            probe(folder)
        except OSError as error:
            if error.errno not in _PASSING or not folder.is_dir():
                way_out = "set ingestion.spool_dir, or spool_max_mb to 0"
                raise SpoolError(f"the spool {folder} cannot be used: {error.strerror}; {way_out}") from error
            self._fails(error)

    @property
    def segment_bytes(self) -> int:
        return min(_LARGEST_SEGMENT, max(_SMALLEST_SEGMENT, self.max_bytes // 32))

    @property
    def size_bytes(self) -> int:
        on_disk = sum(market.size_bytes for market in self.markets.values())
        return self._strays_bytes + on_disk + self.pending_bytes

    def has_room(self, payload: bytes) -> bool:
        """Once it was full, a quarter must be free first: otherwise every other free place would hold a gap event."""
        if self._clock() < self._retry_at or self.pending_bytes >= _PENDING_BYTES:
            return False
        if self.size_bytes + record_bytes(payload) <= self._limit:
            self._limit = self.max_bytes
            return True
        self._limit = self.max_bytes - self.max_bytes // 4
        return False

    async def open(self, market: Market, log_id: str, *, patiently: bool = True) -> MarketSpool:
        """What an earlier process left of the market, if anything, is in it. Raises SpoolError.

        `log_id` names the stream: events of another Redis, or of one whose data are gone, are not for this one.
        `patiently`: waits a moment for another process that has the folder.
        """
        folder = self._folder_of(market, log_id)
        try:
            if market not in self._locks:
                self._locks[market] = await lock_patiently(folder) if patiently else lock(folder)
            files = await asyncio.to_thread(MarketFiles, folder, market.name, self.segment_bytes, fsync=self.fsync)
        except BlockingIOError:
            raise SpoolError(f"the spool {folder} is in use by another ingestor") from None
        except OSError as error:
            self._give_lock(market)
            self.unreadable(market, error)
            raise SpoolError(f"the spool {folder} cannot be opened: {error}") from error
        if files.torn:
            metrics.SPOOL_TORN.inc(files.torn)
        opened = self.markets[market] = MarketSpool(self, market, log_id, files)
        self.readable(market)
        self._weigh_all()
        return opened

    async def close(self, market: Market) -> None:
        """Writes what is pending; the files stay where they are, unless they are empty. What the market has left in
        memory goes to a late folder."""
        self.readable(market)
        closing = self.markets.get(market)
        if closing is None:
            return
        try:
            await closing.close()
        except OSError as error:
            self._fails(error, market=market.name)
        if self.markets.get(market) is not closing:
            return  # closed by another meanwhile
        del self.markets[market]
        if left := closing.take_left():
            await self._keep_late(closing, left)
        if not closing.size_bytes:
            with suppress(OSError):
                remove_empty(self._folder_of(market, closing.log_id))
        self._give_lock(market)
        self._weigh_all()

    async def put_away(self, late: MarketSpool) -> MarketSpool:
        """The records are too late for the sequence: their files get another name, and a new spool begins.
        Raises SpoolError."""
        events = late.unread
        await self.close(late.market)
        folder = self._folder_of(late.market, late.log_id)
        target = self.folder / new_late_name(late.market.name, late.log_id, late.epoch)
        try:
            await asyncio.to_thread(folder.rename, target)
        except FileNotFoundError:
            log.info("the spool was found late by another ingestor", market=late.market.name)
        except OSError as error:
            raise SpoolError(f"the spool {folder} cannot be renamed: {error}") from error
        else:
            log.warning(
                "another ingestor has published since, these events are recorded as late", market=late.market.name,
                events=events, folder=str(target),
            )  # fmt: skip
        return await self.open(late.market, late.log_id)

    async def _keep_late(self, closing: MarketSpool, left: list[Record]) -> None:
        folder = self.folder / new_late_name(closing.market.name, closing.log_id, closing.epoch)
        try:
            held = await lock_patiently(folder)
            try:
                await asyncio.to_thread(self._write_late, folder, closing.market, left)
            finally:
                os.close(held)
        except OSError as error:
            self.failed(closing.market, error)
            metrics.ABANDONED.labels(reason="disk").inc(len(left))
        else:
            metrics.LATE_KEPT.inc(len(left))
            log.warning(
                "events in memory are kept, to be recorded as late", market=closing.market.name, events=len(left),
                folder=str(folder),
            )  # fmt: skip

    def _write_late(self, folder: Path, market: Market, left: list[Record]) -> None:
        files = MarketFiles(folder, market.name, self.segment_bytes, fsync=self.fsync)
        try:
            for start in range(0, len(left), _LATE_RECORDS):
                files.write(left[start : start + _LATE_RECORDS])
            files.sync()
        finally:
            files.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Flushes every market every FLUSH until `stop`."""
        while not await pause(stop, FLUSH.total_seconds()):
            for market in tuple(self.markets.values()):
                await market.flush()
            await self._weigh_again()
            if self._problem and not self.is_waiting():
                await self._try_again()
            self.report()

    def report(self) -> None:
        markets = self.markets.values()
        oldest = min((market.oldest_ts for market in markets if market.oldest_ts is not None), default=None)
        metrics.SPOOL_EVENTS.set(sum(market.depth for market in markets))
        metrics.SPOOL_BYTES.set(self.size_bytes)
        metrics.SPOOL_LIMIT.set(self.max_bytes)
        metrics.SPOOL_AGE_SECONDS.set(0.0 if oldest is None else max(0.0, (self._now_ns() - oldest) / 1e9))

    def failed(self, market: Market, error: OSError) -> float:
        """Returns when to try again, by the clock."""
        return self._fails(error, market=market.name)

    def unreadable(self, market: Market, error: OSError) -> float:
        """What is wrong with one market's folder stops no other. Returns when to try again, by the clock."""
        metrics.SPOOL_FAILURES.inc()
        problem = f"the spool of {market.name} in {self.folder} cannot be read: {error.strerror or error}"
        if self._unreadable.get(market) != problem:
            log.error("a market's spool fails", problem=problem, retry_in=_RETRY_SECONDS)
        self._unreadable[market] = problem
        if self._health is not None:
            self._health.mark_unready(f"{_CHECK} of {market.name}", problem)
        return self._clock() + _RETRY_SECONDS

    def readable(self, market: Market) -> None:
        """It is well again, or no longer here."""
        if self._unreadable.pop(market, None) is not None and self._health is not None:
            self._health.mark_ready(f"{_CHECK} of {market.name}")

    def is_waiting(self, until: float | None = None) -> bool:
        """The disk failed a moment ago: no use trying again so soon."""
        return self._clock() < (self._retry_at if until is None else until)

    def _fails(self, error: OSError, **details: str) -> float:
        metrics.SPOOL_FAILURES.inc()
        self._retry_at = self._clock() + _RETRY_SECONDS
        before = self._problem
        self._problem = (
            f"the spool {self.folder} cannot be written ({error.strerror or error}): what does not fit the queue is "
            "lost; free its disk, or set ingestion.spool_dir"
        )
        if self._health is not None:
            self._health.mark_unready(_CHECK, self._problem)
        if self._problem != before:
            log.error("the spool's disk fails", problem=self._problem, retry_in=_RETRY_SECONDS, **details)
        return self._retry_at

    async def _try_again(self) -> None:
        try:
            await asyncio.to_thread(probe, self.folder)
        except OSError as error:
            self._fails(error)
        else:
            self._problem = ""
            if self._health is not None:
                self._health.mark_ready(_CHECK)
            log.info("the spool can be written again", folder=str(self.folder))

    def _give_lock(self, market: Market) -> None:
        held = self._locks.pop(market, None)
        if held is not None:
            os.close(held)

    def _folder_of(self, market: Market, log_id: str) -> Path:
        return self.folder / in_time_name(market.name, log_id)

    async def _weigh_again(self) -> None:
        if self._clock() >= self._weigh_at and not self.is_waiting():
            self._weigh_at = self._clock() + _WEIGH_SECONDS
            try:
                self._strays_bytes = await asyncio.to_thread(self._size_without, self._ours())
            except OSError as error:
                self._fails(error)

    def _weigh_all(self) -> None:
        try:
            self._weigh_strays()
        except OSError as error:
            self._fails(error)

    def _weigh_strays(self) -> None:
        """Files of markets that are not open here: they are left alone, and count."""
        self._strays_bytes = self._size_without(self._ours())

    def _ours(self) -> frozenset[str]:
        return frozenset(self._folder_of(market, spool.log_id).name for market, spool in self.markets.items())

    def _size_without(self, ours: frozenset[str]) -> int:
        return sum(size_of(path) for path in self.folder.iterdir() if path.is_dir() and path.name not in ours)
