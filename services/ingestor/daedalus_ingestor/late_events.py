"""Sends what came too late for its market's sequence to the stream `late`, in the background.

every LOOK: folders of the spool -> late for this Redis? -> batches of events, each applied once -> the folder goes

A folder is late where it is called so, or where its market is not open here and somebody has published since: then
nobody can put its events into the sequence any more, and whoever finds it gives it that name.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.errors import described
from daedalus_common.broker.market_log import LateEvent, MarketLog
from daedalus_common.markets import Market
from daedalus_common.service import pause
from daedalus_ingestor import metrics
from daedalus_ingestor.spool import Spool
from daedalus_ingestor.spool_files import MarketFiles
from daedalus_ingestor.spool_folders import FolderName, in_time_name, lock_existing, new_late_name, remove_empty
from daedalus_ingestor.spool_records import published_as

log = structlog.get_logger(__name__)

LOOK: Final = timedelta(seconds=10)
BATCH_EVENTS: Final = 200
BATCH_BYTES: Final = 512 * 1024
PAUSE: Final = timedelta(seconds=0.05)
"""After each batch: at most 4,000 events or 10 MB a second, beside 20,000 events a second of live ones."""
MAX_LENGTH: Final = 20_000
"""Entries of the stream that the writer has not taken yet; beyond, the disk keeps the rest for the next look."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A folder of the spool, and the market it is of where that is configured."""

    path: Path
    name: FolderName
    market: Market | None


