"""What the features of the order-book table read: the arguments of their functions, vectorised over rows or updates."""

from functools import cached_property
from typing import ClassVar

import numpy as np

from daedalus_features.arrays import BoolArray, FloatArray, IntArray, both, einsum
from daedalus_features.config import FeatureConfig
from daedalus_features.registry import Section


class Intervals:
    """The intervals of r rows: `gap` (r,) and `snapshot_count` (r,)."""

    table: ClassVar[str] = "orderbook"
    section: ClassVar[Section] = "row"
    reads: ClassVar[str] = "book and gap events"
    remembers: ClassVar[str] = "a count and a flag of the open interval"

    def __init__(self, gap: BoolArray, snapshot_count: FloatArray) -> None:
        self.gap = gap
        self.snapshot_count = snapshot_count


class SampledBooks:
    """The last valid book of r intervals.

    `price` and `size` have shape (2, r, levels), bids before asks, all recorded levels, NaN where one is absent;
    what follows is of the used levels unless it says recorded, with 0 for the size of an absent one.
    """

    table: ClassVar[str] = "orderbook"
    section: ClassVar[Section] = "structural"
    reads: ClassVar[str] = "the last valid book of the interval"
    remembers: ClassVar[str] = "the last valid book"

    def __init__(self, price: FloatArray, size: FloatArray, params: FeatureConfig) -> None:
        self.params = params
        self.recorded_price = price
        self.price = price[:, :, : params.depth_levels]
        self.size = size[:, :, : params.depth_levels]
        absent = np.isnan(price)
        self.thin = bool(absent.any())
        """Whether any recorded level of any of the books is absent."""
        self.absent: BoolArray = absent[:, :, : params.depth_levels]
        self.recorded_quantity = np.where(absent, 0.0, size) if self.thin else size
        self.quantity = self.recorded_quantity[:, :, : params.depth_levels]
        self.best_bid, self.best_ask = both(price[:, :, 0])
        self.mid: FloatArray = (self.best_bid + self.best_ask) / 2
        self.spread: FloatArray = self.best_ask - self.best_bid
        self.relative_spread: FloatArray = self.spread / self.mid

    def within(self, levels: int) -> int:
        """The place of the last of the first `levels` used levels."""
        return min(levels, int(self.quantity.shape[2])) - 1

    @cached_property
    def cumulative_size(self) -> FloatArray:
        """Size of the levels up to and including each, (2, r, used)."""
        return np.add.accumulate(self.quantity, axis=2)

    @cached_property
    def cumulative_value(self) -> FloatArray:
        """Price times size, summed like `cumulative_size`."""
        value = self.price * self.size
        if self.thin:
            value[self.absent] = 0.0
        return np.add.accumulate(value, axis=2)

    @cached_property
    def recorded_distance(self) -> FloatArray:
        """Distance of the recorded levels from the mid in basis points, (2, r, recorded), NaN where absent."""
        mid = self.mid[:, None]
        return (1e4 * np.abs(self.recorded_price - mid)) / mid

    def size_of(self, levels: int) -> FloatArray:
        """Size of the first `levels` of each side, (2, r)."""
        return self.cumulative_size[:, :, self.within(levels)]

    def value_of(self, levels: int) -> FloatArray:
        """Price times size of the first `levels` of each side, (2, r)."""
        return self.cumulative_value[:, :, self.within(levels)]

    @cached_property
    def vwap_5(self) -> tuple[FloatArray, FloatArray]:
        """Size-weighted mean price of the first 5 levels of each side, (r,) each."""
        return both(self.value_of(5) / self.size_of(5))

    @cached_property
    def smart_depth(self) -> FloatArray:
        """Size of each side with a weight that decays by the level, (2, r)."""
        levels = np.arange(self.quantity.shape[2])
        weights: FloatArray = np.exp(-self.params.smart_depth_decay * levels)
        return einsum("srk,k->sr", self.quantity, weights)

    @cached_property
    def center_of_gravity(self) -> FloatArray:
        """Size-weighted mean price over both sides, (r,)."""
        levels = self.params.depth_levels
        bid_value, ask_value = both(self.value_of(levels))
        bid_size, ask_size = both(self.size_of(levels))
        return (bid_value + ask_value) / (bid_size + ask_size)


