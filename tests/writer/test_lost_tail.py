"""The server comes back without the end of its streams: no row is double, and what is durable stays in its place."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from daedalus_common.broker import keys
from daedalus_writer import metrics
from support.lost_tail import written_length
from support.settling_scene import BTC, QUARTER, Scene, counted, opened, publish_anew
from support.valkey import ValkeyServer
from support.writers import until_written


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def scene(server: ValkeyServer, tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(server, tmp_path) as scene:
        yield scene


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
    await scene.store_500_and_lose_200()
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
    await scene.store_500_and_lose_200()
    await scene.write()
    lost_tails = counted(metrics.LOST_TAILS)
    await asyncio.to_thread(scene.server.restart)
    await scene.write()
    await publish_anew(scene, 500, 600)
    await scene.write()
    assert counted(metrics.LOST_TAILS) == lost_tails
    assert scene.check(range(600))["reason"].to_list().count("server_lost") == 1
