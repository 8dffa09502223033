"""What comes too late for its sequence is sent to the stream `late`: all of it, once, and only to its own Redis."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import OutOfMemoryError

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import LateEvent, MarketLog
from daedalus_common.entries import decode, encode
from daedalus_common.events import Gap, Heartbeat
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_ingestor.late_events import LateEvents
from daedalus_ingestor.spool import Spool
from daedalus_ingestor.spool_files import MarketFiles
from daedalus_ingestor.spool_folders import lock_existing
from daedalus_ingestor.spool_records import Record
from support.spooling import MARKET, OTHER, Replica, metric, numbers

LATE = keys.stream(MARKET, keys.LATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def sender(client: Redis, folder: Path) -> Callable[..., LateEvents]:
    """`sender()`: of another ingestor process on the same machine."""

    def make(log: MarketLog | None = None, *, calm: bool = True) -> LateEvents:
        spool = Spool(folder, 10**7, fsync=False)
        return LateEvents(spool, client, log or MarketLog(client), [MARKET], lambda: calm)

    return make


@pytest.fixture
async def log_name(client: Redis) -> None:
    """The market's sequence in Redis has the name that `Replica` spools for."""
    await client.hset(keys.sequence(MARKET), "log", "log")


def late_folder(folder: Path, name: str, count: int, epoch: int = 1, market: Market = MARKET) -> Path:
    """A folder with heartbeats numbered from 1."""
    folder.mkdir(exist_ok=True)
    files = MarketFiles(folder / name, market.name, 64 * 1024, fsync=False)
    files.write([Record(i, epoch, i + 1, i + 1, encode(Heartbeat(i + 1))) for i in range(count)])
    files.close()
    return folder / name


async def in_late(client: Redis, key: str = LATE) -> list[int]:
    entries: Any = await client.xrange(key)
    return [decode(fields[b"e"]).capture_ts for _, fields in entries]


async def test_a_late_folder_is_sent_and_goes(client, folder, sender, log_name):
    path = late_folder(folder, f"{MARKET.name}@log.late-3", 450)
    await sender().look(asyncio.Event())
    assert await in_late(client) == list(range(1, 451))
    [(_, first), *_] = await client.xrange(LATE, count=1)
    assert (first[b"g"], first[b"s"], first[b"t"]) == (b"1", b"1", b"0000000000000000001")
    assert not path.exists()
    assert await client.exists(keys.late_places(MARKET)) == 0
    assert await client.xlen(keys.stream(MARKET, keys.RAW)) == 0
    assert [info["name"] for info in await client.xinfo_groups(LATE)] == [b"writer"], (
        "so that nothing is trimmed unread"
    )


class LogThatLosesReplies(MarketLog):
    """Every other reply is lost after the server has applied the batch."""

    calls = 0

    async def publish_late(self, market, folder, events):
        length = await super().publish_late(market, folder, events)
        self.calls += 1
        if self.calls % 2:
            raise RedisGone("the reply is lost")
        return length


async def test_a_lost_reply_doubles_nothing(client, folder, sender, log_name):
    late_folder(folder, f"{MARKET.name}@log.late-3", 900)
    log, looks = LogThatLosesReplies(client), 0
    while list(folder.iterdir()):
        looks += 1
        try:
            await sender(log).look(asyncio.Event())
        except RedisGone:
            continue
    assert looks == 6
    assert await in_late(client) == list(range(1, 901))


async def test_a_kill_at_any_point_doubles_nothing_and_loses_nothing(client, folder, sender, log_name):
    """What a killed process leaves: batches applied that its cursor on disk does not know of."""
    path = late_folder(folder, f"{MARKET.name}@log.late-3", 500)
    records = [LateEvent(i, 1, i + 1, i + 1, encode(Heartbeat(i + 1))) for i in range(333)]
    await MarketLog(client).publish_late(MARKET, path.name, records)
    await sender().look(asyncio.Event())
    assert await in_late(client) == list(range(1, 501))


