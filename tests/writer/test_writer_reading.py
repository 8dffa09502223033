"""How much is asked of a stream, and how often."""

from datetime import timedelta

import pytest

from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_writer.flush import Limits
from daedalus_writer.intake import ENTRY_MEMORY_BYTES, Intake
from daedalus_writer.reading import MAX_COUNT, REPLY_SIZE_BYTES, entries_to_ask, learned_size, next_wait

MS = timedelta(milliseconds=1)
HOUR_NS = 3_600_000_000_000


@pytest.mark.parametrize(
    ("entry_bytes", "room_bytes", "count"),
    [
        (100, 10**9, MAX_COUNT),
        (8192, 10**9, REPLY_SIZE_BYTES // 8192),
        (1000, 10_999, 10),
        (1000, 999, 0),
        (1000, -5, 0),
        (0, 10**9, MAX_COUNT),
        (2 * REPLY_SIZE_BYTES, 10**9, 0),
    ],
)
def test_a_reply_stays_within_its_size_and_the_room(entry_bytes: int, room_bytes: int, count: int) -> None:
    assert entries_to_ask(entry_bytes, room_bytes) == count


@pytest.mark.parametrize(
    ("wait", "found", "then"),
    [
        (100, 500, 0),  # as many as were asked for: there is more
        (100, 0, 200),
        (100, 3, 200),
        (800, 0, 1000),
        (100, 200, 100),
        (100, 250, 80),
        (100, 499, 50),
        (60, 499, 50),
        (0, 3, 50),
    ],
)
def test_quiet_streams_are_read_less_often_and_busy_ones_more(wait: int, found: int, then: int) -> None:
    assert next_wait(wait * MS, 500, found, 50 * MS, 1000 * MS) == then * MS


def intake(stream: str = "raw") -> Intake:
    lease = Lease(Market("binanceus", "BTC/USDT"), 1, "token")
    return Intake(lease, stream, "0-0", "0-0", 50 * MS, 1000 * MS)


def entry(number: int, payload: bytes = b"x" * 100, ts: int = 0) -> tuple[bytes, dict[bytes, bytes]]:
    return b"%d-0" % number, {b"g": b"0", b"s": b"%d" % number, b"t": b"%019d" % ts, b"e": payload}


def test_an_intake_follows_the_stream_and_hands_over_what_it_read() -> None:
    mine = intake()
    mine.accept(2, [entry(1), entry(2)], now=10.0)
    assert (mine.position, mine.drained, mine.read_at) == ("2-0", False, 10.0)
    mine.accept(2, [entry(3)], now=11.0)
    assert (mine.position, mine.drained) == ("3-0", True)
    assert mine.read_at > 11.0
    look = mine.look(12.0, writing=False)
    assert (look.entries, look.size_bytes, look.age) == (3, 300, timedelta(seconds=2))
    assert look.memory_bytes == 300 + 3 * ENTRY_MEMORY_BYTES
    run = mine.take()
    assert (run.first_id, run.last_id, run.entries) == ("1-0", "3-0", 3)
    assert mine.look(12.0, writing=True).entries == 0
    assert mine.position == "3-0", "the next run begins where this one ended"


def test_an_empty_reply_changes_nothing_but_the_time_of_the_next_read() -> None:
    mine = intake()
    mine.accept(100, [], now=5.0)
    assert (mine.position, mine.drained, mine.look(6.0, writing=False).entries) == ("0-0", True, 0)


@pytest.mark.parametrize(
    ("found", "size_bytes", "then"),
    [
        (1, 32_000, 32_000),  # larger: at once
        (10, 100_000, 10_000),
        (1, 0, 9_000),  # smaller: by a tenth of the way where they are few
        (20, 20_000, 9_100),
        (180, 0, 5_000),
        (1620, 0, 1_000),
    ],
)
def test_the_expected_size_grows_at_once_and_shrinks_by_and_by(found: int, size_bytes: int, then: int) -> None:
    assert learned_size(10_000, found, size_bytes) == then


def test_the_size_of_entries_is_learned_with_what_surrounds_them() -> None:
    mine = intake()
    mine.accept(10, [entry(1, b"x" * 32_000)], now=0.0)
    assert mine.entry_bytes == 32_000 + ENTRY_MEMORY_BYTES


def test_no_more_is_asked_than_memory_and_the_run_have_room_for() -> None:
    mine = intake()
    mine.accept(10, [entry(1, b"x" * 488)], now=0.0)
    mine.entry_bytes = 1000
    second = timedelta(seconds=1)
    assert mine.entries_to_ask(50_000, Limits(second, size_bytes=10**6, rows=10**6, memory_bytes=0)) == 50
    assert mine.entries_to_ask(50_000, Limits(second, size_bytes=20_488, rows=10**6, memory_bytes=0)) == 20
    assert mine.entries_to_ask(50_000, Limits(second, size_bytes=10**6, rows=8, memory_bytes=0)) == 7
    assert mine.entries_to_ask(50_000, Limits(second, size_bytes=600, rows=10**6, memory_bytes=0)) == 1
    assert mine.entries_to_ask(999, Limits(second, size_bytes=600, rows=10**6, memory_bytes=0)) == 0


def test_a_run_that_is_long_enough_is_full() -> None:
    mine = intake()
    mine.accept(10, [entry(1), entry(2)], now=0.0)
    second = timedelta(seconds=1)
    assert not mine.is_full(Limits(second, size_bytes=201, rows=3, memory_bytes=0))
    assert mine.is_full(Limits(second, size_bytes=200, rows=3, memory_bytes=0))
    assert mine.is_full(Limits(second, size_bytes=201, rows=2, memory_bytes=0))


def test_a_passed_hour_shows_by_the_times_of_events_and_rows_foreign_entries_aside() -> None:
    raw = intake()
    raw.accept(10, [(b"1-0", {b"x": b"y"}), entry(2, ts=HOUR_NS - 1)], now=0.0)
    raw.accept(10, [entry(3, ts=HOUR_NS - 1), (b"4-0", {b"t": b"soon"})], now=0.0)
    assert not raw.look(0.0, writing=False).crosses_hour
    raw.accept(10, [entry(5, ts=HOUR_NS)], now=0.0)
    assert raw.look(0.0, writing=False).crosses_hour
    silver = intake("silver")
    for number, ts in ((1, HOUR_NS), (2, 2 * HOUR_NS - 1), (3, 2 * HOUR_NS)):
        silver.accept(10, [(b"%d-0" % number, {b"p": bytes(8) + ts.to_bytes(8, "little")})], now=0.0)
        assert silver.look(0.0, writing=False).crosses_hour == (number == 3)
