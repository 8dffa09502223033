"""VPIN's volume buckets."""

import math

import pytest

from daedalus_features import FeatureConfig
from daedalus_features.volume_buckets import OpenBucket, fill_buckets
from features.reference import Event
from features.sequences import at, orderbook, quote, trade

EMPTY = OpenBucket(0.0, 0.0)


def closed(*trades: tuple[float, int], size: float = 1.0, keep: int = 50) -> list[float]:
    return fill_buckets(EMPTY, trades, size, keep).imbalances


def test_a_bucket_closes_when_full_with_its_imbalance_over_its_size():
    assert closed((0.75, +1), (0.25, -1)) == [0.5]
    assert closed((0.5, +1), (0.25, -1)) == []


def test_a_trade_is_split_across_buckets():
    filling = fill_buckets(EMPTY, [(0.75, +1), (0.5, -1)], 1.0, 50)
    assert filling.imbalances == [0.5]
    assert filling.open == OpenBucket(0.25, -0.25)


def test_ten_times_a_tenth_fill_one_bucket_and_the_next_starts_empty():
    filling = fill_buckets(EMPTY, [(0.1, +1)] * 10, 1.0, 50)
    assert filling.imbalances == [pytest.approx(1.0)]
    assert filling.open == EMPTY


def test_a_trade_of_several_buckets_fills_the_open_one_first():
    filling = fill_buckets(EMPTY, [(0.5, -1), (3.25, +1)], 1.0, 50)
    assert filling.imbalances == [0.0, 1.0, 1.0]
    assert filling.open == OpenBucket(0.75, 0.75)


def test_the_remainders_of_the_open_bucket_and_the_trade_can_fill_one_more():
    filling = fill_buckets(EMPTY, [(0.75, -1), (3.5, +1)], 1.0, 50)
    assert filling.imbalances == [0.5, 1.0, 1.0, 1.0]
    assert filling.open == OpenBucket(0.25, 0.25)


def test_a_trade_just_short_of_whole_buckets_counts_as_them():
    almost = math.nextafter(3.0, 0.0)
    filling = fill_buckets(EMPTY, [(almost, +1)], 1.0, 50)
    assert filling.imbalances == [pytest.approx(1.0)] * 3
    assert filling.open == EMPTY


def test_a_huge_trade_fills_as_many_buckets_as_anybody_looks_at_and_keeps_the_rest():
    filling = fill_buckets(OpenBucket(0.25, 0.25), [(2.0**49 + 0.25, -1)], 1.0, 5)
    assert filling.imbalances[0] == 0.5
    assert filling.imbalances[-5:] == [1.0] * 5
    assert len(filling.imbalances) <= 7
    assert filling.open == OpenBucket(0.5, -0.5)


def test_vpin_is_the_mean_over_the_last_buckets_and_null_before_as_many_are_full():
    params = FeatureConfig(vpin_bucket_size=2.0, vpin_buckets=2, rolling_windows=(5,))
    amounts = [(2.0, +1), (1.0, +1), (1.0, -1), (1.5, -1), (0.5, +1)]
    events = [quote(at(0), 1, 2)]
    for second, (amount, side) in enumerate(amounts, 1):
        events += [trade(at(second), 100, amount, side), quote(at(second), 1, 2)]
    rows = orderbook([*events, Event("heartbeat", at(6))], params)
    # Buckets: 1 in second 1, 0 in second 3, |-1.5 + 0.5| / 2 in second 5.
    assert [row["vpin"] for row in rows] == [None, None, None, 0.5, 0.5, 0.25]


def test_vpin_counts_trades_before_the_first_book_and_after_the_sampled_one():
    params = FeatureConfig(vpin_bucket_size=1.0, vpin_buckets=2, rolling_windows=(5,))
    events = [trade(at(0), 100, 1.0, +1), quote(at(3), 1, 2), trade(at(3.5), 100, 1.0, -1), Event("heartbeat", at(4))]
    (row,) = orderbook(events, params)
    assert row["vpin"] == 1.0
    assert row["trade_count"] == 2


def test_unclassified_trades_fill_no_bucket():
    params = FeatureConfig(vpin_bucket_size=1.0, vpin_buckets=1, rolling_windows=(5,))
    (row,) = orderbook([trade(at(0), 100, 9.0), quote(at(0), 1, 2), Event("heartbeat", at(1))], params)
    assert row["vpin"] is None
