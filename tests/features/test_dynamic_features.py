"""Each dynamic feature, worked out by hand."""

import math
from collections.abc import Sequence

import pytest

from daedalus_features import FeatureConfig
from features.reference import Event
from features.sequences import SMALL, at, book, orderbook, quote, trade


def flow_of(*quotes: Event) -> float:
    """ofi of one row that holds all these books."""
    (row,) = orderbook([*quotes, Event("heartbeat", at(1))])
    return row["ofi"]


FIRST = quote(at(0), 100, 101, 2, 1)


@pytest.mark.parametrize(
    ("change", "then", "flow"),
    [
        ("the bid grows", quote(at(0), 100, 101, 5, 1), 3),
        ("the bid shrinks", quote(at(0), 100, 101, 0.5, 1), -1.5),
        ("the bid rises", quote(at(0), 100.5, 101, 4, 1), 4),
        ("the bid falls", quote(at(0), 99, 101, 4, 1), -2),
        ("the ask grows", quote(at(0), 100, 101, 2, 5), -4),
        ("the ask falls", quote(at(0), 100, 100.9, 2, 5), -5),
        ("the ask rises", quote(at(0), 100, 102, 2, 5), 1),
        ("nothing changes", quote(at(0), 100, 101, 2, 1), 0),
    ],
)
def test_order_flow_follows_cont_kukanov_and_stoikov_when(change, then, flow):
    assert flow_of(FIRST, then) == flow, change


def test_order_flow_sums_over_every_update_and_is_zero_without_one():
    assert flow_of(FIRST) == 0
    assert flow_of(FIRST, quote(at(0), 100, 101, 5, 1), quote(at(0.5), 100, 101, 5, 3)) == 3 - 2


def test_an_increment_belongs_to_the_interval_of_its_later_book():
    rows = orderbook([FIRST, quote(at(1), 100, 101, 5, 1), Event("heartbeat", at(2))])
    assert [row["ofi"] for row in rows] == [0, 3]


def test_multi_level_flow_weighs_levels_by_index_and_skips_those_absent_in_either_book():
    before = book(at(0), [(100, 1), (99, 1), (98, 1)], [(101, 1)])
    after = book(at(0), [(100, 3), (99, 5)], [(101, 1), (102, 9)])
    (row,) = orderbook([before, after, Event("heartbeat", at(1))])
    assert row["mlofi"] == pytest.approx(2 + 4 * math.exp(-0.5), rel=1e-12)


def test_multi_level_flow_looks_at_ten_levels_at_most_and_at_no_more_than_are_used():
    def flow(params: FeatureConfig) -> float:
        bids = [(100.0 - i, 1.0) for i in range(14)]
        grown = [(price, 2.0) for price, _ in bids]
        (row,) = orderbook([book(at(0), bids, [(101, 1)]), book(at(0), grown, [(101, 1)]), Event("gap", at(1))], params)
        return row["mlofi"]

    assert flow(SMALL) == pytest.approx(sum(math.exp(-0.5 * level) for level in range(10)), rel=1e-12)
    few = FeatureConfig(book_levels=14, depth_levels=4)
    assert flow(few) == pytest.approx(sum(math.exp(-0.5 * level) for level in range(4)), rel=1e-12)


def test_an_invalid_book_is_no_predecessor_and_the_last_valid_one_remains():
    assert flow_of(FIRST, quote(at(0), 103, 101), quote(at(0.5), 100, 101, 5, 1)) == 3


def test_a_gap_leaves_the_next_book_without_a_predecessor_and_keeps_the_sum():
    grown, shrunk = quote(at(0), 100, 101, 5, 1), quote(at(0.5), 100, 101, 1, 1)
    assert flow_of(FIRST, grown, Event("gap", at(0.2)), shrunk) == 3


def test_trades_are_summed_by_their_side_and_unclassified_ones_count_only_in_count_and_vwap():
    (row,) = orderbook(
        [
            quote(at(0), 100, 101),
            trade(at(0.1), 100.0, 8.0),
            trade(at(0.2), 101.0, 3.0, +1),
            trade(at(0.3), 100.0, 1.0, -1),
            Event("heartbeat", at(1)),
        ]
    )
    assert (row["tfi"], row["buy_volume"], row["sell_volume"], row["tfi_norm"]) == (2, 3, 1, 0.5)
    assert row["trade_count"] == 3
    assert row["trade_vwap"] == (8 * 100 + 3 * 101 + 1 * 100) / 12


def test_without_trades_the_sums_are_zero_and_the_ratios_null():
    (row,) = orderbook([quote(at(0), 100, 101), Event("heartbeat", at(1))])
    assert (row["tfi"], row["buy_volume"], row["sell_volume"], row["trade_count"]) == (0, 0, 0, 0)
    assert row["tfi_norm"] is row["trade_vwap"] is row["vpin"] is None


def test_an_unclassified_trade_leaves_the_normalised_flow_null_but_not_the_vwap():
    (row,) = orderbook([quote(at(0), 100, 101), trade(at(0.1), 100.0, 8.0), Event("heartbeat", at(1))])
    assert row["tfi_norm"] is None
    assert row["trade_vwap"] == 100.0


@pytest.mark.parametrize(
    "broken", [(math.nan, 1.0), (100.0, math.inf), (0.0, 1.0), (100.0, -1.0), (1e16, 1.0), (100.0, 1e-16)]
)
def test_a_trade_whose_price_or_amount_is_not_usable_is_in_no_feature(broken):
    (row,) = orderbook([quote(at(0), 100, 101), trade(at(0.1), broken[0], broken[1], +1), Event("heartbeat", at(1))])
    assert row["trade_count"] == row["buy_volume"] == 0


