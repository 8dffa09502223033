"""The queue overflows to disk: nothing is lost within the bound, and order holds, whatever dies meanwhile."""

import asyncio
import resource
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from daedalus_common.entries import decode, encode
from daedalus_common.events import Channel, Event, Gap, Heartbeat
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_ingestor.gaps import Place
from daedalus_ingestor.market_spool import MarketSpool, SpoolError
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.spool import Spool
from daedalus_ingestor.subscriptions import Subscription
from daedalus_ingestor.trades import TradeReader

MARKET, OTHER = Market("binanceus", "BTC/USDT"), Market("binanceus", "ETH/USDT")


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(f"daedalus_ingestor_{name}") or 0.0


@dataclass
class Stream:
    """What the server does with a batch: it skips the numbers of the epoch that it has applied."""

    epoch: int = 0
    applied: int = 0
    events: list[Event] = field(default_factory=list)

    def publish(self, epoch: int, first: int, batch: list[tuple[int, bytes]]) -> None:
        applied = self.applied if epoch == self.epoch else 0
        assert first <= applied + 1, "a number is missing, the server would take it for a loss of its own"
        fresh = batch[applied - first + 1 :]
        if fresh:
            self.events += [decode(payload) for _, payload in fresh]
            self.epoch, self.applied = epoch, first + len(batch) - 1


class Replica:
    """One ingestor with one market; its updates are numbered heartbeats, in memory fit `max_events`."""

    def __init__(self, folder: Path, max_events: int = 8, max_bytes: int = 10**7) -> None:
        self.spool = Spool(folder, max_bytes, fsync=False, now_ns=lambda: 0)
        self.queue = EventQueue(max_events, now_ns=lambda: 0)
        self.sent = 0

    async def take(self, stream: Stream, epoch: int, sent: int = 0) -> bool:
        """False: what was left here is too late."""
        self.sent = sent
        self.disk: MarketSpool = await self.spool.open(MARKET, "log")
        in_time = await self.disk.resume(stream.epoch, stream.applied, epoch)
        if not in_time:
            self.disk = await self.spool.put_away(self.disk)
            await self.disk.resume(0, 0, epoch)
        self.outbox: Outbox = self.queue.open(Lease(MARKET, epoch, "token"), self.disk)
        place = Place(Channel.TRADES)
        self.trades = Subscription(MARKET, "BTCUSDT", Channel.TRADES, self.outbox, place, TradeReader())
        if epoch > 1:
            self.queue.declare(self.outbox, Gap(0, "trades", "takeover"))
        return in_time

    def send(self, count: int) -> int:
        """Returns how many found a place."""
        accepted = 0
        for _ in range(count):
            accepted += self.queue.offer(self.trades, self.sent, encode(Heartbeat(self.sent)))
            self.sent += 1
        return accepted

    async def publish(self, stream: Stream, count: int, *, reply: bool = True) -> bool:
        """Loads where memory is empty and sends one batch; False: there was nothing."""
        if self.outbox.unread and len(self.outbox.events) < count:
            await self.queue.load(self.outbox, count)
        batch = self.outbox.batch(count, 10**6)
        stream.publish(self.outbox.lease.epoch, self.outbox.first, batch)
        if reply:
            self.queue.confirm(self.outbox, len(batch))
        return bool(batch)

    async def publish_all(self, stream: Stream) -> None:
        for _ in range(10_000):
            if not self.queue.waiting:
                return
            await self.publish(stream, 5)
        raise AssertionError(f"{self.queue.waiting} events never go out")

    def die(self) -> None:
        """As with kill -9: whatever is not on disk is gone, and the locks with the process."""
        self.spool._give_lock(MARKET)
        self.disk.files.close()


@pytest.fixture
async def stream() -> Stream:
    return Stream()


@pytest.fixture
async def replica(tmp_path: Path, stream: Stream) -> Replica:
    replica = Replica(tmp_path / "spool")
    await replica.take(stream, 1)
    return replica


