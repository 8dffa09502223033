"""Writers to run in the test's own process, and as a process of their own."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from uuid import uuid4

import yaml
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MAX_DEAD_LETTERS, MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.stores import ObjectStore
from daedalus_common.telemetry import Health
from daedalus_writer import metrics
from daedalus_writer.carrying_out import Carrier
from daedalus_writer.flush import Limits
from daedalus_writer.patience import Patience
from daedalus_writer.run_writing import RunWriter
from daedalus_writer.settings import Pace
from daedalus_writer.shelves import Shelf, Shelves
from daedalus_writer.writer import Writer

WAIT_SECONDS = 30.0
MEBIBYTE = 1024 * 1024
QUICK = Limits(timedelta(seconds=0.1), size_bytes=100 * MEBIBYTE, rows=200_000, memory_bytes=256 * MEBIBYTE)
ZSTD = Compression("zstd", 3)
MODULE = ("-m", "daedalus_writer")


def build_writer(
    client: Client,
    store: ObjectStore,
    markets: Sequence[Market],
    *,
    feature_store: ObjectStore | None = None,
    market_log: MarketLog | None = None,
    name: str = "writer",
    limits: Limits = QUICK,
    ttl: timedelta = timedelta(seconds=30),
    renew: timedelta = timedelta(seconds=0.2),
    keep_rows: timedelta = timedelta(minutes=10),
    keep_raw: timedelta = timedelta(0),
    max_dead_letters: int = MAX_DEAD_LETTERS,
    health: Health | None = None,
) -> Writer:
    """A writer as `python -m daedalus_writer` composes it, with quick flushes."""
    market_log = market_log or MarketLog(client)
    health = health or Health("writer")
    patience = Patience(health)
    shelves = Shelves(Shelf("bronze", store), Shelf("features", feature_store or store))
    keep = {keys.RAW: keep_raw, keys.SILVER: keep_rows, keys.GOLD: keep_rows}
    carrier = Carrier(market_log, shelves, ThreadPoolExecutor(2), patience, keep, max_dead_letters)
    keeper = LeaseKeeper(client, Role.WRITER, name, markets, ttl, lambda: uuid4().hex)
    pace = Pace(timedelta(seconds=0.01), timedelta(seconds=0.05), renew)
    return Writer(market_log, keeper, RunWriter(market_log, carrier, patience, ZSTD), patience, health, limits, pace)


@asynccontextmanager
async def running(writer: Writer) -> AsyncIterator[asyncio.Task[None]]:
    """Runs the writer; at the end it stops cleanly. What made it fail is raised."""
    stop = asyncio.Event()
    task = asyncio.create_task(writer.run(stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await task


async def until(holds: Callable[[], Awaitable[bool]], task: asyncio.Task[None] | None = None) -> None:
    """Waits until `holds`; raises what made `task` fail meanwhile, or TimeoutError."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await holds():
            if task is not None and task.done():
                await task
            await asyncio.sleep(0.01)


async def publish(market_log: MarketLog, lease: Lease, events: list[tuple[int, bytes]], first: int = 1) -> None:
    """Publishes (capture_ts, payload) events; `first` is the number of the first one under this lease."""
    for start in range(0, len(events), 500):
        await market_log.publish(lease, first + start, events[start : start + 500])


async def reading_has_begun() -> bool:
    """A writer of this process has read something that is not written yet."""
    return bool(metrics.HELD_BYTES._value.get() > 0)


async def is_owned(client: Redis, market: Market) -> bool:
    """Some writer holds the lease."""
    return bool(await client.hget(keys.lease(market, Role.WRITER), "token"))


async def entries_in(client: Redis, key: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """All entries of a stream, as redis-py gives them."""
    return cast(list[tuple[bytes, dict[bytes, bytes]]], await client.xrange(key))


async def until_written(
    task: asyncio.Task[None], market_log: MarketLog, market: Market, streams: Sequence[str] = ("raw",)
) -> None:
    """Waits until the writer has nothing left of these streams."""
    for stream in streams:
        await until(partial(all_written, market_log, market, stream), task)


async def all_written(market_log: MarketLog, market: Market, stream: str = "raw") -> bool:
    """The writer has nothing left of the stream to write."""
    return (await market_log.cursor(market, stream, "writer")).lag == 0


def writer_config(redis_url: str, folder: Path, **sections: Any) -> dict[str, Any]:
    """A configuration of one market on the local disk; `sections` replace its sections."""
    store = {"backend": "local", "base_dir": str(folder)}
    return {
        "redis": {"url": redis_url},
        "ccxt": {"exchanges": {"binanceus": {"channels": {"watchTrades": ["BTC/USDT"]}}}},
        "storage": {"ingestion_storage": store, "etl_storage_output": store},
        "ingestion": {"flush_interval_seconds": 0.1},
        "leases": {"ttl_seconds": 1.0, "renew_seconds": 0.2},
        **sections,
    }


class WriterProcess:
    """`python -m daedalus_writer` with a configuration file in `folder`."""

    def __init__(
        self, folder: Path, config: dict[str, Any], name: str = "writer-1", command: tuple[str, ...] = MODULE
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._command = command
        self._file = folder / f"{name}.yaml"
        self._file.write_text(yaml.safe_dump(config))
        self._log = folder / f"{name}.log"
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        command = [sys.executable, *self._command, "--config", str(self._file), "--name", self._name]
        command += ["--telemetry-port", "0"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        return self

    def metrics(self) -> str:
        """What Prometheus would read; empty before the process serves it."""
        return self._ask("/metrics")[1]

    def readiness(self) -> tuple[int, dict[str, str]]:
        """The status of /readyz and the problems by check; (0, {}) before the process serves it."""
        status, text = self._ask("/readyz")
        return status, json.loads(text)["problems"] if text else {}

    def _ask(self, path: str) -> tuple[int, str]:
        found = re.findall(r"telemetry=(http://[\d.:]+)", self.log)
        if not found:
            return 0, ""
        try:
            with urllib.request.urlopen(found[-1] + path, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def kill(self) -> None:
        """As a crash: kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code of a process that ends by itself."""
        return self._running().wait(WAIT_SECONDS)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._running().pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _end(self, how: signal.Signals) -> int:
        self._running().send_signal(how)
        return self._running().wait(WAIT_SECONDS)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the writer has not been started")
        return self._process
