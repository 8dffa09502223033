"""Trades added up to bars, of several kinds at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray

NUMBERS = 9
"""What a bar of trades, or a single trade, is: four prices and five sums, in this order."""
_OPEN, _HIGH, _LOW, _CLOSE, AMOUNT, NOTIONAL, BUY, SELL, COUNT = range(NUMBERS)
_NONE = np.zeros((NUMBERS, 0))


@dataclass(frozen=True, slots=True)
class Line:
    """What some trades do to one kind of bar.

    `numbers` (9, n) are the trades and `ends` (b,) the places of those that end a bar, rising; -1 ends the unfinished
    bar before the first of them. `stamp` (b,) are the timestamps of the bars.
    """

    numbers: FloatArray
    ends: IntArray
    stamp: IntArray


def finished(lines: Sequence[Line], unfinished: FloatArray) -> tuple[list[FloatArray], FloatArray]:
    """The bars that end, (9, b) for each line, and the unfinished bars after them, (lines, 9).

    `unfinished` (lines, 9) are those before, of zeros where no trade is waiting.
    """
    after = unfinished.copy()
    bars = [_NONE] * len(lines)
    pieces: list[FloatArray] = []
    starts: list[IntArray] = []
    busy: list[int] = []
    columns = 0
    for place, line in enumerate(lines):
        count = line.numbers.shape[1]
        if not count:
            continue
        waiting = int(unfinished[place, COUNT] > 0)
        if waiting:
            pieces.append(unfinished[place][:, None])
        pieces.append(line.numbers)
        # A run of columns for each bar that ends, and one for what stays open unless the last trade ends a bar.
        stays_open = not len(line.ends) or int(line.ends[-1]) < count - 1
        begins = np.full(len(line.ends) + stays_open, columns)
        begins[1:] += line.ends[: len(begins) - 1] + (waiting + 1)
        starts.append(begins)
        busy.append(place)
        columns += waiting + count
    if not busy:
        return bars, after
    every = _reduced(np.concatenate(pieces, axis=1), np.concatenate(starts))
    begin = 0
    for place, begins in zip(busy, starts, strict=True):
        end = begin + len(lines[place].ends)
        bars[place] = every[:, begin:end]
        begin += len(begins)
        after[place] = every[:, end] if end < begin else 0.0
    return bars, after


def _reduced(columns: FloatArray, starts: IntArray) -> FloatArray:
    """Runs of columns as one bar each: (9, columns) to (9, runs)."""
    bars = np.empty((NUMBERS, len(starts)))
    ends = np.append(starts[1:], columns.shape[1]) - 1
    bars[_OPEN] = columns[_OPEN, starts]
    bars[_HIGH] = np.maximum.reduceat(columns[_HIGH], starts)
    bars[_LOW] = np.minimum.reduceat(columns[_LOW], starts)
    bars[_CLOSE] = columns[_CLOSE, ends]
    bars[AMOUNT:] = np.add.reduceat(columns[AMOUNT:], starts, axis=1)
    return bars
