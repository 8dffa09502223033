"""VPIN's buckets in the second implementation."""

from fractions import Fraction

from features.reference_numbers import EPSILON


class Pour:
    """VPIN's buckets by exact arithmetic, one bucket after the other."""

    def __init__(self, size: float) -> None:
        self.size = Fraction(size)
        self.full = Fraction((1 - EPSILON) * size)
        self.fill = Fraction(0)
        self.imbalance = Fraction(0)
        self.closed: list[float] = []

    def trade(self, amount: float, side: int, keep: int) -> None:
        rest = Fraction(amount)
        buckets = rest // self.size
        if buckets > keep + 2:  # all the buckets that anybody will look at are filled by this trade alone
            self.closed += [1.0] * (keep + 2)
            rest = self.fill + rest - buckets * self.size
            self.fill = self.imbalance = Fraction(0)
        while rest > 0:
            part = min(rest, self.size - self.fill)
            self.fill += part
            self.imbalance += side * part
            rest -= part
            if self.fill >= self.full:
                self.closed.append(float(abs(self.imbalance) / self.size))
                self.fill = self.imbalance = Fraction(0)
