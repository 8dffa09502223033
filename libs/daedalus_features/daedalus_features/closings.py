"""Where bars of trades end: at the n-th trade, at a sum, or at an imbalance greater than expected.

A bar starts empty, so its sum does too: each is summed by itself in the order of its trades, whatever portions they
come in, so that a bar ends at the same trade in all of them. Plain loops, since where a sum starts depends on where
the one before it ended: about 50 ns a trade for a sum, 125 ns for an imbalance.
"""

from dataclasses import dataclass

import numpy as np

from daedalus_features.arrays import EPSILON, FloatArray, IntArray
from daedalus_features.config import FeatureConfig


def closed_by_count(count: int, trades: int, size: int) -> IntArray:
    """The places of the trades that end bars of `size` trades, the unfinished one holding `count`."""
    return np.arange(size - 1 - count, trades, size)


def closed_by_sum(total: float, terms: FloatArray, size: float) -> tuple[list[int], float]:
    """The places of the trades that end bars whose terms add up to (1 - 2^-30)·size, and the sum that stays open."""
    enough = (1 - EPSILON) * size
    places: list[int] = []
    for place, term in enumerate(terms.tolist()):
        total += term
        if total >= enough:
            places.append(place)
            total = 0.0
    return places, total


@dataclass(frozen=True)
class Imbalance:
    """The unfinished imbalance bar: `count` trades whose x add up to `total`, to end at `threshold`.

    `expected` is E, NaN until the first bar has ended; `threshold` was fixed before the bar's first trade.
    """

    count: int
    total: float
    expected: float
    threshold: float

    @staticmethod
    def initial() -> "Imbalance":
        """Before the first trade."""
        return Imbalance(0, 0.0, np.nan, 0.0)


def closed_by_imbalance(before: Imbalance, terms: FloatArray, params: FeatureConfig) -> tuple[list[int], Imbalance]:
    """The places of the trades that end imbalance bars, given the x of each, and the bar that stays open.

    The first bar ends with its N-th trade and gives E the mean of its x. From then on each trade moves E, and a bar
    ends when |Σ x| reaches (1 - 2^-30)·N·|E|, E being that before its first trade.
    """
    listed = terms.tolist()
    places: list[int] = []
    count, total, expected, threshold = before.count, before.total, before.expected, before.threshold
    scale = (1 - EPSILON) * params.imbalance_bar_ticks
    begin = 0
    if expected != expected:
        begin = min(params.imbalance_bar_ticks - count, len(listed))
        for x in listed[:begin]:
            total += x
        count += begin
        if count < params.imbalance_bar_ticks:
            return places, Imbalance(count, total, expected, threshold)
        places.append(begin - 1)
        expected = total / count
        threshold = scale * abs(expected)
        count, total = 0, 0.0
    least, most, weight = params.imbalance_bar_min_ticks, params.imbalance_bar_max_ticks, _weight(params)
    for place, x in enumerate(listed[begin:], begin):
        count += 1
        total += x
        expected += weight * (x - expected)
        if (count >= least and abs(total) >= threshold) or count == most:
            places.append(place)
            threshold = scale * abs(expected)
            count, total = 0, 0.0
    return places, Imbalance(count, total, expected, threshold)


def _weight(params: FeatureConfig) -> float:
    return 2 / (params.imbalance_bar_span + 1)
