"""Time bars of the order book, worked out by hand."""

import math
from itertools import pairwise

import pytest

from daedalus_features import FeatureConfig, advance
from features.reference import Event
from features.sequences import START, as_dicts, at, columns, gathered, in_chunks, quote

PARAMS = FeatureConfig(bar_durations=(5, 10), rolling_windows=(5,))
assert START % (10 * 10**9) == 0


def bars_of(events: list[Event], params: FeatureConfig = PARAMS) -> list[dict]:
    return as_dicts(gathered([advance(None, columns(events, params))]).get("bars", []))


def walk(mids: list[float], first_second: int = 0) -> list[Event]:
    """A row a second with these mids, stamped first_second + 1 onward."""
    quotes = [quote(at(first_second + i), mid - 1, mid + 1, 3, 1) for i, mid in enumerate(mids)]
    return [*quotes, Event("heartbeat", at(first_second + len(mids)))]


def test_a_bar_holds_the_rows_stamped_after_its_start_up_to_its_end():
    first, *_ = bars_of(walk([100.0, 104.0, 99.0, 101.0, 102.0, 200.0]))
    assert (first["timestamp"], first["bar_duration_sec"], first["row_count"]) == (at(5), 5, 5)
    assert (first["open"], first["high"], first["low"], first["close"]) == (100, 104, 99, 102)


def test_a_bar_is_given_with_the_row_that_is_stamped_with_its_end_and_not_before():
    assert bars_of(walk([100.0] * 4)) == []
    assert [bar["timestamp"] for bar in bars_of(walk([100.0] * 5))] == [at(5)]


def test_a_bar_whose_last_seconds_have_no_row_is_given_with_the_next_row():
    events = [quote(at(0), 1, 2), quote(at(2), 3, 4), quote(at(22), 5, 6), Event("heartbeat", at(23))]
    assert [(bar["timestamp"], bar["bar_duration_sec"], bar["row_count"]) for bar in bars_of(events)] == [
        (at(5), 5, 2),
        (at(10), 10, 2),
    ]


def test_bars_of_one_stamp_come_in_the_order_of_the_durations():
    stamps = [(bar["timestamp"], bar["bar_duration_sec"]) for bar in bars_of(walk([100.0] * 20))]
    assert stamps == [(at(5), 5), (at(10), 5), (at(10), 10), (at(15), 5), (at(20), 5), (at(20), 10)]


def test_means_and_sums_are_over_the_rows():
    events = [quote(at(0), 99, 101, 3, 1), quote(at(0.5), 99, 101, 4, 1), quote(at(1), 98, 102, 1, 1)]
    bar, *_ = bars_of([*events, quote(at(6), 1, 2), Event("heartbeat", at(7))])
    assert bar["mean_spread"] == (2 + 4) / 2
    assert bar["mean_relative_spread"] == pytest.approx((0.02 + 0.04) / 2, rel=1e-12)
    assert bar["mean_l1_imbalance"] == pytest.approx((3 / 5 + 0) / 2, rel=1e-12)
    assert bar["mean_total_imbalance"] == bar["mean_l1_imbalance"]
    # +1 as the bid grows; the bid falls (-4) and the ask rises (+1).
    assert bar["sum_ofi"] == bar["sum_mlofi"] == 1 - 4 + 1
    assert (bar["snapshot_count"], bar["row_count"]) == (3, 2)


def test_realised_variance_takes_each_row_to_the_previous_one_wherever_that_lies():
    mids = [100.0, 101.0, 102.0, 100.0, 103.0, 104.0, 101.0, 100.0, 99.0, 98.0]
    squares = [math.log(b / a) ** 2 for a, b in pairwise(mids)]
    five, other_five, ten = bars_of(walk(mids))
    assert five["realized_variance"] == pytest.approx(sum(squares[:4]), rel=1e-12)
    assert other_five["realized_variance"] == pytest.approx(sum(squares[4:]), rel=1e-12)
    assert ten["realized_variance"] == pytest.approx(five["realized_variance"] + other_five["realized_variance"])
    assert ten["daily_vol_ann"] == pytest.approx(math.sqrt(sum(squares) * 8640 * 365), rel=1e-12)


def test_realised_variance_is_null_without_a_return_and_has_none_across_a_gap():
    events = [quote(at(0), 1, 2), quote(at(6), 3, 4), Event("gap", at(11)), quote(at(12), 5, 6), quote(at(17), 5, 6)]
    bars = [bar for bar in bars_of([*events, Event("heartbeat", at(18))]) if bar["bar_duration_sec"] == 5]
    assert [bar["realized_variance"] for bar in bars] == [None, pytest.approx(math.log(3.5 / 1.5) ** 2), None]
    assert [bar["daily_vol_ann"] is None for bar in bars] == [True, False, True]


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_bar_grows_through_any_portions(every):
    events = columns(walk([100.0 + math.sin(i) for i in range(40)]), PARAMS)
    whole = as_dicts(gathered([advance(None, events)])["bars"])
    portions = as_dicts(gathered(in_chunks(events, range(1, len(events), every)))["bars"])
    assert len(portions) == len(whole) == 12
    for bar, other in zip(portions, whole, strict=True):
        assert bar == pytest.approx(other, rel=1e-12)


def test_a_bar_has_no_column_whose_category_is_switched_off():
    params = FeatureConfig(bar_durations=(5,), categories=("structural",))
    bar, *_ = bars_of(walk([100.0] * 6), params)
    assert "sum_ofi" not in bar
    assert bar["close"] == 100.0
    rolling_only = FeatureConfig(bar_durations=(5,), categories=("rolling",))
    (bar,) = bars_of(walk([100.0] * 6), rolling_only)
    assert bar == {"timestamp": at(5), "snapshot_count": 5, "row_count": 5, "bar_duration_sec": 5}
