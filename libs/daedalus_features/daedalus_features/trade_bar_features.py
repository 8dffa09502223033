"""Features of trade bars, the same for every kind of bar: each a function of what its trades add up to."""

from typing import ClassVar

from daedalus_features.arrays import FloatArray, IntArray
from daedalus_features.registry import Input, Section, feature


class TradeBars:
    """b bars, (b,) each: `numbers` (9, b) are open, high, low and close of price, Σ amount, Σ price·amount, Σ amount of
    the buys and of the sells, and the number of trades. `duration` is in seconds, 0 for a bar that no time ends."""

    table: ClassVar[str]
    section: ClassVar[Section] = "bar"
    reads: ClassVar[str]
    remembers: ClassVar[str] = "the unfinished bar"

    def __init__(self, numbers: FloatArray, duration: IntArray) -> None:
        self.open: FloatArray = numbers[0]
        self.high: FloatArray = numbers[1]
        self.low: FloatArray = numbers[2]
        self.close: FloatArray = numbers[3]
        self.volume: FloatArray = numbers[4]
        self.notional: FloatArray = numbers[5]
        self.buy_volume: FloatArray = numbers[6]
        self.sell_volume: FloatArray = numbers[7]
        self.trade_count: FloatArray = numbers[8]
        self.duration = duration


class TimeBars(TradeBars):
    """Bars of a fixed duration, stamped with their end."""

    table = "trade_bars"
    reads = "the valid trades with ts in [T - D, T)"


class TickBars(TradeBars):
    """Bars of as many trades."""

    table = "tick_bars"
    reads = "tick_bar_size valid trades"


class VolumeBars(TradeBars):
    """Bars of about as many base units."""

    table = "volume_bars"
    reads = "valid trades until Σ amount >= (1 - 2^-30)·volume_bar_size"
    remembers = "the unfinished bar, its Σ amount"


class DollarBars(TradeBars):
    """Bars of about as much money."""

    table = "dollar_bars"
    reads = "valid trades until Σ price·amount >= (1 - 2^-30)·dollar_bar_size"
    remembers = "the unfinished bar, its Σ price·amount"


_UNTIL_IMBALANCE = (
    "with N = imbalance_bar_ticks, E the exponential mean of x over imbalance_bar_span trades: until "
    "|Σ x| >= (1 - 2^-30)·N·|E| and imbalance_bar_min_ticks, or imbalance_bar_max_ticks trades; the first bar N trades"
)
_EXPECTATION = "the unfinished bar, its Σ x and threshold, E"


class TickImbalanceBars(TradeBars):
    """Bars until buys outnumber sells, or sells buys, by more than expected."""

    table = "tick_imbalance_bars"
    reads = f"classified trades, x = ±1; {_UNTIL_IMBALANCE}"
    remembers = _EXPECTATION


class VolumeImbalanceBars(TradeBars):
    """Bars until more base units are bought than sold, or sold than bought, than expected."""

    table = "volume_imbalance_bars"
    reads = f"classified trades, x = ±amount; {_UNTIL_IMBALANCE}"
    remembers = _EXPECTATION


class DollarImbalanceBars(TradeBars):
    """Bars until more money is spent on buying than on selling, or the reverse, than expected."""

    table = "dollar_imbalance_bars"
    reads = f"classified trades, x = ±price·amount; {_UNTIL_IMBALANCE}"
    remembers = _EXPECTATION


SIZED: tuple[type[TradeBars], ...] = (
    TickBars, VolumeBars, DollarBars, TickImbalanceBars, VolumeImbalanceBars, DollarImbalanceBars,
)  # fmt: skip
"""The kinds of bars that their trades end, each stamped with the time of its last one."""
KINDS: tuple[type[TradeBars], ...] = (TimeBars, *SIZED)
_EVERY: tuple[type[Input], ...] = KINDS
_BARS = "López de Prado (2018), ch. 2"


@feature(unit="quote", name="open", inputs=_EVERY, reference=_BARS)
def first(bar: TradeBars) -> FloatArray:
    """Price of the first trade."""
    return bar.open


@feature(unit="quote", inputs=_EVERY)
def high(bar: TradeBars) -> FloatArray:
    """Highest price."""
    return bar.high


@feature(unit="quote", inputs=_EVERY)
def low(bar: TradeBars) -> FloatArray:
    """Lowest price."""
    return bar.low


@feature(unit="quote", inputs=_EVERY)
def close(bar: TradeBars) -> FloatArray:
    """Price of the last trade."""
    return bar.close


@feature(unit="quote", inputs=_EVERY)
def vwap(bar: TradeBars) -> FloatArray:
    """notional / volume."""
    return bar.notional / bar.volume


@feature(unit="base", inputs=_EVERY)
def volume(bar: TradeBars) -> FloatArray:
    """Σ amount."""
    return bar.volume


@feature(unit="quote", powers=(1, 1), inputs=_EVERY)
def notional(bar: TradeBars) -> FloatArray:
    """Σ price·amount."""
    return bar.notional


@feature(unit="base", inputs=_EVERY, reference="tick rule: Lee & Ready (1991)")
def buy_volume(bar: TradeBars) -> FloatArray:
    """Σ amount of the trades classified as buys."""
    return bar.buy_volume


@feature(unit="base", inputs=_EVERY, reference="tick rule: Lee & Ready (1991)")
def sell_volume(bar: TradeBars) -> FloatArray:
    """Σ amount of the trades classified as sells."""
    return bar.sell_volume


@feature(unit="1", inputs=_EVERY, dtype="int64")
def trade_count(bar: TradeBars) -> FloatArray:
    """Number of trades."""
    return bar.trade_count


@feature(unit="s", inputs=(TimeBars,), dtype="int64")
def bar_duration_sec(bar: TradeBars) -> FloatArray:
    """The bar's duration D."""
    return bar.duration.astype(float)
