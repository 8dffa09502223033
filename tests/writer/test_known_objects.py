"""A writer that was alone with its streams knows what is durable; one that may not have been looks at the store."""

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from os import kill
from pathlib import Path
from typing import Any

import pytest

from daedalus_common.broker import keys
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.leases import Lease, Role
from daedalus_common.stores import CreateResult, LocalDisk
from daedalus_writer import metrics
from daedalus_writer.durable_end import Durable
from daedalus_writer.known_objects import KnownObjects, Survey
from daedalus_writer.newest_objects import Newest, NewestObject, newest_objects
from support.lost_tail import cut_back, written_length
from support.settling_scene import BTC, QUARTER, Scene, counted, opened, publish_anew
from support.valkey import ValkeyServer
from support.writers import WriterProcess, all_written, build_writer, running, until, until_written, writer_config

LOOKS = {
    keys.RAW: f"bronze/ccxt/trades/{BTC.partition}/",
    keys.SILVER: "silver/",
    keys.GOLD: "gold/",
}
"""The folder that each look at a stream's tables lists once."""
LEASE = Lease(BTC, 1, "token")


class WatchedDisk(LocalDisk):
    """The real disk; what is listed is counted, and while the gate is closed nothing is created."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fsync=False)
        self.listed: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()

    @property
    def looks(self) -> dict[str, int]:
        return {stream: self.listed[folder] for stream, folder in LOOKS.items()}

    def list(self, prefix: str = "", start_after: str | None = None) -> Any:
        self.listed[f"{prefix}*"] += 1
        return super().list(prefix, start_after)

    def folders(self, prefix: str = "") -> Any:
        self.listed[prefix] += 1
        return super().folders(prefix)

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        assert self.gate.wait(30)
        return super().create(key, data, metadata)


class WatchedScene(Scene):
    disk: WatchedDisk


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def scene(server: ValkeyServer, tmp_path: Path) -> AsyncIterator[WatchedScene]:
    async with opened(server, tmp_path) as plain:
        watched = WatchedScene(plain.server, plain.client, plain.lease, plain.folder)
        watched.disk = WatchedDisk(plain.folder)
        yield watched


async def settled(scene: WatchedScene, *streams: str) -> None:
    """Waits until the streams, raw alone by default, were settled under the process that serves now. (Those that have
    nothing to write are settled only when they have.)"""
    here = (await scene.client.info("server"))["run_id"]

    async def holds() -> bool:
        kept = [(await scene.log.durable(BTC, stream))[0] for stream in streams or [keys.RAW]]
        return all(durable is not None and Durable.decode(durable).server == here for durable in kept)

    await until(holds)


async def test_after_a_restart_of_the_server_a_living_writer_lists_nothing(scene: WatchedScene) -> None:
    async with scene.writer() as task:
        await settled(scene, *LOOKS)
        for begin in range(0, 600, 200):
            await scene.publish(begin, begin + 100)
            await until_written(task, scene.log, BTC)
            listed = scene.disk.listed.copy()
            await asyncio.to_thread(scene.server.restart)
            await scene.publish(begin + 100, begin + 200)
            await settled(scene)
            assert scene.disk.listed == listed
    assert scene.disk.looks == dict.fromkeys(LOOKS, 1)
    rows = scene.check(range(600))
    assert rows["generation"].n_unique() == 4
    assert rows["seq"].to_list() == list(range(1, 601))


async def test_after_a_lost_tail_a_living_writer_lists_nothing_and_raises_the_market(scene: WatchedScene) -> None:
    lost_tails = counted(metrics.LOST_TAILS)
    async with scene.writer() as task:
        await scene.publish(0, 300)
        await until_written(task, scene.log, BTC)
        length = written_length(scene.server)
        await scene.publish(300, 500)
        await until_written(task, scene.log, BTC)
        listed = scene.disk.listed.copy()
        await scene.cut_back(length)
        await scene.publish(500, 600)
        await settled(scene)
        await scene.publish(600, 700)
        await until_written(task, scene.log, BTC)
        assert scene.disk.listed == listed
    check_raised(scene, lost_tails)


async def test_objects_of_a_plan_that_the_server_lost_count_as_known(scene: WatchedScene) -> None:
    """The server goes back behind the plan while its objects are created; moving the cursor is refused then."""
    lost_tails = counted(metrics.LOST_TAILS)
    async with scene.writer() as task:
        await scene.publish(0, 300)
        await until_written(task, scene.log, BTC)
        length = written_length(scene.server)
        listed = scene.disk.listed.copy()
        scene.disk.gate.clear()
        await scene.publish(300, 500)

        async def covers_all() -> bool:
            plan = await scene.log.pending_plan(BTC, keys.RAW)
            return plan is not None

        await until(covers_all, task)
        plan = await scene.log.pending_plan(BTC, keys.RAW)
        assert plan is not None
        await scene.cut_back(length)
        scene.disk.gate.set()
        await settled(scene)
        await scene.publish(500, 700)
        await until_written(task, scene.log, BTC)
        assert scene.disk.listed == listed
    entries = plan.entries
    rows = scene.check([*range(300 + entries), *range(500, 700)])
    assert counted(metrics.LOST_TAILS) == lost_tails + 1
    assert rows["reason"].to_list().index("server_lost") == 300 + entries


def check_raised(scene: WatchedScene, lost_tails: float) -> None:
    rows = scene.check(range(700))
    assert counted(metrics.LOST_TAILS) == lost_tails + 1
    assert rows["reason"].to_list().index("server_lost") == 500
    assert rows["generation"][499] < rows["generation"][500]
    assert rows["seq"].is_unique().all()


async def test_a_server_away_for_longer_than_the_lease_lasts_makes_the_writer_look(scene: WatchedScene) -> None:
    """Another writer might have had the lease, under a process that is gone with what it knew."""
    lost_tails = counted(metrics.LOST_TAILS)
    ttl, renew = timedelta(seconds=1.0), timedelta(seconds=0.2)
    async with running(build_writer(scene.client, scene.disk, [BTC], ttl=ttl, renew=renew)) as task:
        await scene.publish(0, 300)
        await until_written(task, scene.log, BTC)
        length = written_length(scene.server)
        await scene.publish(300, 500)
        await until_written(task, scene.log, BTC)
        scene.server.kill()
        await asyncio.sleep(1.5)
        await asyncio.to_thread(scene.server.start)
        await asyncio.to_thread(cut_back, scene.server, length)
        await scene.publish(500, 600)
        await settled(scene)
        await scene.publish(600, 700)
        await until_written(task, scene.log, BTC)
    assert scene.disk.looks[keys.RAW] >= 2
    check_raised(scene, lost_tails)


async def test_a_writer_whose_lease_another_had_in_between_looks(scene: WatchedScene) -> None:
    async with scene.writer() as task:
        await scene.publish(0, 300)
        await until_written(task, scene.log, BTC)
        await settled(scene, *LOOKS)
        await another_has_it_once(scene)
        await scene.publish(300, 400)
        await until_written(task, scene.log, BTC)
        await asyncio.to_thread(scene.server.restart)
        await scene.publish(400, 500)
        await until_written(task, scene.log, BTC)
        assert scene.disk.looks[keys.RAW] == 2
        listed = scene.disk.listed.copy()
        await asyncio.to_thread(scene.server.restart)
        await scene.publish(500, 600)
        await until_written(task, scene.log, BTC)
        await settled(scene)
        assert scene.disk.listed == listed, "from then on it knows again"
    scene.check(range(600))


async def another_has_it_once(scene: WatchedScene) -> None:
    """A replica of the same name need not wait; the writer takes the lease back with its next renewal."""
    lease = keys.lease(BTC, Role.WRITER)
    another = LeaseKeeper(scene.client, Role.WRITER, "writer", [BTC], timedelta(seconds=30), lambda: "another")
    await another.renew()
    epoch = another.held[BTC].epoch

    async def is_back() -> bool:
        found = await scene.client.hget(lease, "epoch")
        return found is not None and int(found) > epoch

    await until(is_back)


async def test_what_another_wrote_under_a_lease_that_the_server_forgot_is_not_written_twice(
    scene: WatchedScene, tmp_path: Path
) -> None:
    """A writer that was stopped finds its lease as it left it: that another had it is in the lost end."""
    config = writer_config(scene.server.url, scene.folder)
    with WriterProcess(tmp_path / "a", config, "a") as stopped:
        await scene.publish(0, 300)
        await until(lambda: all_written(scene.log, BTC))
        await settled(scene)
        kill(stopped.pid, signal.SIGSTOP)
        await scene.publish(300, 500)
        length = written_length(scene.server)
        with WriterProcess(tmp_path / "b", config, "b") as another:
            await until(lambda: all_written(scene.log, BTC))
            another.kill()
        assert len(scene.bronze()) == 500
        await scene.cut_back(length)
        assert not await all_written(scene.log, BTC)
        assert await scene.client.hget(keys.lease(BTC, Role.WRITER), "owner") == b"a"
        kill(stopped.pid, signal.SIGCONT)
        await settled(scene)
        await scene.publish(500, 600)
        await until(lambda: all_written(scene.log, BTC))
        assert stopped.stop() == 0
        assert "lease lost" not in stopped.log
    scene.check(range(600))


async def test_a_market_that_is_met_for_the_first_time_takes_one_look_a_stream(scene: WatchedScene) -> None:
    await scene.publish(0, 300)
    await scene.write()
    await scene.cut_back(0)
    await publish_anew(scene, 300, 400)
    scene.disk.listed.clear()
    await scene.write()
    assert scene.disk.looks == dict.fromkeys(LOOKS, 1)
    scene.check(range(400))


async def test_a_stream_that_was_removed_by_hand_is_looked_at_anew(scene: WatchedScene) -> None:
    async with scene.writer() as task:
        await scene.publish(0, 300)
        await until_written(task, scene.log, BTC)
        await settled(scene)
        await asyncio.sleep(QUARTER)
        await scene.client.flushall()
        await publish_anew(scene, 300, 400)
        await until_written(task, scene.log, BTC)
        assert scene.disk.looks[keys.RAW] >= 2
    scene.check(range(400))


async def test_what_is_known_is_what_a_look_finds(scene: WatchedScene) -> None:
    known = KnownObjects()
    writer = build_writer(scene.client, scene.disk, [BTC])
    writer._run_writer._carrier.known = writer._run_writer._opening._objects = known
    async with running(writer) as task:
        await settled(scene)
        for begin in range(0, 900, 150):
            await scene.publish(begin, begin + 150)
            await until_written(task, scene.log, BTC)
        async with known.looking(BTC, keys.RAW) as place:
            assert place.survey is not None
            found = newest_objects(scene.disk, BTC, keys.RAW)
            assert place.survey.newest == found
            assert {table.split("/")[0] for table in found.ends} == {"bronze", "quality"}


async def test_where_creating_ends_early_nothing_is_known() -> None:
    known = KnownObjects()
    async with known.looking(BTC, keys.RAW) as place:
        place.survey = Survey(Newest(), LEASE, "a")
    async with known.creating(LEASE, keys.RAW) as made:
        made.add("table", NewestObject("20260101T00", 1, None))
    assert place.survey is not None
    assert place.survey.newest.counters == {"table": "20260101T00 1"}
    with pytest.raises(TimeoutError):
        async with known.creating(LEASE, keys.RAW):
            raise TimeoutError
    assert place.survey is None


@pytest.mark.parametrize(
    ("lease", "server", "tenure", "holds"),
    [
        (LEASE, "a", 7, True),
        (LEASE, "a", None, True),
        (LEASE, "b", 7, True),
        (LEASE, "b", 8, False),
        (LEASE, "b", None, False),
        (Lease(BTC, 2, "token"), "a", 7, False),
    ],
    ids=[
        "one process", "one process, whose epoch says enough", "a tenure that lasts", "another tenure",
        "a lease that may have run out", "another lease",
    ],
)  # fmt: skip
def test_a_survey_holds_while_nobody_else_can_have_written(
    lease: Lease, server: str, tenure: int | None, holds: bool
) -> None:
    assert Survey(Newest(), LEASE, "a", tenure=7, is_settled=True).holds(lease, server, tenure) == holds
    assert not Survey(Newest(), LEASE, "a").holds(LEASE, "b", None), "None is no tenure"
