"""Windows that are merged from blocks, against each window's own rows added up exactly."""

import math
from fractions import Fraction

import numpy as np
import pytest

from daedalus_features import FeatureConfig, RowWindows
from daedalus_features.dynamic import kyle_lambda, spread_regime
from daedalus_features.history import WINDOW_COLUMNS, History
from daedalus_features.rolling import mean_return, mean_spread, ofi_sum, rv

PARAMS = FeatureConfig(rolling_windows=(15, 5, 900, 60), kyle_window=40, regime_window=120)
FEATURES = (mean_return, rv, mean_spread, ofi_sum, kyle_lambda, spread_regime)


def history(rows: int, pauses: tuple[int, ...], unknown: float, seed: int = 7) -> History:
    """Rows with these pauses in seconds between them, of which a share has no return."""
    random = np.random.default_rng(seed)
    columns = dict(zip(WINDOW_COLUMNS, random.normal(0, 1e-4, (len(WINDOW_COLUMNS), rows)), strict=True))
    columns["log_return"] += 1.0
    columns["mid_change"][random.random(rows) < unknown] = np.nan
    columns["log_return"][np.isnan(columns["mid_change"])] = np.nan
    columns["volume"] = abs(columns["tfi"])
    columns["spread"] = random.integers(1, 9, rows) * 0.01
    timestamp = 10**18 + np.cumsum(random.choice(pauses, rows)) * 10**9
    return History(timestamp, np.array([columns[name] for name in WINDOW_COLUMNS]))


def found(rows: History, new: int) -> np.ndarray:
    """Every column of the last rows, (columns, new)."""
    with np.errstate(all="ignore"):
        windows = RowWindows(rows, new, PARAMS)
        return np.concatenate([np.atleast_2d(each(windows)) for each in FEATURES])


def moments(x: list[float], y: list[float]) -> tuple[Fraction, Fraction]:
    """Exact sums of (x - mean x)² and (x - mean x)·(y - mean y)."""
    xs, ys = [Fraction(value) for value in x], [Fraction(value) for value in y]
    nothing = Fraction(0)
    mean_x, mean_y = sum(xs, nothing) / len(xs), sum(ys, nothing) / len(ys)
    squares = [(a - mean_x) * (a - mean_x) for a in xs]
    products = [(a - mean_x) * (b - mean_y) for a, b in zip(xs, ys, strict=True)]
    return sum(squares, nothing), sum(products, nothing)


def expected(rows: History, place: int) -> list[float]:
    """Every column of the row at a place, from scratch."""

    def within(column: str, seconds: int) -> list[float]:
        now = rows.timestamp[place]
        inside = (rows.timestamp > now - seconds * 10**9) & (rows.timestamp <= now)
        return list(rows.columns[WINDOW_COLUMNS.index(column), inside])

    means, deviations, spreads, flows = [], [], [], []
    for seconds in PARAMS.rolling_windows:
        returns = [value for value in within("log_return", seconds) if not math.isnan(value)]
        means.append(math.fsum(returns) / len(returns) if returns else math.nan)
        few = len(returns) < 2
        deviations.append(math.nan if few else math.sqrt(moments(returns, returns)[0] / (len(returns) - 1)))
        relative = within("relative_spread", seconds)
        spreads.append(math.fsum(relative) / len(relative))
        flows.append(math.fsum(within("ofi", seconds)))
    both = zip(within("tfi", PARAMS.kyle_window), within("mid_change", PARAMS.kyle_window), strict=True)
    pairs = [(flow, change) for flow, change in both if not math.isnan(change)]
    slope = math.nan
    if len(pairs) >= 10:
        variance, covariance = moments(*map(list, zip(*pairs, strict=True)))
        slope = float(covariance / variance)
    spread = within("spread", PARAMS.regime_window)
    share = sum(each < (1 - 1e-6) * spread[-1] for each in spread) / len(spread)
    regime = math.nan if len(spread) < 30 else float(int(share >= 0.25) + int(share >= 0.75))
    return [*means, *deviations, *spreads, *flows, slope, regime]


@pytest.mark.parametrize(
    ("pauses", "unknown"),
    [((1,), 0.0), ((1,), 0.2), ((1, 1, 1, 2, 7), 0.0), ((1, 2, 40, 1000), 0.3)],
    ids=["a row a second", "some across gaps", "with pauses", "with pauses longer than windows"],
)
def test_each_window_agrees_with_its_own_rows_added_up_exactly(pauses, unknown):
    rows = history(1300, pauses, unknown)
    values = found(rows, len(rows))
    for place in [*range(70), *range(70, 1300, 61)]:
        # Sums of terms that cancel have room of 1e-12 of the terms, here 1e-4 each and at most 900.
        np.testing.assert_allclose(values[:, place], expected(rows, place), rtol=1e-9, atol=1e-13, err_msg=str(place))


@pytest.mark.parametrize("new", [1, 2, 3, 10, 50, 1299])
def test_it_does_not_matter_how_many_rows_are_new(new):
    rows = history(1300, (1, 1, 1, 1, 3), 0.05)
    np.testing.assert_allclose(found(rows, new), found(rows, 1300)[:, -new:], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("new", [1, 40])
def test_what_left_the_window_leaves_no_trace(new):
    rows = history(1000, (1,), 0.0)
    rows.columns[:, 100] = 1e15
    np.testing.assert_array_equal(found(rows, new)[[0, 1, -2]], found(history(1000, (1,), 0.0), new)[[0, 1, -2]])


def test_windows_that_hold_the_same_rows_have_equal_statistics():
    rows = history(200, (1, 400), 0.1)
    values = found(rows, 200)
    alone = np.diff(rows.timestamp, prepend=0) > 60 * 10**9
    assert alone.sum() > 50
    for statistic in range(4):
        every = values[4 * statistic : 4 * statistic + 4, alone]
        np.testing.assert_array_equal(every[[0, 1, 3]], np.array([every[0]] * 3))


@pytest.mark.parametrize("flow", [3.0, -3.0])
def test_a_flow_that_varies_by_rounding_alone_has_no_slope(flow):
    rows = history(300, (1, 1, 2), 0.1)
    rows.columns[WINDOW_COLUMNS.index("tfi")] = flow + 1e-10 * np.random.default_rng(1).random(300)
    rows.columns[WINDOW_COLUMNS.index("volume")] = 3.0
    assert np.isnan(found(rows, 300)[-2]).all()


def test_many_rows_at_once_are_put_together_in_portions():
    rows = history(5000, (1, 1, 1, 3), 0.05)
    at_once = found(rows, 5000)
    for new in (100, 2000):
        np.testing.assert_allclose(found(rows, new), at_once[:, -new:], rtol=1e-9, atol=1e-13)
