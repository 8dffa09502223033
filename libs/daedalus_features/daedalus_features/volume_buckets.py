"""The volume buckets of VPIN (Easley, López de Prado & O'Hara 2012): an inherently sequential recurrence."""

from collections.abc import Iterable
from dataclasses import dataclass

from daedalus_features.arrays import EPSILON


@dataclass(frozen=True, slots=True)
class OpenBucket:
    """The bucket being filled: `fill` base units so far, `imbalance` of them bought less sold."""

    fill: float
    imbalance: float


@dataclass(frozen=True, slots=True)
class Filling:
    """What trades did to the buckets: `imbalances` |V_buy - V_sell| / S of those they filled, each by `trade`."""

    open: OpenBucket
    imbalances: list[float]
    trade: list[int]


def fill_buckets(bucket: OpenBucket, trades: Iterable[tuple[float, int]], size: float, keep: int) -> Filling:
    """Pour (amount, side) of classified trades into buckets of `size`; a bucket is full at (1 - 2^-30)·size.

    A trade of a bucket's size or more fills buckets without a loop over them, and `keep` of imbalance 1 stand for
    any greater number: nobody looks further back.
    """
    full = (1 - EPSILON) * size
    fill, imbalance = bucket.fill, bucket.imbalance
    imbalances: list[float] = []
    trade: list[int] = []
    for index, (amount, side) in enumerate(trades):
        room = size - fill
        if amount < room:
            fill += amount
            imbalance += side * amount
            if fill < full:
                continue
            closed = [abs(imbalance) / size]
            rest = 0.0
        else:
            closed = [abs(imbalance + side * room) / size]
            if amount < size:
                rest = amount - room
            else:
                # What is left is (whole - 1) buckets, the old fill and the remainder: nothing is subtracted
                # from an amount that may be so large that the difference would be lost.
                whole, remainder = divmod(amount, size)
                closed += [1.0] * int(min(whole - 1, keep))
                rest = fill + remainder
            if rest >= full:
                closed.append(min(rest, size) / size)
                rest = max(rest - size, 0.0)
        fill, imbalance = rest, side * rest
        imbalances += closed
        trade += [index] * len(closed)
    return Filling(OpenBucket(fill, imbalance), imbalances, trade)
