"""The queue overflows to disk: nothing is lost within the bound, and order holds, whatever dies meanwhile."""

import asyncio
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from daedalus_common.entries import encode
from daedalus_common.events import Heartbeat
from daedalus_common.telemetry import Health
from daedalus_ingestor import market_spool
from daedalus_ingestor.market_spool import SpoolError
from daedalus_ingestor.spool import Spool
from daedalus_ingestor.spool_records import Record
from support.spooling import MARKET, OTHER, Replica, gaps, metric, numbers


@pytest.mark.parametrize("flushed", [True, False])
async def test_what_does_not_fit_goes_to_disk_and_comes_back_in_order(replica, stream, flushed):
    assert replica.send(50) == 50
    if flushed:
        await replica.disk.flush()
        assert replica.disk.size_bytes > 42 * 44
    assert (len(replica.outbox.events), replica.disk.unread) == (8, 42)
    await replica.publish_all(stream)
    assert numbers(stream) == list(range(50))
    assert gaps(stream) == []
    await replica.disk.flush()
    assert (replica.disk.depth, replica.disk.size_bytes, replica.spool.size_bytes) == (0, 0, 0)


async def test_a_batch_is_synced_once_before_it_counts_as_kept(tmp_path, stream, monkeypatch):
    synced = []

    def fdatasync(file: int) -> None:
        found = os.fstat(file)
        synced.append((found.st_ino, found.st_size))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    replica = Replica(tmp_path / "spool", fsync=True)
    await replica.take(stream, 1)
    for count in (50, 30):
        replica.send(count)
        synced.clear()
        await replica.disk.flush()
        (segment,) = tmp_path.rglob("*.spool")
        kept = segment.stat()
        assert [one for one in synced if one[0] == kept.st_ino] == [(kept.st_ino, kept.st_size)]


async def test_a_flush_that_gets_no_memory_keeps_what_it_was_to_write(replica, stream, monkeypatch):
    def no_memory(*_: object) -> Record:
        raise MemoryError

    replica.send(20)
    with monkeypatch.context() as patched:
        patched.setattr(market_spool, "Record", no_memory)
        with pytest.raises(MemoryError):
            await replica.disk.flush()
    replica.send(5)
    await replica.disk.flush()
    await replica.publish_all(stream)
    assert numbers(stream) == list(range(25))


async def test_a_spool_that_is_closed_while_it_is_written_has_what_was_written(replica, stream, tmp_path, monkeypatch):
    writing, go_on = threading.Event(), threading.Event()
    write = replica.disk.files.write

    def slowly(records: list[Record]) -> None:
        writing.set()
        assert go_on.wait(20)
        write(records)

    monkeypatch.setattr(replica.disk.files, "write", slowly)
    replica.send(20)
    flushing = asyncio.create_task(replica.disk.flush())
    assert await asyncio.to_thread(writing.wait, 20)
    replica.queue.close(replica.outbox)
    closing = asyncio.create_task(replica.spool.close(MARKET))
    await asyncio.sleep(0.1)
    assert not closing.done()
    go_on.set()
    await asyncio.gather(flushing, closing)
    heir = Replica(tmp_path / "spool")
    assert await heir.take(stream, 2, replica.sent)
    await heir.publish_all(stream)
    assert numbers(stream)[-12:] == list(range(8, 20)), "what was in memory alone is the take-over's gap"


async def test_one_market_whose_folder_cannot_be_read_stops_no_other(tmp_path, stream):
    health = Health("ingestor")
    spool = Spool(tmp_path / "spool", 10**7, fsync=False, health=health)
    damaged = tmp_path / "spool" / f"{OTHER.name}@log"
    (damaged / "lock").mkdir(parents=True)  # which cannot be opened for writing
    with pytest.raises(SpoolError, match="Is a directory"):
        await spool.open(OTHER, "log")
    assert not spool.is_waiting()
    problems = health.readiness().problems
    assert "Is a directory" in problems[f"spool of {OTHER.name}"]
    assert "spool" not in problems
    (await spool.open(MARKET, "log")).append(1, encode(Heartbeat(1)))
    await spool.close(MARKET)
    assert list((tmp_path / "spool").rglob("*.spool"))
    (damaged / "lock").rmdir()
    await spool.open(OTHER, "log")
    assert f"spool of {OTHER.name}" not in health.readiness().problems
    await spool.close(OTHER)


async def test_what_comes_meanwhile_follows_what_is_on_disk(replica, stream):
    replica.send(20)
    await replica.disk.flush()
    await replica.publish(stream, 8)
    assert replica.queue.size == 0
    replica.send(5)
    assert replica.queue.size == 0, "there is room, but older events are on disk"
    await replica.publish_all(stream)
    replica.send(3)
    assert replica.queue.size == 3, "and now there are none"
    await replica.publish_all(stream)
    assert numbers(stream) == list(range(28))


