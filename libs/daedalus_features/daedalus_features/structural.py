"""Structural features: functions of the sampled book alone.

b, B and a, A are bid price and size, ask price and size; level 0 is the best.
"""

from itertools import pairwise

import numpy as np

from daedalus_features.arrays import FloatArray, both, einsum, sum_by
from daedalus_features.config import FeatureConfig
from daedalus_features.inputs import SampledBooks
from daedalus_features.registry import ColumnNames, feature

IMBALANCE_LEVELS = (1, 3, 5, 10)
BAND_EDGES = (0, 5, 10, 25, 50, 100)
"""Basis points from the mid between which the volume bands lie."""
_EDGES = np.array(BAND_EDGES, float)


def _per_level(prefix: str) -> ColumnNames:
    def names(params: FeatureConfig) -> list[str]:
        return [f"{prefix}_L{level}" for level in range(params.depth_levels)]

    return names


_BANDS = [f"{side}_vol_band_{low}_{high}bps" for side in ("bid", "ask") for low, high in pairwise(BAND_EDGES)]


@feature(unit="quote")
def mid_price(book: SampledBooks) -> FloatArray:
    """Middle of the best prices: (b_0 + a_0)/2."""
    return book.mid


@feature(unit="quote")
def spread(book: SampledBooks) -> FloatArray:
    """Distance of the best prices: a_0 - b_0."""
    return book.spread


@feature(unit="1")
def relative_spread(book: SampledBooks) -> FloatArray:
    """spread / mid_price."""
    return book.relative_spread


@feature(unit="quote", reference="the size-weighted mid, not the estimator of Stoikov (2018)")
def microprice(book: SampledBooks) -> FloatArray:
    """Best prices weighted by the size on the other side: (a_0 B_0 + b_0 A_0)/(A_0 + B_0)."""
    bid_size, ask_size = both(book.size[:, :, 0])
    return (book.best_ask * bid_size + book.best_bid * ask_size) / (ask_size + bid_size)


def _levels(book: SampledBooks, numbers: FloatArray) -> FloatArray:
    """(r, levels present) as (depth_levels, r), NaN for levels that no book has."""
    if numbers.shape[1] == book.params.depth_levels:
        return numbers.T
    padded = np.full((book.params.depth_levels, len(numbers)), np.nan)
    padded[: numbers.shape[1]] = numbers.T
    return padded


@feature(unit="quote", columns=_per_level("bid_price"))
def bid_price(book: SampledBooks) -> FloatArray:
    """Bid price by level; null where the level is absent."""
    return _levels(book, book.price[0])


@feature(unit="base", columns=_per_level("bid_size"))
def bid_size(book: SampledBooks) -> FloatArray:
    """Bid size by level; null where the level is absent."""
    return _levels(book, book.size[0])


@feature(unit="quote", columns=_per_level("ask_price"))
def ask_price(book: SampledBooks) -> FloatArray:
    """Ask price by level; null where the level is absent."""
    return _levels(book, book.price[1])


@feature(unit="base", columns=_per_level("ask_size"))
def ask_size(book: SampledBooks) -> FloatArray:
    """Ask size by level; null where the level is absent."""
    return _levels(book, book.size[1])


def _imbalance(sides: FloatArray) -> FloatArray:
    """(bid - ask)/(bid + ask) of numbers per side, shape (2, ...)."""
    bid, ask = both(sides)
    return (bid - ask) / (bid + ask)


@feature(
    unit="1",
    columns=lambda _: [f"imbalance_L{levels}" for levels in IMBALANCE_LEVELS],
    reference="Gould & Bonart (2016), for L1",
)
def imbalance(book: SampledBooks) -> FloatArray:
    """(ΣB - ΣA)/(ΣB + ΣA) over the first k levels present on each side."""
    places = [book.within(levels) for levels in IMBALANCE_LEVELS]
    return _imbalance(book.cumulative_size[:, :, places]).T


@feature(unit="1")
def total_imbalance(book: SampledBooks) -> FloatArray:
    """(ΣB - ΣA)/(ΣB + ΣA) over all used levels."""
    return _imbalance(book.cumulative_size[:, :, -1])


