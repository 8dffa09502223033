"""Dynamic features: of every update and every trade since the previous row, and of the last few minutes' rows."""

import numpy as np

from daedalus_features.arrays import EPSILON, FloatArray, einsum
from daedalus_features.inputs import BookUpdates, RowSteps, TradeFlow, VolumeBuckets
from daedalus_features.registry import feature
from daedalus_features.windows import RowWindows

KYLE_PAIRS = 10
REGIME_ROWS = 30
REGIME_BRACKET = 1 - 1e-6
REGIMES = ("tight", "normal", "wide")


@feature(unit="base", reference="Cont, Kukanov & Stoikov (2014)")
def ofi(book: BookUpdates) -> FloatArray:
    """Order-flow imbalance at the best prices, Σ e⁰ of the updates since the previous row."""
    return book.order_flow[:, 0]


@feature(unit="base", reference="after Xu, Gould & Howison (2019)")
def mlofi(book: BookUpdates) -> FloatArray:
    """Order-flow imbalance of the first 10 levels: Σ_m exp(-ofi_decay_alpha·m)·eᵐ, summed like ofi."""
    levels = np.arange(book.order_flow.shape[1])
    return einsum("nm,m->n", book.order_flow, np.exp(-book.params.ofi_decay_alpha * levels))


@feature(unit="base")
def tfi(trades: TradeFlow) -> FloatArray:
    """Trade-flow imbalance: Σ amount of the buys less that of the sells since the previous row."""
    return trades.signed


@feature(unit="base", reference="tick rule: Lee & Ready (1991)")
def buy_volume(trades: TradeFlow) -> FloatArray:
    """Σ amount of the trades classified as buys since the previous row."""
    return trades.buy


@feature(unit="base", reference="tick rule: Lee & Ready (1991)")
def sell_volume(trades: TradeFlow) -> FloatArray:
    """Σ amount of the trades classified as sells since the previous row."""
    return trades.sell


@feature(unit="1")
def tfi_norm(trades: TradeFlow) -> FloatArray:
    """tfi / (buy_volume + sell_volume); null without classified trades."""
    return trades.signed / trades.classified


@feature(unit="quote")
def trade_vwap(trades: TradeFlow) -> FloatArray:
    """Σ price·amount / Σ amount of all valid trades since the previous row; null without trades."""
    return trades.notional / trades.amount


@feature(unit="1", dtype="int64")
def trade_count(trades: TradeFlow) -> FloatArray:
    """Number of valid trades since the previous row."""
    return trades.count


@feature(
    unit="quote/base", reference="Kyle (1985); regression as in Hasbrouck (2009), on base volume", section="dynamic"
)
def kyle_lambda(rows: RowWindows) -> FloatArray:
    """OLS slope of the change of mid_price on tfi, row by row over kyle_window.

    Null with fewer than 10 pairs or when max tfi - min tfi <= 2^-30 · max (buy_volume + sell_volume).
    """
    runs = rows.nested(rows.params.kyle_window)
    flow, change, volume = numbers = rows.columns(runs, "tfi", "mid_change", "volume")
    extremes = np.where(np.isnan(change), -np.inf, (flow, -flow, volume))
    highest, lowest, most = runs.highest(extremes)[:, 0]
    pairs, _, _, variance, covariance = runs.moments(numbers[:2], paired=2)[:, 0]
    slopes: FloatArray = covariance / variance
    slopes[(pairs < KYLE_PAIRS) | (highest + lowest <= EPSILON * most)] = np.nan
    return slopes


@feature(unit="1", reference="Easley, López de Prado & O'Hara (2012), on classified trades")
def vpin(buckets: VolumeBuckets) -> FloatArray:
    """Mean of |V_buy - V_sell| / S over the last vpin_buckets full buckets of S = vpin_bucket_size base units each.

    Null until as many are full.
    """
    wanted = buckets.params.vpin_buckets
    known = buckets.known.tolist()
    means = {
        full: float(np.add.reduce(buckets.imbalances[full - wanted : full])) / wanted
        for full in set(known)
        if full >= wanted
    }
    return np.array([means.get(full, np.nan) for full in known])


@feature(unit="quote/s")
def mid_velocity(rows: RowSteps) -> FloatArray:
    """Change of mid_price per second from the previous row; null across a gap."""
    return rows.velocity


@feature(unit="quote/s²")
def mid_acceleration(rows: RowSteps) -> FloatArray:
    """Change of mid_velocity per second from the previous row; null where either velocity is."""
    return (rows.velocity - rows.previous_velocity) / rows.seconds


@feature(unit="1", section="dynamic", dtype="category", labels=REGIMES)
def spread_regime(rows: RowWindows) -> FloatArray:
    """Share q of the rows of regime_window with spread < (1 - 1e-6) · the current one.

    tight if q < 0.25, wide if q >= 0.75, else normal; null with fewer than 30 rows.
    """
    bracket = REGIME_BRACKET * rows.current("spread")
    windows = rows.each("spread", rows.params.regime_window)
    # One window at a time, which copies none: with 900 rows that is 1.4 us a window.
    below = [np.count_nonzero(spread < limit) for spread, limit in zip(windows, bracket.tolist(), strict=True)]
    (count,) = rows.length(rows.params.regime_window)
    share = np.array(below) / count
    regime: FloatArray = np.add(share >= 0.25, share >= 0.75, dtype=float)
    regime[count < REGIME_ROWS] = np.nan
    return regime
