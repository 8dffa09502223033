"""The committed state of a market, as it lies in Redis, back in memory."""

import numpy as np

from daedalus_common.broker.steps import StoredState
from daedalus_features import HISTORY_COLUMNS, MarketState, SchemaError, load


def restore(stored: StoredState) -> MarketState | None:
    """The state after the last committed step; None before the first genesis. Raises SchemaError."""
    if not stored.hot:
        return None
    size = 8 * len(HISTORY_COLUMNS)
    if any(len(row) != size for row in stored.history):
        raise SchemaError(f"history of rows that are not {size} bytes")
    rows = np.frombuffer(b"".join(stored.history), dtype=np.float64)
    return load(stored.hot, rows.reshape(len(stored.history), len(HISTORY_COLUMNS)))
