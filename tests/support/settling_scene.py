"""One market, its publisher, and a writer in the test's own process, whose server loses its end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from redis.asyncio import Redis

from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.lost_tail import cut_back, written_length
from support.market_events import market_events, payloads
from support.valkey import ValkeyServer
from support.writers import build_writer, running, until_written

BTC = Market("binanceus", "BTC/USDT")
EVENTS = payloads(market_events(1, 900))
QUARTER = 0.26
"""Generations are told apart by the quarter of a second in which they begin; nobody loses data faster."""
TABLES = ("orderbook", "trades", "ticker", "control")


class Scene:
    """One market, its publisher, and what lies in Bronze of it."""

    def __init__(self, server: ValkeyServer, client: Redis, lease: Lease, folder: Path) -> None:
        self.server = server
        self.client = client
        self.log = MarketLog(client)
        self.lease = lease
        self.folder = folder
        self.disk = LocalDisk(folder, fsync=False)

    async def publish(self, begin: int, end: int) -> None:
        """The events from `begin` to before `end`, as a publisher that has counted on from 1."""
        for start in range(begin, end, 100):
            await self.log.publish(self.lease, start + 1, EVENTS[start : min(end, start + 100)])

    @asynccontextmanager
    async def writer(self) -> AsyncIterator["asyncio.Task[None]"]:
        async with running(build_writer(self.client, self.disk, [BTC])) as task:
            yield task

    async def write(self) -> None:
        async with self.writer() as task:
            await until_written(task, self.log, BTC)

    async def store_500_and_lose_200(self) -> None:
        """Events 0 to 499 are durable; the server no longer knows of those from 300 on."""
        await self.publish(0, 300)
        await self.write()
        length = written_length(self.server)
        await self.publish(300, 500)
        await self.write()
        await self.cut_back(length)

    async def cut_back(self, length: int) -> None:
        await asyncio.sleep(QUARTER)
        await asyncio.to_thread(cut_back, self.server, length)

    def bronze(self) -> pl.DataFrame:
        """All rows of all tables in the order of the sequence."""
        place = ["generation", "stream_ms", "stream_seq", "seq", "ts", "capture_ts"]
        frames = []
        for name in TABLES:
            for path in sorted((self.folder / "bronze" / "ccxt" / name).glob("**/*.parquet")):
                rows = pl.read_parquet(path, hive_partitioning=False)
                reason = [pl.col("reason")] if name == "control" else []
                frames.append(rows.select(*place, *reason))
        return pl.concat(frames, how="diagonal").sort("generation", "stream_ms", "stream_seq")

    def check(self, expected: Sequence[int]) -> pl.DataFrame:
        """Fails unless Bronze has the events of these numbers once and in order, and keys are unique; all rows."""
        rows = self.bronze()
        assert rows.select("generation", "seq").is_unique().all()
        assert rows["ts"].is_sorted()
        quality = pl.read_parquet(f"{self.folder}/quality/gaps/**/*.parquet", hive_partitioning=False)
        assert quality.select("generation", "stream_ms", "stream_seq", "phase").is_unique().all()
        gaps = (rows["reason"] == "server_lost").fill_null(value=False)
        events = rows.filter(~gaps)
        assert events["capture_ts"].dt.epoch("ns").to_list() == [EVENTS[i][0] for i in expected]
        return rows


@asynccontextmanager
async def opened(server: ValkeyServer, folder: Path) -> AsyncIterator[Scene]:
    """A scene on an empty server; its lake is in `folder`."""
    client = connect(server.url)
    keeper = LeaseKeeper(client, Role.INGESTOR, "publisher", [BTC], timedelta(minutes=5), lambda: "publisher")
    await MarketLog(client).open_market(BTC)
    await keeper.renew()
    yield Scene(server, client, keeper.held[BTC], folder / "lake")
    await client.aclose()


def counted(metric: Any, **labels: str) -> float:
    """The sum over all children of a counter with these labels."""
    return float(
        sum(
            sample.value
            for family in metric.collect()
            for sample in family.samples
            if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
        )
    )


async def publish_anew(scene: Scene, begin: int, end: int) -> None:
    """As a publisher that was restarted, under a lease of its own."""
    keeper = LeaseKeeper(scene.client, Role.INGESTOR, "publisher", [BTC], timedelta(minutes=5), lambda: "another")
    await keeper.renew()
    await scene.log.open_market(BTC)
    for start in range(begin, end, 100):
        await scene.log.publish(keeper.held[BTC], start - begin + 1, EVENTS[start : min(end, start + 100)])
