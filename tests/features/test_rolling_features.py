"""Rolling statistics, worked out by hand."""

import math
import statistics
from itertools import pairwise

import pytest

from daedalus_features import FeatureConfig
from features.reference import Event
from features.sequences import at, orderbook, quote

PARAMS = FeatureConfig(rolling_windows=(3, 60))
MIDS = [100.0, 101.0, 100.0, 104.0, 102.0, 102.0]


def rows_of(mids: list[float], gap_before: int | None = None) -> list[dict]:
    """Rows one second apart with these mids and a spread of 2."""
    events = []
    for second, mid in enumerate(mids):
        if second == gap_before:
            events.append(Event("gap", at(second - 0.5)))
        events.append(quote(at(second), mid - 1, mid + 1, 1 + second, 1))
    return orderbook([*events, Event("heartbeat", at(len(mids)))], PARAMS)


def test_volatility_is_the_sample_deviation_of_the_returns_in_the_window():
    rows = rows_of(MIDS)
    returns = [math.log(b / a) for a, b in pairwise(MIDS)]
    assert rows[0]["rv_3s"] is rows[1]["rv_3s"] is None
    assert rows[2]["rv_3s"] == pytest.approx(statistics.stdev(returns[:2]), rel=1e-12)
    assert rows[5]["rv_3s"] == pytest.approx(statistics.stdev(returns[-3:]), rel=1e-12)
    assert rows[5]["rv_60s"] == pytest.approx(statistics.stdev(returns), rel=1e-12)


def test_the_mean_return_needs_one_return():
    rows = rows_of(MIDS)
    assert rows[0]["mean_return_3s"] is None
    assert rows[1]["mean_return_3s"] == pytest.approx(math.log(1.01), rel=1e-12)
    assert rows[5]["mean_return_60s"] == pytest.approx(math.log(1.02) / 5, rel=1e-12)


def test_a_return_across_a_gap_is_none():
    rows = rows_of(MIDS, gap_before=3)
    returns = [math.log(b / a) for a, b in ((100, 101), (101, 100), (104, 102), (102, 102))]
    assert rows[3]["mean_return_3s"] == pytest.approx(statistics.fmean(returns[:2]), rel=1e-9)
    assert rows[4]["mean_return_3s"] == pytest.approx(statistics.fmean(returns[1:3]), rel=1e-9)
    assert rows[5]["rv_60s"] == pytest.approx(statistics.stdev(returns), rel=1e-12)


def test_the_window_is_time_not_rows():
    events = [quote(at(0), 99, 101), quote(at(1), 100, 102), quote(at(9), 101, 103), Event("heartbeat", at(10))]
    last = orderbook(events, PARAMS)[-1]
    assert last["rv_3s"] is None
    assert last["mean_return_3s"] == pytest.approx(math.log(102 / 101), rel=1e-12)
    assert last["mean_spread_3s"] == pytest.approx(2 / 102, rel=1e-12)
    assert last["mean_spread_60s"] == pytest.approx((2 / 100 + 2 / 101 + 2 / 102) / 3, rel=1e-12)


def test_order_flow_is_summed_over_the_window():
    rows = rows_of([100.0] * 6)
    assert [row["ofi"] for row in rows] == [0, 1, 1, 1, 1, 1]
    assert [row["ofi_sum_3s"] for row in rows] == [0, 1, 2, 3, 3, 3]


def test_a_constant_return_has_no_volatility_even_beside_a_large_mean():
    rows = rows_of([100.0 * 2**i for i in range(12)])
    assert rows[-1]["rv_60s"] == pytest.approx(0.0, abs=1e-15)


def test_volatility_keeps_its_digits_when_the_mean_is_large_beside_it():
    wobble = [1.0, 1.0 + 1e-9, 1.0 - 1e-9, 1.0 + 2e-9, 1.0]
    mids = [100.0]
    for factor in wobble * 3:
        mids.append(mids[-1] * 2.0 * factor)
    returns = [math.log(b / a) for a, b in pairwise(mids)]
    assert rows_of(mids)[-1]["rv_60s"] == pytest.approx(statistics.stdev(returns), rel=1e-6)
