"""The feature catalogue of Daedalus: pure functions from one market's events to its order-book rows and bars.

    step = advance(state, events)   # rows, the next state, what to append to the ring of recent rows

No input or output, no clock, no environment: the same events give the same rows, live, replayed and in batch.
"""

# Features and transforms register themselves; a table's columns follow this order within each category.
from daedalus_features import row, structural, dynamic, rolling, orderbook, bars  # noqa: F401, I001
from daedalus_features.docs import catalogue_markdown
from daedalus_features.errors import SchemaError
from daedalus_features.events import Books, Events, Genesis, Kind, Trades
from daedalus_features.history import HISTORY_COLUMNS
from daedalus_features.config import FeatureConfig, history_limit
from daedalus_features.pipeline import Advance, MarketState, advance, dump, load, schema_id
from daedalus_features.registry import Entry, catalogue, feature, table_of
from daedalus_features.tables import Column, Rows, Table
from daedalus_features.transforms import Transform, register_transform, tables, transforms
from daedalus_features.units import Unit

__all__ = [
    "HISTORY_COLUMNS",
    "Advance",
    "Books",
    "Column",
    "Entry",
    "Events",
    "FeatureConfig",
    "Genesis",
    "Kind",
    "MarketState",
    "Rows",
    "SchemaError",
    "Table",
    "Trades",
    "Transform",
    "Unit",
    "advance",
    "catalogue",
    "catalogue_markdown",
    "dump",
    "feature",
    "history_limit",
    "load",
    "register_transform",
    "schema_id",
    "table_of",
    "tables",
    "transforms",
]
