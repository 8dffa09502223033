"""What a service tells of what it stands on: memory, append-only file and clock of each Redis server, and its disks.

How far a process's clock is off only that process can tell, and two exporters fewer run on a Raspberry Pi (ADR 21).
"""

import asyncio
import math
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from redis.exceptions import RedisError, ResponseError

from daedalus_common import metrics
from daedalus_common.broker.client import Client
from daedalus_common.broker.cluster import ClusterClient

log = structlog.get_logger(__name__)

EVERY: Final = timedelta(seconds=15)

# A server that is full or busy must not be waited for longer than until the next look.
_TIMEOUT_SECONDS: Final = 5.0
# A clock is known to half of the time that asking took; what is alerted on is 1 s.
_MOST_SECONDS_TO_ASK: Final = 0.5
_OF_NODES: Final = (
    metrics.REDIS_MEMORY_USED,
    metrics.REDIS_MEMORY_LIMIT,
    metrics.REDIS_APPEND_ONLY,
    metrics.REDIS_CLOCK_OFFSET,
)


@dataclass(frozen=True, slots=True)
class ServerLook:
    """One server at one moment; None is what access rules hide, or what took too long to ask."""

    clock_offset_seconds: float | None
    memory_used_bytes: int | None
    memory_limit_bytes: int | None
    append_only_ok: bool | None


def judge(info: Mapping[str, Any], clock_offset_seconds: float | None) -> ServerLook:
    """Of INFO's sections memory and persistence; empty: forbidden."""
    if not info:
        return ServerLook(clock_offset_seconds, None, None, None)
    # What the server itself compares with maxmemory: the buffers of replicas and of the append-only file do not count.
    used = int(info["used_memory"]) - int(info.get("mem_not_counted_for_evict", 0))
    failed = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if info.get(name, "ok") != "ok"]
    return ServerLook(clock_offset_seconds, used, int(info["maxmemory"]), bool(info["aof_enabled"]) and not failed)


class ServerWatch:
    """Looks at the server, or at each master of a cluster, and tells Prometheus; of one that is away, nothing."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._told: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.look()
            except Exception:  # what it told last would stand there for good
                log.exception("the servers cannot be looked at")
                self.forget()
            await asyncio.sleep(EVERY.total_seconds())

    async def look(self) -> None:
        """Once at every server."""
        try:
            nodes = await self._nodes()
        except (RedisError, OSError):
            nodes = {}
        looks = await asyncio.gather(*(self._look_at(options) for options in nodes.values()))
        seen = {name: look for name, look in zip(nodes, looks, strict=True) if look is not None}
        for name in self._told | seen.keys():
            _tell(name, seen.get(name))
        self._told = set(seen)

    def forget(self) -> None:
        """Tells nothing any more."""
        for name in self._told:
            _tell(name, None)
        self._told = set()

    async def _nodes(self) -> dict[str, dict[str, Any]]:
        """By name, with what a command needs to go there."""
        if isinstance(self._client, ClusterClient):
            return {str(node.name): {"target_nodes": node} for node in await self._client.masters()}
        place = self._client.connection_pool.connection_kwargs
        return {str(place.get("path") or f"{place.get('host')}:{place.get('port')}"): {}}

    async def _look_at(self, options: dict[str, Any]) -> ServerLook | None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                offset = await self._clock_offset(options)
                return judge(await self._info(options), offset)
        except (RedisError, OSError, TimeoutError):
            return None  # those who need it tell of it

    async def _clock_offset(self, options: dict[str, Any]) -> float | None:
        before = self._clock()
        seconds, microseconds = await self._client.time(**options)
        after = self._clock()
        if not 0 <= after - before <= _MOST_SECONDS_TO_ASK:
            return None
        return (before + after) / 2 - (int(seconds) + int(microseconds) / 1e6)

    async def _info(self, options: dict[str, Any]) -> Mapping[str, Any]:
        try:
            info: Mapping[str, Any] = await self._client.info("memory", "persistence", **options)
        except ResponseError:  # forbidden
            return {}
        return info


@asynccontextmanager
async def watched(client: Client) -> AsyncIterator[None]:
    """Tells of the servers of `client` meanwhile."""
    watch = ServerWatch(client)
    looking = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        watch.forget()


def watch_disk(role: str, folder: Path) -> None:
    """Tells of the disk that holds `folder`, asked whenever Prometheus asks; NaN while there is no such folder."""
    metrics.DISK_FREE.labels(role=role).set_function(lambda: _disk(folder)[0])
    metrics.DISK_SIZE.labels(role=role).set_function(lambda: _disk(folder)[1])


def _disk(folder: Path) -> tuple[float, float]:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan, math.nan
    return usage.free, usage.total


def _tell(node: str, look: ServerLook | None) -> None:
    values = (
        (look.memory_used_bytes, look.memory_limit_bytes, look.append_only_ok, look.clock_offset_seconds)
        if look is not None
        else (None, None, None, None)
    )
    for metric, value in zip(_OF_NODES, values, strict=True):
        if value is None:
            metric.remove(node)
        else:
            metric.labels(node=node).set(value)