@feature(unit="base", columns=lambda _: _BANDS)
def vol_band(book: SampledBooks) -> FloatArray:
    """Size of a side's recorded levels at a distance lo <= d < hi bps from the mid; null if its last one has d < hi."""
    distance = book.recorded_distance
    sides, rows, levels = distance.shape
    bands = len(BAND_EDGES) - 1
    # An absent level has distance NaN, which sorts past the last edge, and size 0.
    band = _EDGES.searchsorted(distance, side="right").reshape(sides * rows, levels)
    band += np.arange(0, sides * rows * (bands + 2), bands + 2)[:, None]
    sizes = sum_by(band.ravel(), book.recorded_quantity.ravel(), sides * rows * (bands + 2))
    sizes = sizes.reshape(sides, rows, bands + 2)[:, :, 1:-1]
    deepest = np.fmax.reduce(distance, axis=2)
    sizes[deepest[:, :, None] < _EDGES[1:]] = np.nan
    return sizes.transpose(0, 2, 1).reshape(sides * bands, rows)


@feature(unit="quote")
def vwap_bid_5(book: SampledBooks) -> FloatArray:
    """Size-weighted mean price of the first 5 bids: Σ p·q / Σ q."""
    return book.vwap_5[0]


@feature(unit="quote")
def vwap_ask_5(book: SampledBooks) -> FloatArray:
    """Size-weighted mean price of the first 5 asks: Σ p·q / Σ q."""
    return book.vwap_5[1]


@feature(unit="quote")
def vwap_spread(book: SampledBooks) -> FloatArray:
    """vwap_ask_5 - vwap_bid_5."""
    return book.vwap_5[1] - book.vwap_5[0]


@feature(unit="base", columns=lambda _: ("smart_bid_depth", "smart_ask_depth"))
def smart_depth(book: SampledBooks) -> FloatArray:
    """Size with a weight that decays by the level: Σ_i q_i·exp(-smart_depth_decay·i)."""
    return book.smart_depth


@feature(unit="1")
def smart_depth_imbalance(book: SampledBooks) -> FloatArray:
    """(smart_bid_depth - smart_ask_depth)/(smart_bid_depth + smart_ask_depth)."""
    return _imbalance(book.smart_depth)


@feature(unit="base/bps", columns=lambda _: ("bid_slope", "ask_slope"))
def slope(book: SampledBooks) -> FloatArray:
    """OLS slope of cumulative size on distance from the mid; null with one level or one distance."""
    used = book.price.shape[2]
    # Differences to the level-0 distance are exact where distances are close, which is where a mean would round.
    distance = book.recorded_distance[:, :, :used] - book.recorded_distance[:, :, :1]
    depth = book.cumulative_size.copy()
    levels: FloatArray | int = used
    if book.thin:
        distance[book.absent] = 0.0
        depth[book.absent] = 0.0
        levels = np.count_nonzero(~book.absent, axis=2)[:, :, None]
    distance -= np.add.reduce(distance, axis=2, keepdims=True) / levels
    depth -= np.add.reduce(depth, axis=2, keepdims=True) / levels
    if book.thin:
        distance[book.absent] = 0.0
    return einsum("srk,srk->sr", distance, depth) / einsum("srk,srk->sr", distance, distance)


@feature(unit="quote")
def center_of_gravity(book: SampledBooks) -> FloatArray:
    """Size-weighted mean price of both sides: Σ p·q / Σ q over all used levels."""
    return book.center_of_gravity


@feature(unit="1")
def cog_vs_mid(book: SampledBooks) -> FloatArray:
    """(center_of_gravity - mid_price)/mid_price."""
    return (book.center_of_gravity - book.mid) / book.mid


@feature(unit="quote/base", reference="in the manner of Kyle (1985)")
def lambda_like(book: SampledBooks) -> FloatArray:
    """vwap_spread / (Σ_{i<5} B_i + Σ_{i<5} A_i)."""
    bid_size, ask_size = both(book.size_of(5))
    return vwap_spread(book) / (bid_size + ask_size)


@feature(unit="1/quote", powers=(-1, -1), reference="in the manner of Amihud (2002)")
def amihud_like(book: SampledBooks) -> FloatArray:
    """relative_spread / (Σ_{i<5} b_i·B_i + Σ_{i<5} a_i·A_i)."""
    bid_value, ask_value = both(book.value_of(5))
    return book.relative_spread / (bid_value + ask_value)


@feature(unit="1", columns=lambda _: ("bid_concentration", "ask_concentration"), reference="Herfindahl (1950)")
def concentration(book: SampledBooks) -> FloatArray:
    """Herfindahl index of the sizes: Σ (q_i/Σq)² over all used levels."""
    share = book.quantity / book.cumulative_size[:, :, -1:]
    return einsum("srk,srk->sr", share, share)