def numbers(stream: Stream) -> list[int]:
    return [event.capture_ts for event in stream.events if isinstance(event, Heartbeat)]


def gaps(stream: Stream) -> list[tuple[str, int | None]]:
    return [(event.reason, event.lost) for event in stream.events if isinstance(event, Gap)]


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


class TestADiskThatRefuses:
    @pytest.fixture
    def small_files(self) -> Iterator[None]:
        """No file may grow beyond 1,000 bytes: the kernel refuses the rest, in the middle of a record."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    async def test_what_it_was_to_take_is_kept_and_what_follows_is_declared(self, replica, stream, small_files):
        failures = metric("spool_failures_total")
        replica.send(60)
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
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            replica.send(60)
            await replica.disk.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        now[0] = 4.9
        assert replica.send(1) == 0
        now[0] = 5.0
        assert replica.send(1) == 1
        await replica.disk.flush()
        assert replica.disk.pending_bytes == 0
        await replica.publish_all(stream)
        assert numbers(stream) == [*range(60), 61]
        assert gaps(stream) == [("overflow", 1)]


class TestAProcessThatDies:
    async def test_its_spool_goes_out_first_and_what_only_memory_had_is_declared(self, replica, stream, tmp_path):
        replica.send(30)
        await replica.publish(stream, 3)
        await replica.disk.flush()
        replica.die()
        following = Replica(tmp_path / "spool")
        assert await following.take(stream, 2, sent=30)
        following.send(2)
        await following.publish_all(stream)
        assert numbers(stream) == [0, 1, 2, *range(8, 32)]
        assert gaps(stream) == [("spool_lost", 5), ("takeover", None)]
        assert isinstance(stream.events[3], Gap)

    async def test_a_batch_whose_confirmation_died_with_it_is_not_doubled(self, replica, stream, tmp_path):
        replica.send(30)
        await replica.disk.flush()
        await replica.publish(stream, 8)
        await replica.publish(stream, 10, reply=False)
        replica.die()
        following = Replica(tmp_path / "spool")
        await following.take(stream, 2, sent=30)
        await following.publish_all(stream)
        assert numbers(stream) == list(range(30))
        assert gaps(stream) == [("takeover", None)]

    async def test_records_of_several_writes_are_told_apart_from_published_ones(self, replica, stream, tmp_path):
        for _ in range(4):
            replica.send(10)
            await replica.disk.flush()
        for count in (8, 20):
            await replica.publish(stream, count, reply=count == 8)
        replica.die()
        following = Replica(tmp_path / "spool")
        await following.take(stream, 2, sent=40)
        await following.publish_all(stream)
        assert numbers(stream) == list(range(40))
        assert gaps(stream) == [("takeover", None)]

    async def test_memory_between_two_overflows_is_declared_between_them(self, replica, stream, tmp_path):
        replica.send(12)
        await replica.disk.flush()
        await replica.publish(stream, 8)
        await replica.queue.load(replica.outbox, 10)
        await replica.publish(stream, 2)  # two are left, and memory takes what comes
        replica.send(6)
        assert (len(replica.outbox.events), replica.disk.is_active) == (8, False)
        replica.send(5)
        await replica.disk.flush()
        replica.die()
        following = Replica(tmp_path / "spool")
        await following.take(stream, 2, sent=23)
        await following.publish_all(stream)
        assert numbers(stream) == [*range(12), *range(18, 23)]
        assert gaps(stream) == [("spool_lost", 6), ("takeover", None)]

    async def test_events_of_another_redis_are_not_for_this_one(self, replica, stream, tmp_path):
        replica.send(30)
        await replica.disk.flush()
        replica.die()
        other = await Spool(tmp_path / "spool", 10**6, fsync=False).open(MARKET, "another")
        assert await other.resume(0, 0, 1)
        assert not other.is_active
        assert len(list(tmp_path.rglob("*@log/*.spool"))) == 1

    async def test_another_that_published_since_makes_its_spool_late(self, replica, stream, tmp_path):
        replica.send(30)
        await replica.publish(stream, 8)
        await replica.disk.flush()
        replica.die()
        stream.publish(2, 1, [(0, encode(Gap(0, "trades", "takeover")))])
        following = Replica(tmp_path / "spool")
        assert not await following.take(stream, 3, sent=30)
        following.send(2)
        await following.publish_all(stream)
        assert numbers(stream) == [*range(8), 30, 31]
        (late,) = (tmp_path / "spool").glob("*.late-3")
        assert next(late.glob("*.spool")).stat().st_size > 22 * 44, "the files stay"

    async def test_a_stop_without_redis_keeps_everything(self, replica, stream, tmp_path):
        replica.send(6)
        await replica.publish(stream, 2)
        assert replica.queue.keep() == 4
        assert replica.queue.close(replica.outbox) == 0
        await replica.spool.close(MARKET)
        following = Replica(tmp_path / "spool")
        await following.take(stream, 2, sent=6)
        await following.publish_all(stream)
        assert numbers(stream) == list(range(6))
        assert gaps(stream) == [("takeover", None)]

    async def test_damage_found_while_it_drains_is_declared_in_its_place(self, replica, stream, tmp_path):
        replica.send(30)
        await replica.disk.flush()
        (segment,) = tmp_path.rglob("*.spool")
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        lost = metric("spool_lost_events_total")
        await replica.publish_all(stream)
        replica.send(2)
        await replica.publish_all(stream)
        kept = numbers(stream)
        missing = 30 - (len(kept) - 2)
        assert 0 < missing < 22
        assert kept == [*range(30 - missing), 30, 31]
        assert gaps(stream) == [("spool_lost", missing)]
        assert metric("spool_lost_events_total") == lost + missing


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 30)),
    st.tuples(st.just("publish"), st.integers(1, 12)),
    st.tuples(st.just("lose reply"), st.integers(1, 12)),
    st.tuples(st.sampled_from(["flush", "flush", "die", "stop"]), st.just(0)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=40))
def test_nothing_is_lost_in_silence_doubled_or_disordered(tmp_path_factory, steps):
    stream, sent = asyncio.run(lived(tmp_path_factory.mktemp("spool"), steps))
    expected, allowed = 0, 0.0
    for event in stream.events:
        if isinstance(event, Heartbeat):
            assert expected <= event.capture_ts <= expected + allowed, f"{event} where {expected} was expected"
            expected, allowed = event.capture_ts + 1, 0.0
        elif isinstance(event, Gap):
            # A take-over says no number, and a lost gap event may have stood for any.
            allowed = allowed + (event.lost or 0) if event.reason == "overflow" else float("inf")
    assert expected == sent or allowed, "the last ones are missing"
    if not {step for step, _ in steps} & {"die", "stop"}:
        assert {reason for reason, _ in gaps(stream)} <= {"overflow"}


async def lived(folder: Path, steps: list[tuple[str, int]]) -> tuple[Stream, int]:
    """The stream after all that, and how many updates there were."""
    stream, epoch = Stream(), 1
    replica = Replica(folder, max_bytes=6000)
    await replica.take(stream, epoch)
    for step, amount in steps:
        if step == "send":
            replica.send(amount)
        elif step in ("publish", "lose reply"):
            await replica.publish(stream, amount, reply=step == "publish")
        elif step == "flush":
            await replica.disk.flush()
        else:
            if step == "stop":
                replica.queue.keep()
                replica.queue.close(replica.outbox)
                await replica.spool.close(MARKET)
            else:
                replica.die()
            sent, epoch = replica.sent, epoch + 1
            replica = Replica(folder, max_bytes=6000)
            assert await replica.take(stream, epoch, sent)
    await replica.publish_all(stream)
    await replica.disk.flush()
    replica.send(1)
    await replica.publish_all(stream)
    assert replica.disk.depth == 0
    await replica.spool.close(MARKET)
    return stream, replica.sent
