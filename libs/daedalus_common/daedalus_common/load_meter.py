"""How much work a market is: its events a second, as the service that owns it counts them. Time is passed in."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from daedalus_common.markets import Market

TIME_CONSTANT: Final = timedelta(seconds=30)
"""A burst of a second counts a thirtieth: a move costs more than it."""
LEARN: Final = timedelta(seconds=3)
"""A market that nobody has measured is unknown for so long: the first batch of a backlog tells nothing."""


@dataclass(slots=True)
class _Measure:
    at: float
    """When `rate` was last brought up to date."""
    began: float
    rate: float
    known: float
    """The part of an endless past that `rate` stands for, from 0 to 1: an average that began at 0 is too low."""
    counted: int = 0
    rests: bool = False
    """Nothing can be counted: until it can, time changes nothing."""


class LoadMeter:
    """An exponentially weighted mean per market; times are of any one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._measures: dict[Market, _Measure] = {}

    def begin(self, market: Market, load: float | None, now: float) -> None:
        """The market is owned from now on; `load` is what its last owner told, None where nobody did."""
        self._measures[market] = _Measure(now, now, load or 0.0, 0.0 if load is None else 1.0)

    def end(self, market: Market) -> None:
        self._measures.pop(market, None)

    def count(self, market: Market, events: int) -> None:
        """That many events more were handled; nothing happens for a market that is not owned."""
        measure = self._measures.get(market)
        if measure is not None:
            measure.counted += events
            measure.rests = False

    def rest(self, market: Market, now: float) -> None:
        """Nothing could be counted up to now, nor until the next `count`: what is known of the load stands."""
        measure = self._measures.get(market)
        if measure is None:
            return
        if measure.counted:
            _bring_up_to_date(measure, now)
        measure.at = max(measure.at, now)
        measure.rests = True
        if not measure.known:
            measure.began = now  # it is yet to be learnt

    def load(self, market: Market, now: float) -> float | None:
        """Events a second; None while that is unknown."""
        measure = self._measures.get(market)
        if measure is None:
            return None
        _bring_up_to_date(measure, now)
        if not measure.known or (measure.known < 1.0 and now - measure.began < LEARN.total_seconds()):
            return None
        return measure.rate / measure.known

    def total(self, markets: Iterable[Market], now: float) -> float:
        """Of all of them, the unknown ones left out."""
        return sum(self.load(market, now) or 0.0 for market in markets)


def _bring_up_to_date(measure: _Measure, now: float) -> None:
    passed = now - measure.at
    if passed <= 0:
        return
    if measure.rests:
        measure.at = now
        return
    share = -math.expm1(-passed / TIME_CONSTANT.total_seconds())
    measure.rate += share * (measure.counted / passed - measure.rate)
    if measure.known < 1.0:
        measure.known += share * (1.0 - measure.known)
    measure.counted, measure.at = 0, now
