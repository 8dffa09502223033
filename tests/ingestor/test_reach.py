"""When a replica counts as able to feed an exchange's markets, in times of a stale_after of 30 s."""

from datetime import timedelta

import pytest

from daedalus_common.events import Channel
from daedalus_common.leases import Ability, Lease
from daedalus_common.markets import Market
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.reach import Reach, delivers
from daedalus_ingestor.recollection import Recollection
from daedalus_ingestor.subscriptions import State, Subscription

STALE = timedelta(seconds=30)
BTC = Market("binanceus", "BTC/USDT")
ABLE, DOUBTFUL, UNABLE = Ability


def opened(at: float = 0.0) -> Reach:
    reach = Reach(STALE)
    reach.opened(at)
    return reach


def pass_time(reach: Reach, begin: int, end: int, *, wanted: bool = True, fed: bool = False) -> None:
    for second in range(begin, end):
        reach.observe(float(second), is_wanted=wanted, delivers=fed)


def test_before_its_markets_are_loaded_it_is_unable() -> None:
    assert Reach(STALE).ability(1000.0) is UNABLE
    assert opened().ability(0.0) is ABLE


@pytest.mark.parametrize(("second", "ability"), [(59, ABLE), (60, DOUBTFUL), (89, DOUBTFUL), (90, UNABLE)])
def test_a_minute_in_which_nothing_delivers_makes_it_doubtful_and_then_unable(second: int, ability: Ability) -> None:
    reach = opened()
    pass_time(reach, 0, second + 1)
    assert reach.ability(float(second)) is ability


def test_with_nothing_to_feed_it_stays_able_and_the_minute_begins_with_the_first_market() -> None:
    reach = opened()
    pass_time(reach, 0, 1000, wanted=False)
    assert reach.is_able
    pass_time(reach, 1000, 1058)
    assert reach.is_able
    pass_time(reach, 1058, 1070)
    assert not reach.is_able


def test_what_delivers_once_in_a_while_keeps_it_able() -> None:
    reach = opened()
    for start in range(0, 600, 50):
        pass_time(reach, start, start + 49)
        pass_time(reach, start + 49, start + 50, fed=True)
    assert reach.is_able


def test_it_is_able_again_as_soon_as_something_delivers_and_tells_each_change_once() -> None:
    reach = opened()
    told = [second for second in range(200) if reach.observe(float(second), is_wanted=True, delivers=second >= 150)]
    assert told == [60, 150]
    assert reach.ability(150.0) is ABLE


def test_with_markets_of_its_own_it_does_not_open_the_exchange_anew() -> None:
    reach = opened()
    pass_time(reach, 0, 500)
    assert not reach.is_to_reopen(500.0, is_wanted=True)


def test_each_time_that_opening_did_not_help_the_next_comes_later() -> None:
    reach, now, rests = opened(), 0, []
    for _ in range(8):
        while reach.is_able:
            now += 1
            reach.observe(float(now), is_wanted=True, delivers=False)
        lost = now
        while not reach.is_to_reopen(float(now), is_wanted=False):
            now += 1
            reach.observe(float(now), is_wanted=False, delivers=False)
        rests.append(now - lost)
        reach.opened(float(now))
    assert rests == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    reach.observe(float(now), is_wanted=True, delivers=True)
    pass_time(reach, now + 1, now + 100)
    assert reach.is_to_reopen(now + 121.0, is_wanted=False), "it helped in between"


def subscription(channel: Channel, state: State, since: float) -> Subscription:
    nothing = Recollection()
    outbox = Outbox(Lease(BTC, 1, "token"), 0)
    made = Subscription(BTC, "BTCUSDT", channel, outbox, nothing.place(channel), nothing.trades())
    made.state, made.since = state, since
    return made


@pytest.mark.parametrize(
    ("channel", "state", "since", "heard", "expected"),
    [
        (Channel.TRADES, State.LIVE, 0, 0, True),
        (Channel.ORDERBOOK, State.LIVE, 0, 0, True),
        (Channel.TRADES, State.WAITING, 0, 99, False),
        (Channel.TRADES, State.GIVEN_UP, 0, 99, False),
        (Channel.TRADES, State.STARTING, 80, 99, False),  # it may still be refused
        (Channel.TRADES, State.STARTING, 60, 99, True),  # a quiet market: pongs come
        (Channel.TRADES, State.STARTING, 60, 0, False),  # no connection came about
        (Channel.TRADES, State.STARTING, 60, 59, False),  # what was heard was another attempt's
        (Channel.ORDERBOOK, State.STARTING, 60, 99, False),  # a book begins at once
    ],
)
def test_what_counts_as_delivering(channel: Channel, state: State, since: int, heard: int, expected: bool) -> None:
    only = [subscription(channel, state, float(since))]
    assert delivers(only, 100.0, STALE, lambda: float(heard)) is expected
    waiting = subscription(Channel.TICKER, State.WAITING, 0.0)
    assert delivers([waiting, *only], 100.0, STALE, lambda: float(heard)) is expected, "any of them is enough"
