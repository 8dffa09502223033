"""Features of time bars: each a function of the sums over a bar's rows."""

from typing import ClassVar

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray
from daedalus_features.registry import Section, feature

SUMMED = (
    "spread",
    "relative_spread",
    "imbalance_L1",
    "total_imbalance",
    "ofi",
    "mlofi",
    "snapshot_count",
)
"""The order-book columns that a bar sums over its rows."""

_DAY_SECONDS = 86_400
_DAYS_A_YEAR = 365
_RETURNS = "Andersen, Bollerslev, Diebold & Labys (2003)"


class BarRows:
    """The rows of b bars, (b,) each: `duration` in seconds, prices of mid_price, sums of the columns in SUMMED.

    `squared_return` is the sum of squared log returns of mid_price, each to the previous row wherever that lies,
    over the `returns` rows that have one.
    """

    table: ClassVar[str] = "bars"
    section: ClassVar[Section] = "bar"
    reads: ClassVar[str] = "the order-book rows with timestamp in (T - D, T]"
    remembers: ClassVar[str] = "the unfinished bar's prices and sums; the previous row's mid price"

    def __init__(self, duration: IntArray, prices: FloatArray, sums: dict[str, FloatArray]) -> None:
        self.duration = duration
        self.open: FloatArray = prices[0]
        self.high: FloatArray = prices[1]
        self.low: FloatArray = prices[2]
        self.close: FloatArray = prices[3]
        self.sums = sums
        self.row_count = sums["row_count"]
        self.squared_return: FloatArray = np.where(sums["returns"] > 0, sums["squared_return"], np.nan)

    def mean(self, column: str) -> FloatArray:
        """Plain mean of an order-book column over the rows."""
        return self.sums[column] / self.row_count


@feature(unit="quote", name="open", needs=("mid_price",))
def first(bar: BarRows) -> FloatArray:
    """mid_price of the first row."""
    return bar.open


@feature(unit="quote", needs=("mid_price",))
def high(bar: BarRows) -> FloatArray:
    """Highest mid_price."""
    return bar.high


@feature(unit="quote", needs=("mid_price",))
def low(bar: BarRows) -> FloatArray:
    """Lowest mid_price."""
    return bar.low


@feature(unit="quote", needs=("mid_price",))
def close(bar: BarRows) -> FloatArray:
    """mid_price of the last row."""
    return bar.close


@feature(unit="quote", needs=("spread",))
def mean_spread(bar: BarRows) -> FloatArray:
    """Mean of spread."""
    return bar.mean("spread")


@feature(unit="1", needs=("relative_spread",))
def mean_relative_spread(bar: BarRows) -> FloatArray:
    """Mean of relative_spread."""
    return bar.mean("relative_spread")


@feature(unit="1", needs=("imbalance_L1",))
def mean_l1_imbalance(bar: BarRows) -> FloatArray:
    """Mean of imbalance_L1."""
    return bar.mean("imbalance_L1")


@feature(unit="1", needs=("total_imbalance",))
def mean_total_imbalance(bar: BarRows) -> FloatArray:
    """Mean of total_imbalance."""
    return bar.mean("total_imbalance")


@feature(unit="base", needs=("ofi",))
def sum_ofi(bar: BarRows) -> FloatArray:
    """Σ ofi."""
    return bar.sums["ofi"]


@feature(unit="base", needs=("mlofi",))
def sum_mlofi(bar: BarRows) -> FloatArray:
    """Σ mlofi."""
    return bar.sums["mlofi"]


@feature(unit="1", needs=("mid_price",), reference=_RETURNS)
def realized_variance(bar: BarRows) -> FloatArray:
    """Σ r² of the rows' log returns of mid_price; null without any. Bars of 60 s add up to the bar of 300 s."""
    return bar.squared_return


@feature(unit="1", needs=("mid_price",), reference=_RETURNS)
def daily_vol_ann(bar: BarRows) -> FloatArray:
    """Annualised volatility: sqrt(realized_variance · (86400/D) · 365)."""
    volatility: FloatArray = np.sqrt(bar.squared_return * (_DAY_SECONDS / bar.duration) * _DAYS_A_YEAR)
    return volatility


@feature(unit="1", dtype="int64")
def snapshot_count(bar: BarRows) -> FloatArray:
    """Σ snapshot_count."""
    return bar.sums["snapshot_count"]


@feature(unit="1", dtype="int64")
def row_count(bar: BarRows) -> FloatArray:
    """Number of order-book rows in the bar."""
    return bar.row_count


@feature(unit="s", dtype="int64")
def bar_duration_sec(bar: BarRows) -> FloatArray:
    """The bar's duration D."""
    return bar.duration.astype(float)
