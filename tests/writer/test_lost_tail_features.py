"""Silver and Gold after the server has lost the end of its streams: no row twice, live = batch from a genesis on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from daedalus_common.telemetry import Health
from daedalus_features import FeatureConfig
from daedalus_featurizer.featurizer import Featurizer
from daedalus_featurizer.settings import Settings
from support.lost_tail import check_features, cut_back, geneses, written_length
from support.market_events import START, market_events, payloads
from support.valkey import ValkeyServer
from support.writers import build_writer, running, until, until_written

BTC = Market("binanceus", "BTC/USDT")
PARTITION = "exchange=binanceus/symbol=BTC-USDT"
PARAMS = FeatureConfig(rolling_windows=(5, 60), depth_levels=5, bar_durations=(10,), kyle_window=60, regime_window=60)
EVENTS = payloads(market_events(3, 3000, levels=5))
QUARTER = 0.26
_tokens = count(1)


def build_featurizer(client: Redis) -> Featurizer:
    settings = Settings(
        params={BTC: PARAMS},
        poll=timedelta(milliseconds=5),
        commit_after=timedelta(seconds=0.2),
        max_entries=500,
        max_rows=50,
        lease_ttl=timedelta(seconds=30),
        lease_renew=timedelta(seconds=0.2),
    )
    keeper = LeaseKeeper(
        client, Role.FEATURIZER, "featurizer", [BTC], settings.lease_ttl, lambda: f"token-{next(_tokens)}"
    )
    # The made-up events are of the past: a genesis stamped now would stop the market's time.
    return Featurizer(settings, MarketLog(client), keeper, Health("featurizer"), now_ns=lambda: START)


class Scene:
    """One market with its publisher; writer and featurizer come and go."""

    def __init__(self, server: ValkeyServer, client: Redis, lease: Lease, folder: Path) -> None:
        self.server = server
        self.client = client
        self.log = MarketLog(client)
        self.lease = lease
        self.folder = folder

    async def publish(self, begin: int, end: int) -> None:
        for start in range(begin, end, 50):
            await self.log.publish(self.lease, start + 1, EVENTS[start : min(end, start + 50)])

    @asynccontextmanager
    async def featurizer(self) -> AsyncIterator["asyncio.Task[None]"]:
        stop = asyncio.Event()
        task = asyncio.create_task(build_featurizer(self.client).run(stop))
        try:
            yield task
        finally:
            stop.set()
            await task

    @asynccontextmanager
    async def writer(self) -> AsyncIterator["asyncio.Task[None]"]:
        async with running(build_writer(self.client, LocalDisk(self.folder, fsync=False), [BTC])) as task:
            yield task

    async def featurized(self, task: "asyncio.Task[None]") -> None:
        async def caught_up() -> bool:
            has_begun = (await self.log.stored_state(BTC)).genesis is not None
            return has_begun and (await self.log.cursor(BTC, keys.RAW, "featurizer")).lag == 0

        await until(caught_up, task)

    async def process(self, begin: int, end: int) -> None:
        """Publishes, and lets a featurizer and a writer do all of it."""
        async with self.writer() as writer, self.featurizer() as featurizer:
            await self.featurized(featurizer)
            await self.publish(begin, end)
            await self.featurized(featurizer)
            await until_written(writer, self.log, BTC, (keys.RAW, keys.SILVER, keys.GOLD))

    async def raised(self, task: "asyncio.Task[None]") -> None:
        async def is_raised() -> bool:
            return bool(await self.client.hexists(keys.durable(BTC), "raised"))

        await until(is_raised, task)

    async def cut_back(self, length: int) -> None:
        await asyncio.sleep(QUARTER)
        await asyncio.to_thread(cut_back, self.server, length)


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


def of_raw(folder: Path) -> set[Path]:
    return {path for layer in ("bronze", "quality") for path in (folder / layer).glob("**/*.parquet")}


@pytest.mark.parametrize("alive", [False, True], ids=["services restarted", "services alive"])
async def test_after_a_lost_tail_features_begin_anew_and_no_row_is_double(alive: bool, scene: Scene) -> None:
    if alive:
        async with scene.writer() as writer, scene.featurizer() as featurizer:
            await scene.featurized(featurizer)
            await scene.publish(0, 600)
            await scene.featurized(featurizer)
            length = written_length(scene.server)
            await scene.publish(600, 1200)
            await scene.featurized(featurizer)
            await until_written(writer, scene.log, BTC, (keys.RAW, keys.SILVER, keys.GOLD))
            await scene.cut_back(length)
            await scene.publish(1200, 1300)
            await scene.raised(writer)
            await scene.publish(1300, 1400)
            await scene.featurized(featurizer)  # notices at its next step, and begins anew
            for start in range(1400, 3000, 100):
                await scene.publish(start, start + 100)
                await asyncio.sleep(0.05)
            await scene.featurized(featurizer)
            await until_written(writer, scene.log, BTC, (keys.RAW, keys.SILVER, keys.GOLD))
    else:
        await scene.process(0, 600)
        length = written_length(scene.server)
        await scene.process(600, 1200)
        await scene.cut_back(length)
        await scene.publish(1200, 1300)
        async with scene.writer() as writer:
            await scene.raised(writer)
        await scene.process(1300, 3000)
    found = geneses(scene.folder, PARTITION)
    assert len(found) == 2
    assert found["generation"][0] < found["generation"][1]
    after = check_features(scene.folder, PARTITION, int(found["ts"].dt.epoch("ns")[1]))
    assert after["silver/orderbook"] > 20
    assert after["gold/bars"] > 1


async def test_a_clean_restart_writes_no_genesis(scene: Scene) -> None:
    async with scene.writer() as writer, scene.featurizer() as featurizer:
        await scene.featurized(featurizer)
        await scene.publish(0, 600)
        await asyncio.to_thread(scene.server.restart)
        await scene.publish(600, 1200)
        await scene.featurized(featurizer)
        await until_written(writer, scene.log, BTC, (keys.RAW, keys.SILVER, keys.GOLD))
    assert len(geneses(scene.folder, PARTITION)) == 1
    assert check_features(scene.folder, PARTITION, 0)["silver/orderbook"] > 20


async def test_rows_that_are_durable_while_their_events_are_lost_are_not_written_again(scene: Scene) -> None:
    """Silver may be written before the events it comes from; computed anew from others it would be double."""
    await scene.process(0, 600)
    length = written_length(scene.server)
    async with scene.featurizer() as featurizer:
        await scene.publish(600, 900)
        await scene.featurized(featurizer)
    before = of_raw(scene.folder)
    async with scene.writer() as writer:
        await until_written(writer, scene.log, BTC, (keys.RAW, keys.SILVER, keys.GOLD))
    for path in of_raw(scene.folder) - before:
        path.unlink()  # the server and the writer died before the events were written
    await scene.cut_back(length)
    async with scene.writer() as writer:
        await scene.raised(writer)
    await scene.process(900, 1500)
    found = geneses(scene.folder, PARTITION)
    assert len(found) == 2
    assert check_features(scene.folder, PARTITION, int(found["ts"].dt.epoch("ns")[1]))["silver/orderbook"] > 10


async def test_a_step_is_refused_when_the_state_was_taken_away(scene: Scene) -> None:
    async with scene.featurizer() as featurizer:
        await scene.publish(0, 300)
        await scene.featurized(featurizer)
        before = (await scene.log.stored_state(BTC)).genesis
        await scene.client.hdel(keys.state(BTC), "genesis", "hot")
        await scene.publish(300, 600)
        await scene.featurized(featurizer)
        after = (await scene.log.stored_state(BTC)).genesis
    assert before is not None
    assert after is not None
    assert before != after