async def test_a_spool_that_is_empty_leaves_no_folder(replica, stream, tmp_path):
    replica.send(30)
    await replica.disk.flush()
    await replica.publish_all(stream)
    replica.queue.close(replica.outbox)
    await replica.spool.close(MARKET)
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_market_with_room_does_not_touch_the_disk(replica, stream, tmp_path):
    replica.send(8)
    await replica.disk.flush()
    await replica.publish_all(stream)
    assert list(tmp_path.rglob("*.spool")) == []


async def test_past_the_bound_the_newest_are_dropped_and_declared_in_their_place(tmp_path, stream):
    replica = Replica(tmp_path / "spool", max_bytes=2000)
    await replica.take(stream, 1)
    kept = replica.send(100)
    assert 8 < kept < 100
    await replica.disk.flush()
    assert replica.spool.size_bytes <= 2000 + 100
    assert replica.send(5) == 0
    await replica.publish_all(stream)
    await replica.disk.flush()
    replica.send(1)
    await replica.publish_all(stream)
    assert numbers(stream) == [*range(kept), 105]
    assert gaps(stream) == [("overflow", 105 - kept)]


async def test_the_bound_holds_over_all_markets_and_what_others_left(tmp_path, stream):
    first = Replica(tmp_path / "spool", max_bytes=4000)
    await first.take(stream, 1)
    first.send(40)
    await first.disk.flush()
    first.die()
    second = Spool(tmp_path / "spool", 4000, fsync=False)
    other = await second.open(OTHER, "log")
    assert second.size_bytes > 40 * 32
    assert other.has_room(b"x" * 1000)
    assert not other.has_room(b"x" * 3000)


async def test_depth_size_and_age_are_told(tmp_path, stream):
    replica = Replica(tmp_path / "spool")
    replica.spool._now_ns = lambda: 10_000_000_000
    await replica.take(stream, 1)
    replica.queue.offer(replica.trades, 1_000_000_000, encode(Heartbeat(0)))
    replica.send(7)
    replica.queue.offer(replica.trades, 4_000_000_000, encode(Heartbeat(0)))
    replica.queue.offer(replica.trades, 7_000_000_000, encode(Heartbeat(0)))
    replica.queue.offer(replica.trades, 9_000_000_000, encode(Heartbeat(0)))
    await replica.disk.flush()
    replica.spool.report()
    assert metric("spool_events") == 3
    assert metric("spool_age_seconds") == 6
    for _ in range(2):
        await replica.queue.load(replica.outbox, 1)
    await replica.publish(stream, 10)
    replica.spool.report()
    assert metric("spool_events") == 1
    assert metric("spool_age_seconds") == 3, "since the newest that is confirmed"
    assert metric("spool_bytes") == replica.spool.size_bytes > 88
    await replica.publish_all(stream)
    await replica.disk.flush()
    replica.spool.report()
    assert (metric("spool_events"), metric("spool_age_seconds"), metric("spool_bytes")) == (0, 0, 0)


async def test_two_ingestors_do_not_open_one_market(replica, tmp_path):
    other = Spool(tmp_path / "spool", 10**6)
    with pytest.raises(SpoolError, match=r"binanceus:BTC-USDT@log is in use by another ingestor"):
        await other.open(MARKET, "log")
    await replica.spool.close(MARKET)
    assert (await other.open(MARKET, "log")).unread == 0


async def test_a_folder_that_cannot_be_used_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"file/spool cannot be used: Not a directory; set ingestion.spool_dir"):
        Spool(tmp_path / "file" / "spool", 10**6)


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 1,000 bytes: the kernel refuses the rest, in the middle of a record.

    Of this whole process, and so of the file that pytest's own output may go to: only around what is tested.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestADiskThatRefuses:
    async def test_what_it_was_to_take_is_kept_and_what_follows_is_declared(self, replica, stream):
        failures = metric("spool_failures_total")
        replica.send(60)
        with small_files():
            await replica.disk.flush()
        assert metric("spool_failures_total") == failures + 1
        assert replica.send(7) == 0, "from now on the newest are dropped"
        await replica.publish_all(stream)
        replica.send(1)
        await replica.publish_all(stream)
        assert numbers(stream) == [*range(60), 67]
        assert gaps(stream) == [("overflow", 7)]

    async def test_it_is_tried_again(self, replica, stream):
        now = [0.0]
        replica.spool._clock = lambda: now[0]
        replica.send(60)
        with small_files():
            await replica.disk.flush()
        now[0] = 0.9
        assert replica.send(1) == 0
        now[0] = 1.0
        assert replica.send(1) == 1
        await replica.disk.flush()
        assert replica.disk.pending_bytes == 0
        await replica.publish_all(stream)
        assert numbers(stream) == [*range(60), 61]
        assert gaps(stream) == [("overflow", 1)]
