"""Bars of as many trades, as much volume, as much money: worked out by hand."""

import pytest

from daedalus_features import FeatureConfig, advance
from features.reference import Event
from features.sequences import as_dicts, at, columns, gathered, in_chunks, market, trade

PARAMS = FeatureConfig(tick_bar_size=3, volume_bar_size=10.0, dollar_bar_size=100.0, channels=("trades",))
TABLES = ("tick_bars", "volume_bars", "dollar_bars")


def bars_of(table: str, events: list[Event], params: FeatureConfig = PARAMS) -> list[dict]:
    return as_dicts(gathered([advance(None, columns(events, params))]).get(table, []))


def amounts(*each: float) -> list[Event]:
    """A trade a second at a price of 1."""
    return [trade(at(second), 1.0, amount) for second, amount in enumerate(each)]


def test_a_tick_bar_ends_with_its_nth_trade_and_is_stamped_with_it():
    trades = [
        trade(at(0), 10.0, 1.0, +1),
        trade(at(1), 12.0, 2.0, -1),
        trade(at(1.5), 11.0, 1.0, -1),
        trade(at(2), 20.0, 1.0, +1),
    ]
    (bar,) = bars_of("tick_bars", trades)
    assert bar == {
        "timestamp": at(1.5),
        "open": 10.0,
        "high": 12.0,
        "low": 10.0,
        "close": 11.0,
        "vwap": 11.25,
        "volume": 4.0,
        "notional": 45.0,  # 10 + 24 + 11
        "buy_volume": 1.0,
        "sell_volume": 3.0,
        "trade_count": 3,
    }


def test_a_volume_bar_ends_with_the_trade_that_fills_it_and_carries_nothing_over():
    bars = bars_of("volume_bars", amounts(4, 5, 8, 9, 1, 30, 2, 2))
    assert [(bar["timestamp"], bar["volume"], bar["trade_count"]) for bar in bars] == [
        (at(2), 17.0, 3),
        (at(4), 10.0, 2),
        (at(5), 30.0, 1),
    ]


def test_a_dollar_bar_ends_with_the_trade_that_fills_it_and_carries_nothing_over():
    trades = [trade(at(i), price, 2.0) for i, price in enumerate([20.0, 25.0, 10.0, 49.0, 1.0, 70.0, 10.0])]
    bars = bars_of("dollar_bars", trades)
    assert [(bar["timestamp"], bar["notional"], bar["vwap"]) for bar in bars] == [
        (at(2), 110.0, 55 / 3),
        (at(4), 100.0, 25.0),
        (at(5), 140.0, 70.0),
    ]


def test_ten_times_a_tenth_makes_one_although_the_sum_of_doubles_is_less():
    assert sum([0.1] * 10) < 1.0
    params = FeatureConfig(volume_bar_size=1.0, channels=("trades",))
    (bar,) = bars_of("volume_bars", amounts(*[0.1] * 19), params)
    assert (bar["trade_count"], bar["timestamp"]) == (10, at(9))


def test_a_sum_that_is_less_by_more_than_rounding_does_not_end_a_bar():
    assert bars_of("volume_bars", amounts(9.99999998)) == []
    assert len(bars_of("volume_bars", amounts(9.999999999))) == 1


def test_every_trade_ends_a_bar_when_it_is_large_enough():
    params = FeatureConfig(tick_bar_size=1, volume_bar_size=1.0, dollar_bar_size=1.0, channels=("trades",))
    for table in TABLES:
        bars = bars_of(table, amounts(1, 2, 3), params)
        assert [bar["volume"] for bar in bars] == [1.0, 2.0, 3.0]
        assert [bar["timestamp"] for bar in bars] == [at(0), at(1), at(2)]


def test_several_bars_may_share_a_timestamp_in_the_order_of_their_trades():
    trades = [trade(at(1), price, 100.0) for price in (5.0, 3.0, 4.0)]
    assert [bar["close"] for bar in bars_of("volume_bars", trades)] == [5.0, 3.0, 4.0]


def test_bars_go_on_across_gaps_and_leave_out_invalid_trades():
    events = [*amounts(4), Event("gap", at(1)), trade(at(1), 1.0, -7.0), trade(at(2), 1.0, 3.0), trade(at(3), 1.0, 3.0)]
    for table in ("tick_bars", "volume_bars"):
        (bar,) = bars_of(table, events)
        assert (bar["volume"], bar["trade_count"]) == (10.0, 3)


def test_an_unfinished_bar_is_never_given():
    assert bars_of("tick_bars", amounts(1, 1)) == []
    assert bars_of("volume_bars", [*amounts(9), Event("heartbeat", at(10**6))]) == []


def test_a_sum_starts_at_nothing_with_each_bar_however_much_was_traded_before():
    params = FeatureConfig(volume_bar_size=1.0, channels=("trades",))
    trades = amounts(1e15, *[0.1] * 10, 1e15, *[0.1] * 10)
    assert [bar["trade_count"] for bar in bars_of("volume_bars", trades, params)] == [1, 10, 1, 10]


@pytest.mark.parametrize("seed", [20, 21])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_bars_end_at_the_same_trades_in_any_portions(seed, every):
    params = FeatureConfig(tick_bar_size=7, volume_bar_size=2.0, dollar_bar_size=150.0, channels=("trades",))
    events = columns(market(seed, 900), params)
    whole, portions = gathered([advance(None, events)]), gathered(in_chunks(events, range(1, len(events), every)))
    for table in TABLES:
        bars, others = as_dicts(whole[table]), as_dicts(portions[table])
        assert len(bars) == len(others) > 20
        for bar, other in zip(bars, others, strict=True):
            assert other == pytest.approx(bar, rel=1e-12)


def test_more_trades_than_are_added_up_at_once_make_the_same_bars():
    params = FeatureConfig(tick_bar_size=900, volume_bar_size=700.0, channels=("trades",))
    trades = [trade(at(i), 10.0, 1.0) for i in range(2800)]
    assert [bar["timestamp"] for bar in bars_of("tick_bars", trades, params)] == [at(899), at(1799), at(2699)]
    assert [bar["timestamp"] for bar in bars_of("volume_bars", trades, params)] == [at(699 + 700 * i) for i in range(4)]