async def test_a_folder_that_cannot_be_read_keeps_no_other_back(client, folder, sender, log_name):
    bad = late_folder(folder, f"{MARKET.name}@log.late-2", 5)
    (bad / "cursor").mkdir()
    good = late_folder(folder, f"{MARKET.name}@log.late-3", 50)
    with pytest.raises(IsADirectoryError):
        await sender().look(asyncio.Event())
    assert await in_late(client) == list(range(1, 51))
    assert not good.exists()
    (bad / "cursor").rmdir()
    await sender().look(asyncio.Event())
    assert len(await in_late(client)) == 55


async def test_at_maxmemory_it_waits(client, folder, sender, log_name):
    path = late_folder(folder, f"{MARKET.name}@log.late-3", 50)
    await MarketLog(client).open_market(MARKET)
    await client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(OutOfMemoryError):
            await sender().look(asyncio.Event())
    finally:
        await client.config_set("maxmemory", "0")
    assert await in_late(client) == []
    assert path.exists()
    await sender().look(asyncio.Event())
    assert await in_late(client) == list(range(1, 51))


async def test_live_events_go_first(client, folder, sender, log_name):
    path = late_folder(folder, f"{MARKET.name}@log.late-3", 50)
    await sender(calm=False).look(asyncio.Event())
    assert await client.xlen(LATE) == 0
    assert path.exists()


async def test_a_stream_that_nobody_takes_is_not_filled(client, folder, sender, log_name, monkeypatch):
    monkeypatch.setattr("daedalus_ingestor.late_events.MAX_LENGTH", 300)
    late_folder(folder, f"{MARKET.name}@log.late-3", 1000)
    await sender().look(asyncio.Event())
    assert await client.xlen(LATE) == 400, "two batches: the first after which it was longer"
    await client.xtrim(LATE, maxlen=0, approximate=False)
    await sender().look(asyncio.Event())
    assert await in_late(client) == list(range(401, 801))


async def test_folders_that_are_not_for_this_redis_stay_and_are_told_with_the_way_out(
    client, folder, sender, log_name, capsys
):
    other = late_folder(folder, f"{MARKET.name}@another", 5)
    unknown = late_folder(folder, f"{OTHER.name}@log.late-1", 5, market=OTHER)
    late = sender()
    await late.look(asyncio.Event())
    await late.look(asyncio.Event())
    states = {state: metric_of("late_folders", state) for state in ("waiting", "other_redis", "not_configured")}
    assert states == {"waiting": 0, "other_redis": 1, "not_configured": 1}
    told = capsys.readouterr().out
    assert told.count("of another Redis stay on disk") == told.count("not configured stay on disk") == 1
    assert await in_late(client) == []
    command = told[told.index("mv '") + 4 :].split("'")
    assert command[0] == str(other)
    await asyncio.to_thread(Path(command[0]).rename, command[2])
    await late.look(asyncio.Event())
    assert await in_late(client) == [1, 2, 3, 4, 5]
    assert unknown.exists()


def metric_of(name: str, state: str) -> float | None:
    return REGISTRY.get_sample_value(f"daedalus_ingestor_{name}", {"state": state})


async def test_what_a_dead_ingestor_left_is_found_late_without_its_market_being_taken(
    client, folder, sender, log_name, stream
):
    """The market lives on with another machine's ingestor; this machine's other processes find the spool."""
    replica = Replica(folder)
    await replica.take(stream, 1)
    replica.send(30)
    await replica.disk.flush()
    await sender().look(asyncio.Event())
    assert await in_late(client) == [], "it is locked"
    replica.die()
    await client.hset(keys.sequence(MARKET), mapping={"epoch": 1, "applied": 8})
    late = sender()
    await late.look(asyncio.Event())
    assert await in_late(client) == [], "nobody has published since: whoever takes the market publishes it in time"
    await client.hset(keys.sequence(MARKET), mapping={"epoch": 2, "applied": 1})
    await late.look(asyncio.Event())
    assert await in_late(client) == list(range(8, 30))
    assert list(folder.iterdir()) == []


