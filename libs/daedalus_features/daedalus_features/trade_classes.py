"""The class of each trade, buyer- or seller-initiated, by its given side or the tick rule (Lee & Ready 1991)."""

import numpy as np
import numpy.typing as npt

from daedalus_features.arrays import FloatArray, IntArray
from daedalus_features.events import Trades

Classes = npt.NDArray[np.int8]


def prices_before(trades: Trades, gaps: IntArray, last_price: float) -> FloatArray:
    """The price of the trade before each valid trade, (n,), NaN where there is none or a gap event came between.

    `gaps` are the positions of the gap events; `last_price` is that of the trade before the first, NaN without one.
    """
    before = np.empty(len(trades))
    before[0] = last_price
    before[1:] = trades.price[:-1]
    if len(gaps):
        before[np.diff(gaps.searchsorted(trades.position), prepend=0) > 0] = np.nan
    return before


def trade_classes(trades: Trades, before: FloatArray, last_class: int) -> Classes:
    """+1 buy, -1 sell, 0 unclassified, per valid trade in sequence order, shape (n,).

    A trade without a side compares its price with the trade before it: above is a buy, below a sell, equal has that
    trade's class. `before` are the prices of the trades before (see `prices_before`), `last_class` is the class of the
    trade before the first.
    """
    if trades.side.all():
        return trades.side
    price, side = trades.price, trades.side
    tick = (price > before).astype(np.int8) - (price < before)
    classes: Classes = np.where(side, side, tick)
    # A trade at the price of the one before it takes that one's class, through any number of such trades.
    decided = np.concatenate(([True], (classes != 0) | np.isnan(before)))
    source = np.maximum.accumulate(np.where(decided, np.arange(len(decided)), 0))
    known: Classes = np.concatenate((np.array([last_class], np.int8), classes))
    return known[source][1:]
