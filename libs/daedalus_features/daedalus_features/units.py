"""Units of columns, and the powers of quote and base that they hold."""

from dataclasses import dataclass
from functools import lru_cache

_PLAIN = frozenset({"1", "bps", "ms", "s", "s²"})
"""Factors that neither a change of the price unit nor one of the size unit touches."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit such as `quote/base`: multiplying all prices by c multiplies the column by c**quote, sizes by c**base.

    Prices are written in `quote`, short for quote per base, so money, price times size, is `quote` with powers (1, 1).
    """

    text: str
    quote: int
    base: int

    def __str__(self) -> str:
        return self.text


@lru_cache
def parse_unit(text: str) -> Unit:
    """The unit written as a factor, or as two with a slash between: `1`, `base`, `quote/s²`. Raises ValueError."""
    powers = {"quote": 0, "base": 0}
    factors = text.split("/")
    if len(factors) > 2:
        raise ValueError(f"unit {text!r}: more than one slash")
    for factor, power in zip(factors, (1, -1), strict=False):
        if factor in powers:
            powers[factor] += power
        elif factor not in _PLAIN:
            raise ValueError(f"unit {text!r}: {factor!r} is none of quote, base, {', '.join(sorted(_PLAIN))}")
    return Unit(text, powers["quote"], powers["base"])