async def test_events_in_memory_at_a_fence_are_kept_as_late(client, folder, sender, log_name, stream):
    """Eight in memory are older than those on disk: no process could put them into the sequence later."""
    replica = Replica(folder)
    await replica.take(stream, 1)
    replica.send(30)
    await replica.disk.flush()
    kept = metric("late_kept_events_total")
    assert replica.queue.close(replica.outbox) == 0
    await replica.spool.close(MARKET)
    assert metric("late_kept_events_total") == kept + 8
    await client.hset(keys.sequence(MARKET), mapping={"epoch": 2, "applied": 1})
    await sender().look(asyncio.Event())
    assert sorted(await in_late(client)) == list(range(30))
    places = {(fields[b"g"], int(fields[b"s"])) for _, fields in await client.xrange(LATE)}
    assert places == {(b"1", number) for number in range(1, 31)}
    assert list(folder.iterdir()) == []


async def test_what_is_captured_between_the_fence_and_the_end_of_the_feed_goes_on_in_number(
    client, folder, sender, log_name, stream
):
    """The publisher hears of the fence first and closes the outbox; the ingestor does so again with the market."""
    replica = Replica(folder)
    await replica.take(stream, 1)
    replica.send(30)
    replica.queue.close(replica.outbox)
    replica.send(10)
    replica.queue.close(replica.outbox)
    await replica.spool.close(MARKET)
    await client.hset(keys.sequence(MARKET), mapping={"epoch": 2, "applied": 1})
    await sender().look(asyncio.Event())
    assert sorted(await in_late(client)) == list(range(40))
    entries: Any = await client.xrange(LATE)
    assert sorted(int(fields[b"s"]) for _, fields in entries) == list(range(1, 41))
    assert all(int(fields[b"s"]) == decode(fields[b"e"]).capture_ts + 1 for _, fields in entries)


async def test_events_in_memory_at_a_fence_are_published_if_nobody_else_was_there(folder, stream):
    """The lease ran out and came back: what follows the spool goes there, and from there into the sequence."""
    replica = Replica(folder)
    await replica.take(stream, 1)
    replica.send(6)
    await replica.publish(stream, 2)
    assert replica.queue.close(replica.outbox) == 0
    await replica.spool.close(MARKET)
    following = Replica(folder)
    assert await following.take(stream, 2, sent=6)
    await following.publish_all(stream)
    assert numbers(stream) == list(range(6))


async def test_only_damage_stays(client, folder, sender, log_name):
    path = late_folder(folder, f"{MARKET.name}@log.late-3", 600)
    (segment,) = path.glob("*.spool")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    late = sender()
    await late.look(asyncio.Event())
    await late.look(asyncio.Event())
    sent = await in_late(client)
    assert sent == list(range(1, len(sent) + 1))
    assert 250 < len(sent) < 600
    assert metric_of("late_folders", "damaged") == 1
    assert [file.suffix for file in path.iterdir() if file.name not in ("lock", "cursor")] == [".damaged"]


async def test_two_ingestors_of_one_machine_do_not_send_one_folder_together(client, folder, sender, log_name):
    path = late_folder(folder, f"{MARKET.name}@log.late-3", 30)
    lock = lock_existing(path)
    assert lock is not None
    await sender().look(asyncio.Event())
    assert await in_late(client) == []
    os.close(lock)
    await sender().look(asyncio.Event())
    assert len(await in_late(client)) == 30


async def test_the_fence_does_not_matter(client, folder, sender, log_name, lease_of):
    """Late events are nobody's: the owner of the market goes on publishing meanwhile."""
    lease: Lease = await lease_of(Role.INGESTOR)
    late_folder(folder, f"{MARKET.name}@log.late-3", 300)
    log = MarketLog(client)
    await log.open_market(MARKET)
    looking = asyncio.create_task(sender().look(asyncio.Event()))
    for number in range(1, 50):
        await log.publish(lease, number, [(number, encode(Gap(number, "trades", "start")))])
    await looking
    seqs = [int(fields[b"s"]) for _, fields in await client.xrange(keys.stream(MARKET, keys.RAW))]
    assert seqs == list(range(1, 50))
    assert len(await in_late(client)) == 300
