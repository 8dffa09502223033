"""Each structural feature, worked out by hand on one small book."""

import math

import pytest

from daedalus_features import FeatureConfig
from features.sequences import SMALL, at, book, orderbook

BIDS = [(100.0, 2.0), (99.0, 3.0)]
ASKS = [(101.0, 1.0), (103.0, 4.0)]


def row_of(bids, asks, params: FeatureConfig = SMALL):
    """The row of a single book."""
    (row,) = orderbook([book(at(0), bids, asks), book(at(1), bids, asks)], params)
    return row


@pytest.fixture(scope="module")
def row():
    return row_of(BIDS, ASKS)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("mid_price", 100.5),
        ("spread", 1.0),
        ("relative_spread", 1 / 100.5),
        ("microprice", (101 * 2 + 100 * 1) / 3),
        ("bid_price_L0", 100.0),
        ("bid_size_L1", 3.0),
        ("ask_price_L1", 103.0),
        ("ask_size_L0", 1.0),
        ("imbalance_L1", (2 - 1) / 3),
        ("imbalance_L3", 0.0),
        ("total_imbalance", 0.0),
        ("vwap_bid_5", (100 * 2 + 99 * 3) / 5),
        ("vwap_ask_5", (101 * 1 + 103 * 4) / 5),
        ("vwap_spread", 102.6 - 99.4),
        ("smart_bid_depth", 2 + 3 * math.exp(-0.5)),
        ("smart_ask_depth", 1 + 4 * math.exp(-0.5)),
        ("smart_depth_imbalance", (1 - math.exp(-0.5)) / (3 + 7 * math.exp(-0.5))),
        # Cumulative 2 then 5 over 0.5 and 1.5 quote from the mid; 1 then 5 over 0.5 and 2.5.
        ("bid_slope", 3 / (1.0 * 1e4 / 100.5)),
        ("ask_slope", 4 / (2.0 * 1e4 / 100.5)),
        ("center_of_gravity", (200 + 297 + 101 + 412) / 10),
        ("cog_vs_mid", (101 - 100.5) / 100.5),
        ("lambda_like", 3.2 / 10),
        ("amihud_like", (1 / 100.5) / (200 + 297 + 101 + 412)),
        ("bid_concentration", 0.4**2 + 0.6**2),
        ("ask_concentration", 0.2**2 + 0.8**2),
    ],
)
def test_a_feature_has_the_value_worked_out_by_hand(row, column, value):
    assert row[column] == pytest.approx(value, rel=1e-12, abs=1e-15)


def test_an_absent_level_is_null(row):
    assert row["bid_price_L2"] is None
    assert row["ask_size_L11"] is None


def test_a_band_holds_the_sizes_between_its_edges_and_zero_when_the_book_reaches_past_it(row):
    # The levels lie 49.75 and 149.25 bps (bids), 49.75 and 248.76 bps (asks) from the mid.
    assert row["bid_vol_band_25_50bps"] == 2.0
    assert row["ask_vol_band_25_50bps"] == 1.0
    assert row["bid_vol_band_0_5bps"] == row["ask_vol_band_50_100bps"] == 0.0


def test_a_band_past_the_last_recorded_level_is_null():
    row = row_of(BIDS[:1], ASKS)
    assert row["bid_vol_band_25_50bps"] is None
    assert row["bid_vol_band_10_25bps"] == 0.0
    assert row["ask_vol_band_25_50bps"] == 1.0


def test_a_level_on_an_edge_belongs_to_the_band_above_it():
    # A mid of 10,000 makes a distance of 5 exactly 5 bps.
    row = row_of([(9_995.0, 2.0), (9_000.0, 1.0)], [(10_005.0, 3.0), (11_000.0, 1.0)])
    assert row["bid_vol_band_0_5bps"] == row["ask_vol_band_0_5bps"] == 0.0
    assert (row["bid_vol_band_5_10bps"], row["ask_vol_band_5_10bps"]) == (2.0, 3.0)


def test_a_band_ends_at_the_last_recorded_level_when_that_lies_on_its_upper_edge():
    row = row_of([(9_995.0, 2.0)], [(10_005.0, 3.0)])
    assert row["bid_vol_band_0_5bps"] == 0.0
    assert row["bid_vol_band_5_10bps"] is None


def test_bands_see_recorded_levels_that_lie_deeper_than_the_used_ones():
    params = FeatureConfig(book_levels=3, depth_levels=1)
    bids = [(100.0, 2.0), (99.9, 3.0), (98.0, 4.0), (50.0, 100.0)]
    row = row_of(bids, [(101.0, 1.0), (101.1, 5.0), (110.0, 1.0)], params)
    assert row["bid_vol_band_50_100bps"] == 3.0
    assert row["ask_vol_band_50_100bps"] == 5.0
    assert row["total_imbalance"] == (2 - 1) / 3
    assert row["vwap_bid_5"] == 100.0
    assert "bid_price_L1" not in row


def test_sums_over_more_levels_than_present_run_over_those_present_each_side_by_itself():
    row = row_of([(100.0, 2.0)], [(101.0, 1.0), (102.0, 1.0), (103.0, 4.0)])
    assert row["imbalance_L1"] == (2 - 1) / 3
    assert row["imbalance_L3"] == row["imbalance_L10"] == (2 - 6) / 8


def test_a_slope_is_null_with_one_level_and_with_levels_at_one_distance():
    row = row_of([(100.0, 2.0)], ASKS)
    assert row["bid_slope"] is None
    assert row["ask_slope"] is not None
    # Against a mid of 5e14 the bids' distances are the same double.
    assert row_of([(2e-15, 1.0), (1e-15, 2.0)], [(1e15, 1.0)])["bid_slope"] is None


def test_a_slope_between_neighbouring_doubles_is_exact():
    prices = [1.0, math.nextafter(1.0, 0.0), math.nextafter(math.nextafter(1.0, 0.0), 0.0)]
    mid = (prices[0] + 3.0) / 2
    distances = [1e4 * abs(price - mid) / mid for price in prices]
    assert len(set(distances)) == 2
    row = row_of([(price, 1.0) for price in prices], [(3.0, 1.0)])
    # Two levels at one distance and one farther: the slope is the mean difference over the distance.
    lone = distances.count(distances[0]) == 1
    rise = (2.5 - 1.0) if lone else (3.0 - 1.5)
    assert row["bid_slope"] == pytest.approx(rise / (distances[2] - distances[0]), rel=1e-9)


def test_levels_deeper_than_the_recorded_ones_are_ignored_before_any_check():
    params = FeatureConfig(book_levels=2, depth_levels=2)
    deep = [*BIDS, (500.0, math.nan)]
    assert row_of(deep, ASKS, params) == row_of(BIDS, ASKS, params)
