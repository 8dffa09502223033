"""The class of each trade, buyer- or seller-initiated, by its given side or the tick rule (Lee & Ready 1991)."""

import numpy as np
import numpy.typing as npt

from daedalus_features.arrays import BoolArray, FloatArray

Classes = npt.NDArray[np.int8]


def trade_classes(
    price: FloatArray, side: Classes, follows_gap: BoolArray, last_price: float, last_class: int
) -> Classes:
    """+1 buy, -1 sell, 0 unclassified, per valid trade in sequence order, shape (n,).

    A trade without a side compares its price with the trade before it: above is a buy, below a sell, equal has that
    trade's class. `last_price` and `last_class` are of the trade before the first, NaN and 0 when there is none;
    `follows_gap` marks the trades that a gap event separates from the one before.
    """
    before = np.concatenate(([last_price], price[:-1]))
    before[follows_gap] = np.nan
    tick = (price > before).astype(np.int8) - (price < before)
    classes: Classes = np.where(side, side, tick)
    # A trade at the price of the one before it takes that one's class, through any number of such trades.
    decided = np.concatenate(([True], (classes != 0) | np.isnan(before)))
    source = np.maximum.accumulate(np.where(decided, np.arange(len(decided)), 0))
    known: Classes = np.concatenate((np.array([last_class], np.int8), classes))
    return known[source][1:]
