"""The second implementation itself, by hand: what it says of trades, tickers and bars."""

import math
from types import SimpleNamespace

import pytest

from features.reference_numbers import EPSILON, Cell, Number, exact
from features.reference_trades import (
    TICKER_FIELDS,
    Trade,
    exactly_added,
    filled_bars,
    imbalance_bars,
    tick_bars,
    ticker_cells,
    time_bars,
    trade_rows,
)

MS = 1_000_000


def known(cell: Cell) -> Number:
    assert cell is not None
    return cell


def trades_of(*given: tuple[float, float, int], every: int = 1000 * MS) -> list[Trade]:
    """Trades of (price, amount, side), one every second."""
    made: list[Trade] = []
    for place, (price, amount, side) in enumerate(given):
        before = (made[-1].ts, made[-1].price) if made else None
        made.append(Trade(place * every, price, amount, side, before))
    return made


def values(row) -> dict:
    return {name: None if cell is None else cell.value for name, cell in row.cells.items()}


def test_a_trade_row():
    _, row = trade_rows(trades_of((100.0, 1.0, 1), (50.0, 3.0, 0), every=1_500_000))
    assert values(row) == {
        "price": 50.0,
        "amount": 3.0,
        "direction": None,
        "dollar_volume": 150.0,
        "log_return": -math.log(2),
        "inter_trade_ms": 1.5,
    }


def test_a_ticker_row_and_one_whose_bid_and_ask_are_crossed():
    fields = dict.fromkeys(TICKER_FIELDS, math.nan) | {"bid": 99.0, "ask": 101.0, "last": 105.0, "open": math.inf}
    row = ticker_cells(tuple(fields.values()))
    assert (row["mid_price"], row["spread"], row["relative_spread"]) == (exact(100.0), exact(2.0), exact(0.02))
    assert known(row["last_vs_mid"]).value == 0.05
    assert (row["bid"], row["open"], row["vwap"]) == (exact(99.0), None, None)
    crossed = ticker_cells(tuple((fields | {"bid": 101.0}).values()))
    assert [crossed[name] for name in ("mid_price", "spread", "relative_spread", "last_vs_mid")] == [None] * 4
    assert ticker_cells(tuple((fields | {"last": 0.0}).values()))["last_vs_mid"] is None


def test_a_time_bar_holds_its_left_edge_and_not_its_right_and_is_given_by_a_trade_at_its_end():
    trades = trades_of((10.0, 1.0, 1), (30.0, 1.0, -1), (20.0, 2.0, 0), (40.0, 9.0, 1))
    assert time_bars(trades[:3], (3,)) == []
    (bar,) = time_bars(trades, (3,))
    assert bar.timestamp == 3000 * MS
    assert values(bar) == {
        "open": 10.0,
        "high": 30.0,
        "low": 10.0,
        "close": 20.0,
        "vwap": 20.0,
        "volume": 4.0,
        "notional": 80.0,
        "buy_volume": 1.0,
        "sell_volume": 1.0,
        "trade_count": 3,
        "bar_duration_sec": 3,
    }


