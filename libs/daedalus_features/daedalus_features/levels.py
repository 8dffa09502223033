"""Level arrays of both sides stacked: bid price, ask price, bid size, ask size, NaN where a level is absent."""

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray
from daedalus_features.events import Books


def stack_levels(books: Books, chosen: slice | IntArray, width: int, before: FloatArray | None) -> FloatArray:
    """The first `width` levels of the chosen books, (4, k, width); `before` (4, levels), if any, goes in front."""
    sides = (books.bid_price, books.ask_price, books.bid_size, books.ask_size)
    count = len(books.position[chosen])
    lead = before is not None
    stacked = np.empty((4, count + lead, width))
    if before is not None:
        present = min(width, before.shape[1])
        stacked[:, 0, :present] = before[:, :present]
        stacked[:, 0, present:] = np.nan
    for place, side in enumerate(sides):
        present = min(width, side.shape[1])
        stacked[place, lead:, :present] = side[chosen, :present]
        if present < width:
            stacked[place, lead:, present:] = np.nan
    return stacked


def recorded_width(books: Books) -> int:
    """The number of columns that holds every level of either side."""
    return int(max(books.bid_price.shape[1], books.ask_price.shape[1]))