def test_velocity_is_the_change_of_the_mid_over_the_time_between_rows():
    rows = orderbook([quote(at(0), 99, 101), quote(at(1), 100, 102), quote(at(4), 106, 108), Event("heartbeat", at(5))])
    assert [row["mid_velocity"] for row in rows] == [None, 1.0, 2.0]
    assert [row["mid_acceleration"] for row in rows] == [None, None, pytest.approx(1 / 3, rel=1e-12)]


def test_velocity_is_null_across_a_gap_and_acceleration_for_one_row_more():
    quotes = [quote(at(i), 99 + i, 101 + i) for i in range(6)]
    rows = orderbook([*quotes[:3], Event("gap", at(2.5)), *quotes[3:], Event("heartbeat", at(6))])
    assert [row["mid_velocity"] is None for row in rows] == [True, False, False, True, False, False]
    assert [row["mid_acceleration"] is None for row in rows] == [True, True, False, True, True, False]


def moves(pairs: Sequence[tuple[float, float]]) -> list[Event]:
    """Rows one second apart, each with a signed trade amount and a change of the mid."""
    mid = 100.0
    events = [quote(at(0), mid - 1, mid + 1)]
    for second, (flow, change) in enumerate(pairs, 1):
        mid += change
        events.append(quote(at(second), mid - 1, mid + 1))
        if flow:
            events.append(trade(at(second), 100.0, abs(flow), +1 if flow > 0 else -1))
    return [*events, Event("heartbeat", at(len(pairs) + 1))]


def test_kyles_lambda_is_the_slope_of_price_changes_on_signed_volume():
    # x = ±1, y = 2x ± 1 with the sign of the noise independent of x: the slope is 2.
    pairs = [(1, 3), (1, 1), (-1, -1), (-1, -3)] * 3
    assert orderbook(moves(pairs))[-1]["kyle_lambda"] == pytest.approx(2.0, rel=1e-12)


def test_kyles_lambda_needs_ten_pairs():
    rows = orderbook(moves([(1, 3), (1, 1), (-1, -1), (-1, -3)] * 3))
    assert [row["kyle_lambda"] is None for row in rows] == [True] * 10 + [False] * 3


def test_kyles_lambda_is_null_when_the_flow_does_not_vary():
    assert orderbook(moves([(1, 3), (1, -2)] * 8))[-1]["kyle_lambda"] is None
    assert orderbook(moves([(0, 3), (0, -2)] * 8))[-1]["kyle_lambda"] is None


def test_kyles_lambda_takes_float_noise_for_no_variation():
    # 0.3 against 0.1 + 0.2: equal amounts but for the last bit.
    events = [quote(at(0), 99, 101)]
    for second in range(1, 16):
        events.append(quote(at(second), 99 + second % 3, 101 + second % 3))
        amounts = (0.3,) if second % 2 else (0.1, 0.2)
        events += [trade(at(second), 100.0, amount, +1) for amount in amounts]
    assert 0.1 + 0.2 != 0.3
    assert orderbook([*events, Event("heartbeat", at(16))])[-1]["kyle_lambda"] is None


def test_a_row_across_a_gap_is_no_pair():
    events = moves([(1, 3), (1, 1), (-1, -1), (-1, -3)] * 3)
    at_gap = next(i for i, event in enumerate(events) if event.ts == at(8))
    rows = orderbook([*events[:at_gap], Event("gap", at(7.5)), *events[at_gap:]])
    assert [row["kyle_lambda"] is None for row in rows][-3:] == [True, False, False]


def test_kyles_window_leaves_out_the_row_that_lies_exactly_its_length_back():
    params = FeatureConfig(kyle_window=10, rolling_windows=(5,))
    steady = [(1, 2), (-1, -2)] * 8
    rows = orderbook(moves([(50, 900), *steady]), params)
    # The tenth row after the outlier has only steady pairs in its window of ten.
    assert rows[10]["kyle_lambda"] != pytest.approx(2.0, rel=1e-3)
    assert rows[11]["kyle_lambda"] == pytest.approx(2.0, rel=1e-12)


def regimes(spreads: list[float]) -> list[float | None]:
    """spread_regime of rows one second apart with these spreads."""
    quotes = [quote(at(i), 100.0, 100.0 + spread) for i, spread in enumerate(spreads)]
    return [row["spread_regime"] for row in orderbook([*quotes, Event("heartbeat", at(len(spreads)))])]


TIGHT, NORMAL, WIDE = 0.0, 1.0, 2.0


def test_the_regime_needs_thirty_rows_and_equal_spreads_are_tight():
    assert regimes([1.0] * 31) == [None] * 29 + [TIGHT] * 2


@pytest.mark.parametrize(
    ("narrower", "of", "regime"), [(7, 31, TIGHT), (8, 32, NORMAL), (23, 31, NORMAL), (24, 32, WIDE), (31, 32, WIDE)]
)
def test_the_regime_is_the_share_of_narrower_spreads(narrower, of, regime):
    assert regimes([1.0] * narrower + [4.0] * (of - narrower - 1) + [2.0])[-1] == regime


def test_float_noise_in_a_constant_spread_is_no_difference():
    assert regimes([1.0] * 39 + [1.0 + 5e-7])[-1] == TIGHT
    assert regimes([1.0] * 39 + [1.0 + 5e-6])[-1] == WIDE
