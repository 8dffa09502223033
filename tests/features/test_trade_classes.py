"""The class of a trade: given, or by the tick rule."""

import pytest

from features.reference import Event
from features.sequences import SMALL, at, columns, gathered, in_chunks, joined, orderbook, quote, trade


def signed(trades: list[Event]) -> list[float]:
    """The signed amount of each trade, read off rows that hold one trade each."""
    events = []
    for second, event in enumerate(trades):
        events += [quote(at(second), 1, 2), event._replace(ts=at(second))]
    return [row["tfi"] for row in orderbook([*events, Event("heartbeat", at(len(trades)))])]


def one(price: float, side: int = 0) -> Event:
    return trade(0, price, 1.0, side)


def test_a_given_side_is_the_class():
    assert signed([one(100, +1), one(100, -1), one(90, +1)]) == [1, -1, 1]


def test_a_price_above_the_previous_is_a_buy_and_below_a_sell():
    assert signed([one(100), one(101), one(99)]) == [0, 1, -1]


def test_an_equal_price_takes_the_class_of_the_previous_trade_given_or_inferred_through_any_number():
    assert signed([one(100, -1), one(100), one(100), one(101), one(101), one(101)]) == [-1, -1, -1, 1, 1, 1]


def test_an_equal_price_after_an_unclassified_trade_is_unclassified():
    assert signed([one(100), one(100), one(100)]) == [0, 0, 0]


def test_a_trade_after_a_gap_has_no_previous_trade():
    events = [quote(at(0), 1, 2), trade(at(0), 100, 1.0, +1), Event("gap", at(0.5)), trade(at(0.6), 100, 1.0)]
    events += [trade(at(0.7), 101, 1.0), Event("heartbeat", at(1))]
    (row,) = orderbook(events)
    assert (row["buy_volume"], row["trade_count"]) == (2, 3)


def test_an_invalid_trade_is_nobodys_previous_trade():
    assert signed([one(100, +1), one(float("nan")), one(100)]) == [1, 0, 1]


def test_a_side_that_is_neither_buy_nor_sell_is_none():
    assert signed([one(100, +1), one(101)]) == [1, 1]


@pytest.mark.parametrize("cut", range(1, 12))
def test_the_previous_trade_is_remembered_between_portions(cut):
    trades = [trade(at(0.1 * i), price, 1.0, side) for i, (price, side) in enumerate([(5, -1), (5, 0), (6, 0), (6, 0)])]
    events = [quote(at(0), 1, 2), *trades, Event("gap", at(0.5)), trade(at(0.6), 9, 1.0), trade(at(0.7), 9, 1.0)]
    events += [trade(at(0.8), 8, 1.0), Event("heartbeat", at(1))]
    whole = columns(events, SMALL)
    parts = gathered(in_chunks(whole, [min(cut, len(whole))]))["orderbook"]
    _, values = joined(parts)
    names = [column.name for column in parts[0].table.columns]
    row = dict(zip(names, values[0].tolist(), strict=True))
    assert (row["buy_volume"], row["sell_volume"], row["trade_count"]) == (2, 3, 7)
