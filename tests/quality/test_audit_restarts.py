"""The audit where Redis was restarted: a generation has begun, of which nothing may be stored."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from daedalus_common.broker import keys
from daedalus_common.stores import CreateResult, LocalDisk
from support.lake import objects
from support.lost_tail import written_length
from support.settling_scene import BTC, Scene, opened, publish_anew
from support.valkey import ValkeyServer
from support.writers import until

Audit = Callable[..., Awaitable[Any]]


class Crash(Exception):
    """The process ends here."""


class DiskDyingBeforeQuality(LocalDisk):
    """The real disk, until the process dies before the first row about a gap."""

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        if key.startswith("quality/"):
            raise Crash
        return super().create(key, data, metadata)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def redis_url(server: ValkeyServer) -> str:
    """Of a server that the test may restart."""
    return server.url


@pytest.fixture
async def scene(server: ValkeyServer, tmp_path: Path) -> AsyncIterator[Scene]:
    """Its lake is the fixture `folder`."""
    async with opened(server, tmp_path) as scene:
        yield scene


async def restart(scene: Scene) -> None:
    await asyncio.to_thread(scene.server.restart)


async def write_elsewhere(scene: Scene, tmp_path: Path) -> None:
    """As into the mount point of a data disk that is not mounted."""
    disk, scene.disk = scene.disk, LocalDisk(tmp_path / "bare", fsync=False)
    await scene.write()
    scene.disk = disk


async def write_and_delete(scene: Scene, _: Path) -> None:
    before = set(objects(scene.folder))
    await scene.write()
    for key in set(objects(scene.folder)) - before:
        (scene.folder / key).unlink()


def numbers(market: Any) -> tuple[int, ...]:
    return tuple(market[name] for name in ("published", "stored", "unexplained", "waiting"))


@pytest.mark.parametrize("lose", [write_elsewhere, write_and_delete])
async def test_all_since_the_last_restart_that_is_not_there_is_missed(
    scene: Scene, tmp_path: Path, audit: Audit, lose: Callable[[Scene, Path], Awaitable[None]]
) -> None:
    await scene.publish(0, 300)
    await scene.write()
    await restart(scene)
    await scene.publish(300, 500)
    await lose(scene, tmp_path)
    for arguments in ((), ("--since", "2026-02-02")):
        market, report = await audit(*arguments, code=1)
        assert numbers(market) == (500, 300, 200, 0)
        [problem] = report["problems"]
        assert "301-500" in problem
        assert "the last number that Redis gave" in problem
    await audit("--offline")


async def test_what_is_missed_and_what_waits_behind_it_across_a_restart_are_told_apart(
    scene: Scene, tmp_path: Path, audit: Audit
) -> None:
    await scene.publish(0, 300)
    await scene.write()
    await scene.publish(300, 400)
    await write_elsewhere(scene, tmp_path)
    await scene.publish(400, 420)
    await restart(scene)
    await scene.publish(420, 450)
    market, report = await audit(code=1)
    assert numbers(market) == (450, 300, 100, 50)
    [problem] = report["problems"]
    assert "301-400" in problem


async def test_restarts_behind_which_all_is_stored_or_waits_are_no_fault(scene: Scene, audit: Audit) -> None:
    await scene.publish(0, 300)
    await scene.write()
    await restart(scene)
    market, report = await audit()
    assert (numbers(market), report["notes"]) == ((300, 300, 0, 0), []), "nothing was published since"
    await scene.publish(300, 350)
    assert numbers((await audit())[0]) == (350, 300, 0, 50)
    await restart(scene)
    await scene.publish(350, 380)
    assert numbers((await audit())[0]) == (380, 300, 0, 80), "of two generations"
    await scene.write()
    assert numbers((await audit())[0]) == (380, 380, 0, 0)


async def test_a_server_that_was_emptied_is_no_fault(scene: Scene, audit: Audit) -> None:
    await scene.publish(0, 300)
    await scene.write()
    await restart(scene)
    await scene.client.flushall()
    assert numbers((await audit())[0]) == (300, 300, 0, 0)
    await scene.log.open_market(BTC)
    assert numbers((await audit())[0]) == (300, 300, 0, 0)
    await publish_anew(scene, 300, 400)
    await scene.write()
    market, report = await audit()
    assert (market["stored"], market["unexplained"], report["problems"]) == (400, 0, [])


async def test_a_generation_that_begins_without_an_event_is_no_fault(scene: Scene, audit: Audit) -> None:
    """The server had lost its end, somebody else published, and only then a writer raised the market."""
    await scene.store_500_and_lose_200()
    await publish_anew(scene, 500, 600)
    await scene.write()
    told = await scene.client.hmget(keys.sequence(BTC), ["generation", "seq"])
    newest, seq = (int(value or 0) for value in told)
    assert newest > scene.bronze()["generation"].max()  # type: ignore[operator]
    assert seq == 500
    market, _ = await audit()
    assert numbers(market) == (600, 600, 0, 0)


async def test_numbers_that_come_again_after_a_lost_end_and_are_not_there_are_told_without_a_count(
    scene: Scene, tmp_path: Path, audit: Audit
) -> None:
    await scene.store_500_and_lose_200()
    await audit()
    await publish_anew(scene, 500, 600)
    await audit()
    await write_elsewhere(scene, tmp_path)
    market, report = await audit(code=1)
    assert numbers(market) == (500, 500, 0, 0)
    [problem] = report["problems"]
    assert "no row is stored; how many lack is unknown" in problem


async def test_dead_letters_of_before_a_restart_are_accounted_for_behind_it(scene: Scene, audit: Audit) -> None:
    await scene.publish(0, 100)
    await scene.log.publish(scene.lease, 101, [(1, b"\x07\x01broken"), (2, b"")])
    await scene.write()
    await restart(scene)
    await scene.log.publish(scene.lease, 103, [(1, b"\x07\x01broken"), (2, b"")])
    await scene.write()
    market, _ = await audit()
    assert (*numbers(market), market["rejected"]) == (104, 100, 0, 0, 4), "nothing else was published since"
    await scene.publish(104, 200)
    await scene.write()
    market, _ = await audit()
    assert (*numbers(market), market["rejected"]) == (200, 196, 0, 0, 4)


async def test_a_lost_end_whose_gap_event_still_waits_is_no_fault(scene: Scene, audit: Audit) -> None:
    """The publisher counts on from what the server has lost, and a part of that was never stored."""
    await scene.publish(0, 300)
    await scene.write()
    length = written_length(scene.server)
    await scene.publish(300, 500)
    await scene.write()
    await scene.publish(500, 520)
    await scene.cut_back(length)
    assert numbers((await audit())[0]) == (500, 500, 0, 0)
    await scene.publish(520, 700)
    for stored, waiting in ((500, 181), (681, 0)):
        market, _ = await audit()
        assert (*numbers(market), market["lost"]) == (701, stored, 0, waiting, 20)
        await scene.write()


async def goes_on(scene: Scene) -> None:
    await scene.publish(600, 700)
    await scene.write()


async def is_published_anew(scene: Scene) -> None:
    await publish_anew(scene, 600, 700)
    await scene.write()


async def is_raised_first(scene: Scene) -> None:
    await scene.write()
    await is_published_anew(scene)


@pytest.mark.parametrize("after", [goes_on, is_published_anew, is_raised_first])
async def test_gaps_whose_rows_are_to_come_or_were_lost_with_a_plan_are_no_fault(
    scene: Scene, folder: Path, audit: Audit, after: Callable[[Scene], Awaitable[None]]
) -> None:
    """The rows of quality/gaps are the last that a run stores: a writer dies before, and Redis loses the plan."""

    async def is_done() -> bool:
        return task.done()

    await scene.publish(0, 300)
    await scene.write()
    length = written_length(scene.server)
    await scene.publish(300, 600)
    disk, scene.disk = scene.disk, DiskDyingBeforeQuality(folder, fsync=False)
    with pytest.raises(Crash):
        async with scene.writer() as task:
            await until(is_done)
    scene.disk = disk
    market, report = await audit()
    assert (market["stored"], report["problems"], report["notes"]) == (600, [], [])
    await scene.cut_back(length)
    assert (await audit())[1]["problems"] == []
    await after(scene)
    market, report = await audit()
    assert (market["unexplained"], report["problems"], report["notes"]) == (0, [], [])
    assert market["stored"] >= 700
