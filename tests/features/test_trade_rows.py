"""Rows of the trades table, worked out by hand."""

import math

import pytest

from daedalus_features import FeatureConfig, advance
from features.reference import Event
from features.sequences import as_dicts, at, columns, gathered, in_chunks, quote, trade

PARAMS = FeatureConfig(channels=("trades",))


def rows_of(events: list[Event], params: FeatureConfig = PARAMS) -> list[dict]:
    return as_dicts(gathered([advance(None, columns(events, params))]).get("trades", []))


def test_a_trade_is_a_row_stamped_with_its_own_time():
    first, second = rows_of([trade(at(0.25), 100.0, 0.5, +1), trade(at(2), 101.0, 2.0, -1)])
    assert first == {
        "timestamp": at(0.25),
        "price": 100.0,
        "amount": 0.5,
        "direction": 1,
        "dollar_volume": 50.0,
        "log_return": None,
        "inter_trade_ms": None,
    }
    assert second == {
        "timestamp": at(2),
        "price": 101.0,
        "amount": 2.0,
        "direction": -1,
        "dollar_volume": 202.0,
        "log_return": pytest.approx(0.009950330853168092, rel=1e-15),  # log(1.01)
        "inter_trade_ms": 1750.0,
    }


def test_a_row_is_given_with_the_trade_itself_and_needs_no_book():
    assert len(rows_of([trade(at(0), 1, 1)])) == 1


def test_the_direction_is_the_side_or_else_the_tick_rule_and_null_for_neither():
    trades = [
        trade(at(i), price, 1.0, side) for i, (price, side) in enumerate([(5, 0), (6, 0), (6, 0), (5, 0), (5, 1)])
    ]
    assert [row["direction"] for row in rows_of(trades)] == [None, 1, 1, -1, 1]


def test_the_time_between_trades_is_exact_to_the_nanosecond_and_zero_within_one():
    rows = rows_of([trade(at(0), 1, 1), trade(at(0), 1, 1), trade(at(0) + 1, 1, 1), trade(at(86_400), 1, 1)])
    assert [row["inter_trade_ms"] for row in rows] == [None, 0.0, 1e-6, 86_400_000 - 1e-6]


def test_an_unchanged_price_returns_a_zero_without_a_sign():
    _, row = rows_of([trade(at(0), 5, 1), trade(at(1), 5, 1)])
    assert math.copysign(1, row["log_return"]) == 1


def test_a_trade_after_a_gap_has_no_predecessor():
    events = [trade(at(0), 5, 1, 1), Event("gap", at(1)), trade(at(2), 6, 1), trade(at(3), 6, 1), Event("gap", at(4))]
    _, after_gap, next_one, last = rows_of([*events, Event("gap", at(5)), trade(at(6), 7, 1, -1)])
    assert (after_gap["direction"], after_gap["log_return"], after_gap["inter_trade_ms"]) == (None, None, None)
    assert (next_one["direction"], next_one["log_return"], next_one["inter_trade_ms"]) == (None, 0.0, 1000.0)
    assert (last["direction"], last["log_return"], last["inter_trade_ms"]) == (-1, None, None)


@pytest.mark.parametrize(("price", "amount"), [(math.nan, 1.0), (6.0, math.inf), (-6.0, 1.0), (6.0, 0.0), (1e16, 1.0)])
def test_an_invalid_trade_has_no_row_and_is_nobodys_predecessor(price, amount):
    _, row = rows_of([trade(at(0), 5, 1), trade(at(1), price, amount), trade(at(2), 10, 1)])
    assert row["log_return"] == pytest.approx(0.6931471805599453, rel=1e-15)  # log 2
    assert row["inter_trade_ms"] == 2000.0


def test_other_events_do_not_part_a_trade_from_the_one_before():
    events = [trade(at(0), 5, 1, 1), quote(at(1), 7, 8), Event("heartbeat", at(2)), Event("ticker", at(2))]
    _, row = rows_of([*events, quote(at(2), 9, 8), trade(at(3), 5, 1)])
    assert (row["direction"], row["log_return"], row["inter_trade_ms"]) == (1, 0.0, 3000.0)


def test_time_that_runs_backward_stands_still():
    _, row = rows_of([trade(at(5), 5, 1), trade(at(3), 5, 1)])
    assert (row["timestamp"], row["inter_trade_ms"]) == (at(5), 0.0)


def test_the_largest_and_smallest_numbers_stay_finite():
    _, row = rows_of([trade(at(0), 1e-15, 1e-15), trade(at(1), 1e15, 1e15)])
    assert (row["dollar_volume"], row["log_return"]) == (1e30, pytest.approx(30 * math.log(10)))


@pytest.mark.parametrize("cut", range(1, 9))
def test_the_previous_trade_is_remembered_between_portions(cut):
    trades = [trade(at(0.1 * i), 5 + i % 3, 1.0, (i % 4 == 1) * 1) for i in range(6)]
    events = columns([*trades[:4], Event("gap", at(0.35)), *trades[4:], Event("heartbeat", at(9))], PARAMS)
    assert as_dicts(gathered(in_chunks(events, [cut]))["trades"]) == as_dicts(
        gathered([advance(None, events)])["trades"]
    )


def test_the_classes_are_those_of_the_order_book_rows():
    trades = [trade(at(0.1 * i), 5 + (i * 7) % 3, 1.0, (-1, 0, 0, 0, 1)[i % 5]) for i in range(9)]
    tables = gathered([advance(None, columns([quote(at(0), 1, 2), *trades, quote(at(1), 1, 2)], FeatureConfig()))])
    (row,) = as_dicts(tables["orderbook"])
    assert row["tfi"] == sum(each["direction"] for each in as_dicts(tables["trades"])) != 0
