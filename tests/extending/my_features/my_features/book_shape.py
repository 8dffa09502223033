"""A feature: one more column of Silver's order-book rows."""

from daedalus_features import SampledBooks, feature
from daedalus_features.arrays import FloatArray


@feature(unit="1")
def touch_share(book: SampledBooks) -> FloatArray:
    """Share of the used depth that stands at the best prices: (B_0 + A_0)/(ΣB + ΣA)."""
    # (2, r, levels): bids before asks, a row each, 0 where a level is absent.
    touch = book.quantity[:, :, 0].sum(axis=0)
    depth = book.quantity.sum(axis=(0, 2))
    share: FloatArray = touch / depth
    return share
