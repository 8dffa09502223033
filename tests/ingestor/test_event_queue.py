"""The queue is bounded, and whatever it drops stands in the sequence as a gap with its number."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from daedalus_common.entries import decode, encode
from daedalus_common.events import Channel, Gap, Heartbeat
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_ingestor.gaps import Place
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.subscriptions import Subscription
from daedalus_ingestor.trades import TradeReader

MARKET = Market("binanceus", "BTC/USDT")


class Sender:
    """A channel whose updates are numbered heartbeats, so that any event stands for an update."""

    def __init__(self, queue, outbox, channel=Channel.TRADES):
        self.queue = queue
        self.subscription = Subscription(MARKET, "BTCUSDT", channel, outbox, Place(channel), TradeReader())

    def send(self, number):
        accepted = self.queue.offer(self.subscription, number, encode(Heartbeat(number)))
        if accepted:
            self.subscription.place.last_nonce = number
        return accepted


@pytest.fixture
def queue():
    return EventQueue(8, now_ns=lambda: 77)


@pytest.fixture
def outbox(queue):
    return queue.open(Lease(MARKET, 1, "token"))


def drain(queue, outbox, batch=100):
    """Publishes a batch; returns its events."""
    events = [decode(payload) for _, payload in outbox.batch(batch, 10**6)]
    queue.confirm(outbox, len(events))
    return events


def test_events_of_a_market_are_numbered_from_one_in_each_epoch(queue, outbox):
    sender = Sender(queue, outbox)
    for number in range(5):
        sender.send(number)
    assert outbox.first == 1
    assert [event.capture_ts for event in drain(queue, outbox, batch=3)] == [0, 1, 2]
    assert outbox.first == 4
    assert queue.open(Lease(MARKET, 2, "other")).first == 1


def test_a_batch_that_is_not_confirmed_is_given_again_as_it_was(queue, outbox):
    sender = Sender(queue, outbox)
    for number in range(3):
        sender.send(number)
    assert outbox.batch(2, 10**6) == outbox.batch(2, 10**6)
    assert outbox.first == 1


def test_the_newest_are_dropped_and_a_gap_says_so_as_soon_as_there_is_room(queue, outbox):
    sender = Sender(queue, outbox)
    assert [sender.send(number) for number in range(11)] == [True] * 8 + [False] * 3
    assert [event.capture_ts for event in drain(queue, outbox)] == list(range(8))
    assert drain(queue, outbox) == [Gap(77, "trades", "overflow", 7, None, 3)]


def test_the_gap_stands_before_the_next_event_of_the_channel(queue, outbox):
    sender = Sender(queue, outbox)
    for number in range(10):
        sender.send(number)
    drain(queue, outbox, batch=2)
    sender.send(10)
    events = drain(queue, outbox)
    assert [type(event).__name__ for event in events[-2:]] == ["Gap", "Heartbeat"]
    assert (events[-2].lost, events[-1].capture_ts) == (2, 10)


def test_each_channel_is_told_its_own_loss(queue, outbox):
    trades, books = Sender(queue, outbox), Sender(queue, outbox, Channel.ORDERBOOK)
    for number in range(8):
        trades.send(number)
    trades.send(8)
    books.send(9)
    books.send(10)
    drain(queue, outbox)
    assert {(gap.channel, gap.lost) for gap in drain(queue, outbox)} == {("trades", 1), ("orderbook", 2)}


def test_a_quarter_must_be_free_before_it_opens_again(queue, outbox):
    sender = Sender(queue, outbox)
    for number in range(9):
        sender.send(number)
    drain(queue, outbox, batch=1)
    assert not sender.send(9)
    drain(queue, outbox, batch=1)
    assert sender.send(10)


def test_dropped_events_are_counted_per_channel(queue, outbox):
    labels = {"exchange": "binanceus", "symbol": "BTC/USDT", "channel": "ticker"}
    before = REGISTRY.get_sample_value("daedalus_ingestor_dropped_events_total", labels) or 0.0
    sender = Sender(queue, outbox, Channel.TICKER)
    for number in range(10):
        sender.send(number)
    assert REGISTRY.get_sample_value("daedalus_ingestor_dropped_events_total", labels) == before + 2


def test_our_own_events_find_room_in_a_full_queue(queue, outbox):
    sender = Sender(queue, outbox)
    for number in range(8):
        sender.send(number)
    assert not queue.has_room()
    queue.declare(outbox, Gap(99, "trades", "reconnect"))
    assert drain(queue, outbox)[-1] == Gap(99, "trades", "reconnect")


def test_a_closed_market_leaves_its_room_to_the_others(queue, outbox):
    sender = Sender(queue, outbox)
    for number in range(9):
        sender.send(number)
    assert queue.close(outbox) == 8
    assert queue.size == 0
    other = queue.open(Lease(Market("binanceus", "ETH/USDT"), 1, "token"))
    assert Sender(queue, other).send(0)
    assert drain(queue, other)[0].capture_ts == 0
    assert outbox.batch(10, 10**6) == []


def test_a_confirmation_that_comes_after_closing_changes_nothing(queue, outbox):
    Sender(queue, outbox).send(0)
    queue.close(outbox)
    queue.confirm(outbox, 1)
    assert queue.size == 0


def test_a_batch_is_bounded_in_bytes_but_never_empty(queue, outbox):
    for number in range(5):
        outbox.append(number, b"x" * 100)
    assert [len(outbox.batch(5, size_bytes)) for size_bytes in (1, 100, 101, 250, 10_000)] == [1, 1, 2, 3, 5]


class TestCrowding:
    """A queue that is half full while Redis takes events asks for a moment's patience."""

    def crowd(self, events: int, now: list[float]) -> EventQueue:
        queue = EventQueue(8, now_ns=lambda: 77, clock=lambda: now[0])
        outbox = queue.open(Lease(MARKET, 1, "token"))
        sender = Sender(queue, outbox)
        sender.send(0)
        drain(queue, outbox)
        for number in range(events):
            sender.send(number)
        return queue

    @pytest.mark.parametrize(("events", "crowded"), [(0, False), (3, False), (4, True), (8, True)])
    def test_begins_when_it_is_half_full(self, events, crowded):
        assert self.crowd(events, [100.0]).is_crowded() is crowded

    def test_ends_when_redis_takes_nothing_for_a_second(self):
        now = [100.0]
        queue = self.crowd(8, now)
        now[0] = 100.9
        assert queue.is_crowded()
        now[0] = 101.0
        assert not queue.is_crowded(), "waiting longer would not help: now the newest are dropped and declared"

    def test_counts_from_the_first_event_where_there_was_nothing_to_publish(self):
        now = [100.0]
        queue = EventQueue(8, now_ns=lambda: 77, clock=lambda: now[0])
        sender = Sender(queue, queue.open(Lease(MARKET, 1, "token")))
        for number in range(8):
            sender.send(number)
        assert queue.is_crowded()
        now[0] = 101.0
        assert not queue.is_crowded()


@given(steps=st.lists(st.one_of(st.integers(1, 12), st.integers(-12, -1)), max_size=60))
def test_nothing_is_lost_without_a_gap_that_counts_it(steps):
    """Positive steps send so many updates, negative ones publish a batch."""
    queue = EventQueue(8, now_ns=lambda: 0)
    outbox = queue.open(Lease(MARKET, 1, "token"))
    sender, numbers, stream = Sender(queue, outbox), count(), []
    for step in steps:
        if step > 0:
            for _ in range(step):
                sender.send(next(numbers))
        else:
            stream += drain(queue, outbox, -step)
        assert queue.size <= 8 + 1
    while outbox.events:
        stream += drain(queue, outbox)
    expected = 0
    for event in stream:
        if isinstance(event, Gap):
            expected += event.lost or 0
        else:
            assert event.capture_ts == expected
            expected += 1
    assert expected == next(numbers)
