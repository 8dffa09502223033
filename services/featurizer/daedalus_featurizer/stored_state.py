"""The committed state of a market, as it lies in Redis, back in memory."""

import numpy as np

from daedalus_common.broker.market_log import StoredState
from daedalus_features import HISTORY_COLUMNS, MarketState, load


def restore(stored: StoredState) -> MarketState | None:
    """The state after the last committed step; None before the first genesis. Raises SchemaError."""
    if not stored.hot:
        return None
    rows = [np.frombuffer(row, dtype=np.float64) for row in stored.history]
    return load(stored.hot, np.array(rows).reshape(len(rows), len(HISTORY_COLUMNS)))
