"""Whatever dies while events wait on disk: nothing is lost in silence, doubled or out of order."""

import asyncio
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daedalus_common.entries import encode
from daedalus_common.events import Gap, Heartbeat
from daedalus_ingestor.spool import Spool
from support.spooling import MARKET, Replica, Stream, gaps, metric, numbers


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
        (late,) = (tmp_path / "spool").glob("*.late-3-*")
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
