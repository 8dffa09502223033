"""Time bars of trades, worked out by hand."""

import pytest

from daedalus_features import FeatureConfig, advance
from features.reference import Event
from features.sequences import START, as_dicts, at, columns, gathered, in_chunks, market, quote, trade

PARAMS = FeatureConfig(bar_durations=(5, 10), channels=("trades",))
assert START % (10 * 10**9) == 0


def bars_of(events: list[Event], params: FeatureConfig = PARAMS) -> list[dict]:
    return as_dicts(gathered([advance(None, columns(events, params))]).get("trade_bars", []))


def stamps(bars: list[dict]) -> list[tuple[float, int]]:
    return [((bar["timestamp"] - START) / 1e9, bar["bar_duration_sec"]) for bar in bars]


def test_a_bar_holds_the_trades_from_its_start_to_before_its_end():
    trades = [
        trade(at(0), 10.0, 1.0, +1),
        trade(at(2), 12.0, 0.5),
        trade(at(3), 9.0, 2.0),
        trade(at(5) - 1, 11.0, 4.0, -1),
    ]
    first, *_ = bars_of([*trades, trade(at(5), 99.0, 7.0)])
    assert first == {
        "timestamp": at(5),
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 7.5,
        "notional": 78.0,  # 10 + 6 + 18 + 44
        "vwap": 10.4,
        "buy_volume": 1.5,
        "sell_volume": 6.0,
        "trade_count": 4,
        "bar_duration_sec": 5,
    }


def test_a_bar_is_given_with_the_first_valid_trade_at_or_after_its_end_and_with_nothing_else():
    trades = [trade(at(1), 10.0, 1.0), trade(at(4.5), 10.0, 1.0)]
    others = [quote(at(6), 1, 2), Event("heartbeat", at(20)), Event("gap", at(21)), trade(at(22), -1.0, 1.0)]
    assert bars_of([*trades, *others]) == []
    assert stamps(bars_of([*trades, *others, trade(at(23), 1.0, 1.0)])) == [(5, 5), (10, 10)]
    assert stamps(bars_of([*trades, trade(at(5), 1.0, 1.0)])) == [(5, 5)]


def test_a_quiet_time_has_no_bar():
    trades = [trade(at(second), 10.0, 1.0) for second in (1, 17, 18, 33)]
    assert stamps(bars_of(trades)) == [(5, 5), (10, 10), (20, 5), (20, 10)]


def test_bars_of_one_stamp_come_in_the_order_of_the_durations():
    trades = [trade(at(second), 10.0, 1.0) for second in range(0, 21, 5)]
    assert stamps(bars_of(trades)) == [(5, 5), (10, 5), (10, 10), (15, 5), (20, 5), (20, 10)]
    turned = FeatureConfig(bar_durations=(10, 5), channels=("trades",))
    assert stamps(bars_of(trades, turned)) == [(5, 5), (10, 10), (10, 5), (15, 5), (20, 10), (20, 5)]


def test_unclassified_trades_count_in_all_but_the_volume_of_buys_and_sells():
    bar, *_ = bars_of([trade(at(0), 10.0, 1.0), trade(at(1), 10.0, 2.0), trade(at(6), 1.0, 1.0)])
    assert (bar["volume"], bar["trade_count"]) == (3.0, 2)
    assert (bar["buy_volume"], bar["sell_volume"]) == (0.0, 0.0)


def test_a_bar_goes_on_across_a_gap():
    events = [trade(at(0), 10.0, 1.0, +1), Event("gap", at(1)), trade(at(2), 12.0, 1.0), trade(at(6), 1.0, 1.0)]
    bar, *_ = bars_of(events)
    assert (bar["open"], bar["close"], bar["trade_count"], bar["buy_volume"]) == (10.0, 12.0, 2, 1.0)


def test_without_durations_there_are_no_time_bars():
    params = FeatureConfig(bar_durations=(), channels=("trades",))
    assert bars_of([trade(at(second), 10.0, 1.0) for second in range(100)], params) == []


@pytest.mark.parametrize("every", [1, 2, 3, 7, 100])
def test_a_bar_grows_through_any_portions(every):
    events = columns(market(8, 600), PARAMS)
    whole = as_dicts(gathered([advance(None, events)])["trade_bars"])
    portions = as_dicts(gathered(in_chunks(events, range(1, len(events), every)))["trade_bars"])
    assert len(portions) == len(whole) > 30
    for bar, other in zip(portions, whole, strict=True):
        assert bar == pytest.approx(other, rel=1e-12)


def test_more_trades_than_are_added_up_at_once_make_the_same_bars():
    trades = [trade(at(0.005 * i), 10.0 + i % 7, 1.0, 1) for i in range(2500)]
    *bars, _ = bars_of(trades)
    assert stamps(bars) == [(5, 5), (10, 5)]
    assert [(bar["trade_count"], bar["volume"]) for bar in bars] == [(1000, 1000.0), (1000, 1000.0)]
    (ten,) = (bar for bar in bars_of(trades) if bar["bar_duration_sec"] == 10)
    assert (ten["trade_count"], ten["open"], ten["close"]) == (2000, 10.0, 10.0 + 1999 % 7)