class BookUpdates:
    """n valid books, each with the one before it.

    `price` and `size` have shape (2, n + 1, used), bids before asks, NaN where a level is absent, the book before the
    first in front. `linked` (n,) is false where a gap, or the start, leaves a book no predecessor: a feature of
    updates gives 0 there.
    """

    table: ClassVar[str] = "orderbook"
    section: ClassVar[Section] = "dynamic"
    reads: ClassVar[str] = "every valid book and its predecessor"
    remembers: ClassVar[str] = "the last valid book, the sum since the previous row"

    LEVELS: ClassVar[int] = 10
    """Levels that order flow looks at, where as many are used."""

    def __init__(self, levels: FloatArray, linked: BoolArray, params: FeatureConfig) -> None:
        self.params = params
        self.price = levels[:2]
        self.size = levels[2:]
        self.linked = linked

    @cached_property
    def order_flow(self) -> FloatArray:
        """e of each level, (n, used): what the update added to the bid, less what it added to the ask.

        1{b_n >= b_n-1} B_n - 1{b_n <= b_n-1} B_n-1 - 1{a_n <= a_n-1} A_n + 1{a_n >= a_n-1} A_n-1,
        each side by itself 0 where its level is absent before or after (no comparison with NaN holds).
        """
        price, size = self.price, self.size
        rose = price[:, 1:] >= price[:, :-1]
        fell = price[:, 1:] <= price[:, :-1]
        flow = np.where(rose[0], size[0, 1:], 0.0)
        flow -= np.where(fell[0], size[0, :-1], 0.0)
        flow -= np.where(fell[1], size[1, 1:], 0.0)
        flow += np.where(rose[1], size[1, :-1], 0.0)
        if not self.linked.all():
            flow[~self.linked] = 0.0
        return flow


class TradeFlow:
    """The valid trades since the previous row, summed, (r,) each: base amounts, and `notional` in quote x base."""

    table: ClassVar[str] = "orderbook"
    section: ClassVar[Section] = "dynamic"
    reads: ClassVar[str] = "every valid trade since the previous row"
    remembers: ClassVar[str] = "sums since the previous row; price and class of the last trade"

    def __init__(self, sums: FloatArray) -> None:
        self.buy: FloatArray = sums[0]
        self.sell: FloatArray = sums[1]
        self.amount: FloatArray = sums[2]
        self.notional: FloatArray = sums[3]
        self.count: FloatArray = sums[4]
        self.signed: FloatArray = self.buy - self.sell
        self.classified: FloatArray = self.buy + self.sell


class VolumeBuckets:
    """VPIN's buckets: `imbalances` of the full ones in order, (b,), and how many of them each row knows, (r,)."""

    table: ClassVar[str] = "orderbook"
    section: ClassVar[Section] = "dynamic"
    reads: ClassVar[str] = "every classified trade before the interval's end"
    remembers: ClassVar[str] = "the open bucket and the imbalances of the last full ones"

    def __init__(self, imbalances: FloatArray, known: IntArray, params: FeatureConfig) -> None:
        self.params = params
        self.imbalances = imbalances
        self.known = known


class RowSteps:
    """From each row to the row before it, (r,) each: NaN across a gap and for a market's first row.

    `mid_change` is quote, `log_return` 1, `seconds` the time between, `previous_velocity` that of the row before.
    """

    table: ClassVar[str] = "orderbook"
    section: ClassVar[Section] = "dynamic"
    reads: ClassVar[str] = "mid prices and times of consecutive rows"
    remembers: ClassVar[str] = "mid price, time and velocity of the previous row"

    def __init__(
        self, mid_change: FloatArray, log_return: FloatArray, seconds: FloatArray, first_velocity: float
    ) -> None:
        self.mid_change = mid_change
        self.log_return = log_return
        self.seconds = seconds
        self.velocity: FloatArray = mid_change / seconds
        self.previous_velocity: FloatArray = np.concatenate(((first_velocity,), self.velocity[:-1]))