class LateEvents:
    """`is_calm` tells that the live events leave time for these."""

    def __init__(
        self,
        spool: Spool,
        client: Client,
        market_log: MarketLog,
        markets: Sequence[Market],
        is_calm: Callable[[], bool],
        look: timedelta = LOOK,
    ) -> None:
        self._spool = spool
        self._client = client
        self._log = market_log
        self._markets = {str(market.name): market for market in markets}
        self._is_calm = is_calm
        self._look_seconds = look.total_seconds()
        self._judged: dict[Path, int] = {}
        """The stream's epoch at which a folder was found in time."""
        self._told: set[Path] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Whatever fails is tried again at the next look."""
        while not await pause(stop, self._look_seconds):
            try:
                await self.look(stop)
            except (RedisError, OSError) as error:
                problem = described(error)
                log.warning("late events are not sent, trying again", error=problem, retry_in=self._look_seconds)
            except Exception:
                # They are on disk and can wait for a better program; what is captured now cannot.
                log.exception("late events are not sent, trying again", retry_in=self._look_seconds)

    async def look(self, stop: asyncio.Event) -> None:
        """Sends what can be sent now. Raises the first of redis errors or OSErrors, when every folder had its turn:
        a folder that cannot be read, or a node of a cluster that is away, keeps the others from nothing."""
        found = await asyncio.to_thread(self._folders)
        states = Counter(dict.fromkeys(("waiting", "other_redis", "not_configured", "damaged"), 0))
        failed: Exception | None = None
        for each in found:
            try:
                states[await self._handle(each, stop) or "none"] += 1
            except (RedisError, OSError) as error:
                failed = failed or error
                states["waiting"] += 1
        states.pop("none", None)
        for state, count in states.items():
            metrics.LATE_FOLDERS.labels(state=state).set(count)
        if failed is not None:
            raise failed

    def _folders(self) -> list[_Found]:
        named = ((path, FolderName.of(path.name)) for path in sorted(self._spool.folder.iterdir()) if path.is_dir())
        return [_Found(path, name, self._markets.get(name.market)) for path, name in named if name is not None]

    async def _handle(self, found: _Found, stop: asyncio.Event) -> str | None:
        """What is to be said of the folder that remains; None: there is nothing to say, or it is gone."""
        if found.market is None:
            self._tell(found, "spooled events of a market that is not configured stay on disk")
            return "not_configured"
        if found.market in self._spool.markets and not found.name.is_late:
            return None  # open here
        log_id = await self._log.log_id(found.market)
        if log_id is None:
            return "waiting"
        if log_id != found.name.log_id:
            self._tell(found, "spooled events of another Redis stay on disk", log_id)
            return "other_redis"
        path = found.path if found.name.is_late else await self._renamed_if_late(found, found.market)
        return None if path is None else await self._send(path, found.market, stop)

    async def _renamed_if_late(self, found: _Found, market: Market) -> Path | None:
        lock = lock_existing(found.path)
        if lock is None:
            return None
        try:
            reply: Any = await self._client.hmget(keys.sequence(market), ["epoch", "applied"])
            epoch, applied = (int(value or 0) for value in reply)
            if self._judged.get(found.path) == epoch:
                return None
            if not await asyncio.to_thread(self._is_late, found.path, market, epoch, applied):
                self._judged[found.path] = epoch
                return None
            target = found.path.with_name(new_late_name(market.name, found.name.log_id, epoch))
            found.path.rename(target)
            log.warning(
                "another ingestor has published since, these events are recorded as late", market=market.name,
                folder=str(target),
            )  # fmt: skip
            return target
        finally:
            os.close(lock)

    def _is_late(self, path: Path, market: Market, epoch: int, applied: int) -> bool:
        files = self._open(path, market)
        try:
            return bool(files.unread) and files.resume(epoch, applied).is_late
        finally:
            files.close()

    async def _send(self, path: Path, market: Market, stop: asyncio.Event) -> str | None:
        lock = lock_existing(path)
        if lock is None:
            return None  # another ingestor sends it
        try:
            await self._log.open_market(market)
            files = await asyncio.to_thread(self._open, path, market)
            try:
                done = await self._send_all(files, path.name, market, stop)
            finally:
                files.close()
            if not done:
                return "waiting"
            if not await asyncio.to_thread(remove_empty, path):
                return "damaged"
            await self._log.forget_late(market, path.name)
            return None
        finally:
            os.close(lock)

    async def _send_all(self, files: MarketFiles, folder: str, market: Market, stop: asyncio.Event) -> bool:
        """False: not all of it for now."""
        sent = 0
        while True:
            if stop.is_set() or not self._is_calm():
                return False
            records, lost = await asyncio.to_thread(files.read, BATCH_EVENTS, BATCH_BYTES)
            if lost:
                continue
            if not records:
                break
            events = [LateEvent(r.position, *published_as(r, files.anchor), r.capture_ts, r.payload) for r in records]
            length = await self._log.publish_late(market, folder, events)
            await asyncio.to_thread(files.confirm, records[-1].position + 1)
            sent += len(records)
            metrics.LATE_EVENTS.labels(exchange=market.exchange, symbol=market.symbol).inc(len(records))
            if length > MAX_LENGTH or await pause(stop, PAUSE.total_seconds()):
                return False
        await asyncio.to_thread(files.confirm, files.end)  # what could not be read is set aside
        if sent:
            log.info("late events sent, outside the sequence", market=market.name, events=sent, folder=folder)
        return True

    def _open(self, path: Path, market: Market) -> MarketFiles:
        return MarketFiles(path, market.name, self._spool.segment_bytes, fsync=self._spool.fsync)

    def _tell(self, found: _Found, what: str, log_id: str | None = None) -> None:
        """Once a folder."""
        if found.path in self._told:
            return
        self._told.add(found.path)
        ways = f"rm -r '{found.path}' drops them"
        if log_id is not None:
            late = found.path.with_name(f"{in_time_name(found.name.market, log_id)}.late-{found.name.log_id}")
            ways = (
                "an ingestor with that Redis publishes them; "
                f"mv '{found.path}' '{late}' has them recorded here, as late ones; {ways}"
            )
        else:
            ways = f"an ingestor with that market publishes them; {ways}"
        log.warning(what, market=found.name.market, folder=str(found.path), ways_out=ways)


async def keep_spool(spool: Spool, late: LateEvents, stop: asyncio.Event) -> None:
    """The spool's own work and the late events, until `stop`."""
    await asyncio.gather(spool.run(stop), late.run(stop))
