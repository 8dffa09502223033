"""The server comes back without the end of its streams: no row is double, and what is durable stays in its place."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from daedalus_writer import metrics
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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def scene(server: ValkeyServer, tmp_path: Path) -> AsyncIterator[Scene]:
    client = connect(server.url)
    keeper = LeaseKeeper(client, Role.INGESTOR, "publisher", [BTC], timedelta(minutes=5), lambda: "publisher")
    await MarketLog(client).open_market(BTC)
    await keeper.renew()
    yield Scene(server, client, keeper.held[BTC], tmp_path / "lake")
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


@pytest.fixture
def anomalies() -> Iterator[None]:
    """Fails where one is counted: nobody has interfered."""
    before = counted(metrics.ANOMALIES)
    yield
    assert counted(metrics.ANOMALIES) == before


pytestmark = pytest.mark.usefixtures("anomalies")


async def test_a_clean_restart_begins_a_generation_and_declares_nothing(scene: Scene) -> None:
    async with scene.writer() as task:
        await scene.publish(0, 300)
        await until_written(task, scene.log, BTC)
        await scene.publish(300, 400)
        await asyncio.to_thread(scene.server.restart)
        await scene.publish(400, 500)
        await until_written(task, scene.log, BTC)
    rows = scene.check(range(500))
    assert rows["generation"].n_unique() == 2
    assert rows["seq"].to_list() == list(range(1, 501))
    assert "server_lost" not in rows["reason"]


async def test_a_lost_tail_that_is_durable_is_kept_and_its_loss_stands_behind_it(scene: Scene) -> None:
    await scene.publish(0, 300)
    await scene.write()
    length = written_length(scene.server)
    await scene.publish(300, 500)
    await scene.write()
    await scene.publish(500, 520)
    lost_tails = counted(metrics.LOST_TAILS)
    await scene.cut_back(length)
    await scene.publish(520, 700)
    await scene.write()
    rows = scene.check([*range(500), *range(520, 700)])
    assert counted(metrics.LOST_TAILS) == lost_tails + 1
    assert rows["reason"].to_list().index("server_lost") == 500
    assert rows["reason"].to_list().count("server_lost") == 1
    assert rows["generation"][499] < rows["generation"][500]
    assert rows["seq"].is_unique().all()


async def test_a_writer_that_lives_on_writes_nothing_twice(scene: Scene) -> None:
    async with scene.writer() as task:
        await scene.publish(0, 300)
        await until_written(task, scene.log, BTC)
        length = written_length(scene.server)
        await scene.publish(300, 500)
        await until_written(task, scene.log, BTC)
        await scene.cut_back(length)
        for start in range(500, 900, 50):
            await scene.publish(start, start + 50)
            await asyncio.sleep(0.05)
        await until_written(task, scene.log, BTC)
    rows = scene.check(range(900))
    assert rows["reason"].to_list().index("server_lost") == 500


@pytest.mark.parametrize("begun", [False, True], ids=["before anything is published", "after new events came"])
async def test_with_everybody_restarted_the_market_goes_on_behind_what_is_durable(begun: bool, scene: Scene) -> None:
    await scene.publish(0, 300)
    await scene.write()
    length = written_length(scene.server)
    await scene.publish(300, 500)
    await scene.write()
    await scene.cut_back(length)
    if begun:
        await publish_anew(scene, 500, 600)
        await scene.write()
    else:
        await scene.write()
        await publish_anew(scene, 500, 600)
        await scene.write()
    rows = scene.check(range(600))
    assert rows["reason"].to_list().count("server_lost") == (0 if begun else 1), "a new publisher says it by itself"
    if not begun:
        assert rows["reason"].to_list().index("server_lost") == 500
        assert rows["seq"].to_list() == list(range(1, 602))
    seq, _ = await scene.log.sequence(BTC)
    assert seq >= 500, "later numbers do not come again"


async def test_events_of_a_clock_that_is_behind_come_after_what_is_durable(scene: Scene) -> None:
    await scene.publish(0, 300)
    await scene.write()
    length = written_length(scene.server)
    await scene.client.execute_command("XSETID", keys.stream(BTC, keys.RAW), "4000000000000-0")
    await scene.publish(300, 500)
    await scene.write()
    await scene.cut_back(length)
    await scene.publish(500, 600)
    await scene.write()
    await scene.publish(600, 700)
    await scene.write()
    rows = scene.check(range(700))
    assert rows["stream_ms"][520] < 4000000000000 <= rows["stream_ms"][499]
    assert rows["stream_ms"][-1] == 4000000000000


async def test_entries_that_are_still_there_but_whose_plan_is_lost_are_not_written_twice(scene: Scene) -> None:
    await scene.publish(0, 300)
    length = written_length(scene.server)
    await scene.write()
    await scene.cut_back(length)
    await scene.publish(300, 400)
    await scene.write()
    rows = scene.check(range(400))
    assert "server_lost" not in rows["reason"]
    assert rows["seq"].to_list() == list(range(1, 401))


async def test_what_a_lost_plan_had_not_written_yet_is_written(scene: Scene) -> None:
    await scene.publish(0, 300)
    length = written_length(scene.server)
    await scene.write()
    trades = sorted((scene.folder / "bronze" / "ccxt" / "trades").glob("**/*.parquet"))
    assert trades
    for path in trades:
        path.unlink()  # as if the writer had died before it came to them
    await scene.cut_back(length)
    await scene.write()
    scene.check(range(300))


async def test_an_emptied_server_goes_on_behind_what_is_durable(scene: Scene) -> None:
    await scene.publish(0, 300)
    await scene.write()
    await scene.cut_back(0)
    await publish_anew(scene, 300, 400)
    await scene.write()
    rows = scene.check(range(400))
    assert rows["generation"][299] < rows["generation"][300]


async def test_a_writer_notices_that_the_server_was_emptied(scene: Scene) -> None:
    async with scene.writer() as task:
        await scene.publish(0, 300)
        await until_written(task, scene.log, BTC)
        await asyncio.sleep(QUARTER)
        await scene.client.flushall()
        await publish_anew(scene, 300, 400)
        await until_written(task, scene.log, BTC)
    scene.check(range(400))


async def test_a_second_restart_raises_nothing_again(scene: Scene) -> None:
    await scene.publish(0, 300)
    await scene.write()
    length = written_length(scene.server)
    await scene.publish(300, 500)
    await scene.write()
    await scene.cut_back(length)
    await scene.write()
    lost_tails = counted(metrics.LOST_TAILS)
    await asyncio.to_thread(scene.server.restart)
    await scene.write()
    await publish_anew(scene, 500, 600)
    await scene.write()
    assert counted(metrics.LOST_TAILS) == lost_tails
    assert scene.check(range(600))["reason"].to_list().count("server_lost") == 1


async def publish_anew(scene: Scene, begin: int, end: int) -> None:
    """As a publisher that was restarted, under a lease of its own."""
    keeper = LeaseKeeper(scene.client, Role.INGESTOR, "publisher", [BTC], timedelta(minutes=5), lambda: "another")
    await keeper.renew()
    await scene.log.open_market(BTC)
    for start in range(begin, end, 100):
        await scene.log.publish(keeper.held[BTC], start - begin + 1, EVENTS[start : min(end, start + 100)])