def test_time_bars_of_several_durations_are_in_order_of_stamp():
    bars = time_bars(trades_of(*[(1.0, 1.0, 1)] * 5), (2, 1))
    assert [(bar.timestamp // (1000 * MS), known(bar.cells["bar_duration_sec"]).value) for bar in bars] == [
        (1, 1), (2, 2), (2, 1), (3, 1), (4, 2), (4, 1)
    ]  # fmt: skip


def test_tick_volume_and_dollar_bars_close_with_the_trade_that_reaches_the_size_and_start_empty():
    trades = trades_of((10.0, 0.1, 1), (10.0, 0.2, 1), (10.0, 0.7, 1), (1.0, 5.0, 1), (1.0, 0.5, 1))
    assert [bar.timestamp // (1000 * MS) for bar in tick_bars(trades, 2)] == [1, 3]
    assert [bar.timestamp // (1000 * MS) for bar in filled_bars(trades, 1.0, lambda each: each.amount)] == [2, 3]
    assert [bar.timestamp // (1000 * MS) for bar in filled_bars(trades, 7.0, lambda each: each.notional)] == [2]


def test_ten_times_a_tenth_make_a_bar_and_a_billionth_less_does_not():
    assert len(filled_bars(trades_of(*[(1.0, 0.1, 1)] * 10), 1.0, lambda each: each.amount)) == 1
    assert len(filled_bars(trades_of((1.0, 1 - EPSILON, 1)), 1.0, lambda each: each.amount)) == 1
    assert len(filled_bars(trades_of((1.0, 1 - 1.01 * EPSILON, 1)), 1.0, lambda each: each.amount)) == 0


def parameters(ticks: int, span: int, least: int, most: int) -> SimpleNamespace:
    return SimpleNamespace(
        imbalance_bar_ticks=ticks,
        imbalance_bar_span=span,
        imbalance_bar_min_ticks=least,
        imbalance_bar_max_ticks=most,
    )


def closings(sides: str, params: SimpleNamespace) -> list[int]:
    """The places of the trades, of one sign each (. for none), that end a tick imbalance bar."""
    trades = trades_of(*[(1.0, 1.0, "-.+".index(side) - 1) for side in sides])
    return [bar.timestamp // (1000 * MS) for bar in imbalance_bars(trades, lambda each: float(each.side), params).rows]


def test_imbalance_bars_by_hand():
    # N = 4, β = 1/2. The first bar: 4 classified trades, E = 2/4. θ* = 4·1/2 = 2: reached by ++ at place 6.
    # E after the places 5, 6: 3/4, 7/8. θ* = 3.5: ++++ at place 10, E = 127/128. θ* just below 4.
    assert closings("+++.-++++++", parameters(4, 3, 1, 99)) == [4, 6, 10]
    assert closings("+++.-+++++++-+", parameters(4, 3, 1, 99)) == [4, 6, 10]
    assert closings("+++.-++++++++++", parameters(4, 3, 1, 99)) == [4, 6, 10, 14]


def test_an_imbalance_bar_has_at_least_and_at_most_so_many_trades():
    assert closings("+++-" + "++++++", parameters(4, 3, 3, 99)) == [3, 6]
    assert closings("++++" + "+-+-+-+-", parameters(4, 3, 1, 3)) == [3, 6, 9]


def test_an_expectation_of_nothing_ends_the_next_bar_at_once():
    # E = 0, so θ* = 0 at place 2; then E = 1/2 and θ* just below 1.
    assert closings("+-" + "++", parameters(2, 3, 1, 99)) == [1, 2, 3]
    assert closings("+-" + "++", parameters(2, 3, 2, 99)) == [1, 3]


def test_unclassified_trades_are_in_no_imbalance_bar():
    trades = trades_of((1.0, 1.0, 1), (7.0, 5.0, 0), (2.0, 1.0, -1))
    (bar,) = imbalance_bars(trades, lambda each: each.side * each.amount, parameters(2, 3, 1, 99)).rows
    assert [known(bar.cells[name]).value for name in ("volume", "trade_count", "high")] == [2, 2, 2]


def test_a_closing_that_hangs_on_the_order_of_a_sum_is_in_doubt():
    # |E| is about 1e-17 or 0, and 5 is far from both.
    amounts = [(1.0, 0.3, 1), (1.0, 0.2, -1), (1.0, 0.1, -1), (1.0, 5.0, 1)]
    sure = imbalance_bars(trades_of(*amounts), lambda each: each.side * each.amount, parameters(3, 3, 1, 99))
    assert (len(sure.rows), sure.certain) == (2, None)
    # Again 0.3 - 0.2 - 0.1, which is 0 or not, as E is.
    amounts = [*amounts[:3], *amounts[:3]]
    doubtful = imbalance_bars(trades_of(*amounts), lambda each: each.side * each.amount, parameters(3, 10**9, 3, 99))
    assert doubtful.certain == 1
    # With whole numbers there is no doubt.
    amounts = [(1.0, 3.0, 1), (1.0, 2.0, -1), (1.0, 1.0, -1)] * 2
    sure = imbalance_bars(trades_of(*amounts), lambda each: each.side * each.amount, parameters(3, 10**9, 3, 99))
    assert (len(sure.rows), sure.certain) == (2, None)


@pytest.mark.parametrize(
    ("terms", "exact_sum"), [([1.0, -2.5, 7.0], True), ([0.1, 0.2], False), ([1e15, 0.5], False), ([], True)]
)
def test_numbers_that_add_up_without_rounding(terms, exact_sum):
    assert exactly_added(terms) is exact_sum
