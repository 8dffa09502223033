"""Imbalance bars, worked out by hand: N = 4, and beta = 2/(3 + 1) = 1/2."""

from dataclasses import replace

import pytest

from daedalus_features import FeatureConfig, advance
from features.reference import Event
from features.sequences import as_dicts, at, columns, gathered, in_chunks, market, trade

PARAMS = FeatureConfig(
    imbalance_bar_ticks=4,
    imbalance_bar_span=3,
    imbalance_bar_min_ticks=2,
    imbalance_bar_max_ticks=6,
    channels=("trades",),
)
TABLES = ("tick_imbalance_bars", "volume_imbalance_bars", "dollar_imbalance_bars")


def bars_of(table: str, events: list[Event], params: FeatureConfig = PARAMS) -> list[dict]:
    return as_dicts(gathered([advance(None, columns(events, params))]).get(table, []))


def signed(*amounts: float, price: float = 1.0) -> list[Event]:
    """A trade a second, a buy where the amount is positive."""
    return [trade(at(i), price, abs(each), 1 if each > 0 else -1) for i, each in enumerate(amounts)]


def ends(bars: list[dict]) -> list[int]:
    """The places of the trades that end the bars, in a sequence of a trade a second."""
    return [(bar["timestamp"] - at(0)) // 10**9 for bar in bars]


def test_the_first_bar_ends_with_its_nth_trade_whatever_the_imbalance():
    (bar,) = bars_of("tick_imbalance_bars", signed(+1, +2, -1, +4, -1))
    assert bar == {
        "timestamp": at(3),
        "open": 1.0,
        "high": 1.0,
        "low": 1.0,
        "close": 1.0,
        "vwap": 1.0,
        "volume": 8.0,
        "notional": 8.0,
        "buy_volume": 7.0,
        "sell_volume": 1.0,
        "trade_count": 4,
    }


def test_a_bar_ends_when_its_imbalance_reaches_n_times_the_mean_of_the_first_bar():
    # x = + + - +, so E = 1/2 and the second bar needs |Σ x| >= 4·1/2 = 2.
    assert ends(bars_of("tick_imbalance_bars", signed(1, 1, -1, 1, -1, 1, -1, -1))) == [3, 7]


def test_every_trade_moves_the_expectation_and_a_bar_keeps_that_from_before_its_first_trade():
    # E = 1/2. The second bar, of - -, reaches 2; E moves to 1/2 + (-1 - 1/2)/2 = -1/4, then -1/4 + (-1 + 1/4)/2 = -5/8.
    # So the third needs 4·5/8 = 2.5: three of one side.
    trades = signed(1, 1, -1, 1, -1, -1, 1, 1, 1)
    assert ends(bars_of("tick_imbalance_bars", trades)) == [3, 5, 8]


def test_volume_imbalance_adds_up_amounts():
    # x = 3 -1 1 1: E = 1, θ* = 4. Then 1 + 2 + 1 = 4 ends the second bar.
    assert ends(bars_of("volume_imbalance_bars", signed(3, -1, 1, 1, 1, 2, 1))) == [3, 6]
    assert ends(bars_of("volume_imbalance_bars", signed(3, -1, 1, 1, 1, 2, 0.9))) == [3]


def test_dollar_imbalance_adds_up_money():
    trades = [*signed(3, -1, 1, 1, price=2.0)]
    trades += [trade(at(4), 4.0, 1.0, -1), trade(at(5), 1.0, 3.5, -1), trade(at(6), 0.5, 1.0, -1)]
    # x = 6 -2 2 2: E = 2, θ* = 8. Then -4 - 3.5 - 0.5 = -8 ends the second bar.
    assert ends(bars_of("dollar_imbalance_bars", trades)) == [3, 6]


def test_a_bar_has_at_least_the_least_number_of_trades():
    # E = 1/2, θ* = 2: the first trade of the second bar reaches it alone, and must wait for another.
    bars = bars_of("volume_imbalance_bars", signed(1, 1, -1, 1, 50, 1))
    assert [bar["trade_count"] for bar in bars] == [4, 2]


def test_an_expectation_of_nothing_ends_a_bar_at_the_least_number():
    bars = bars_of("tick_imbalance_bars", signed(1, -1, 1, -1, 1, -1))
    assert [bar["trade_count"] for bar in bars] == [4, 2]


def test_a_bar_has_at_most_the_greatest_number_of_trades():
    # E = 1, θ* = 4, which trades of alternating sides never reach.
    bars = bars_of("tick_imbalance_bars", signed(1, 1, 1, 1, *[1, -1] * 4))
    assert [bar["trade_count"] for bar in bars] == [4, 6]


def test_a_first_bar_may_be_longer_than_the_greatest_number():
    params = FeatureConfig(imbalance_bar_ticks=8, imbalance_bar_min_ticks=1, imbalance_bar_max_ticks=3)
    bars = bars_of("tick_imbalance_bars", signed(*[1] * 14), params)
    assert [bar["trade_count"] for bar in bars] == [8, 3, 3]


def test_rounding_does_not_put_off_the_end_of_a_bar():
    # E = 1/4, θ* = 1, and ten times 0.1 is a little less in doubles.
    bars = bars_of(
        "volume_imbalance_bars", signed(*[0.25] * 4, *[0.1] * 10), replace(PARAMS, imbalance_bar_max_ticks=99)
    )
    assert sum([0.1] * 10) < 1.0
    assert [bar["trade_count"] for bar in bars] == [4, 10]


def test_unclassified_trades_are_left_out_of_the_bar_altogether():
    trades = [trade(at(0), 7.0, 100.0), *(each._replace(ts=each.ts + 10**9) for each in signed(1, 1, -1, 1, price=7.0))]
    (bar,) = bars_of(
        "volume_imbalance_bars", [*trades[:3], Event("gap", at(2.1)), trade(at(2.2), 9.0, 5.0), *trades[3:]]
    )
    assert (bar["trade_count"], bar["volume"], bar["high"], bar["open"]) == (4, 4.0, 7.0, 7.0)
    assert bar["timestamp"] == at(4)


def test_only_unclassified_trades_make_no_bar():
    assert bars_of("tick_imbalance_bars", [trade(at(i), 5.0, 1.0) for i in range(50)]) == []


@pytest.mark.parametrize("seed", [30, 31])
@pytest.mark.parametrize("every", [1, 2, 5, 60])
def test_bars_end_at_the_same_trades_in_any_portions(seed, every):
    events = columns(market(seed, 1200), PARAMS)
    whole, portions = gathered([advance(None, events)]), gathered(in_chunks(events, range(1, len(events), every)))
    for table in TABLES:
        bars, others = as_dicts(whole[table]), as_dicts(portions[table])
        assert len(bars) == len(others) > 20
        for bar, other in zip(bars, others, strict=True):
            assert other == pytest.approx(bar, rel=1e-12)


def test_more_trades_than_are_added_up_at_once_make_the_same_bars():
    params = FeatureConfig(imbalance_bar_ticks=1000, imbalance_bar_max_ticks=10**6, channels=("trades",))
    bars = bars_of("tick_imbalance_bars", signed(*[1] * 3500), params)
    assert [bar["trade_count"] for bar in bars] == [1000, 1000, 1000]
