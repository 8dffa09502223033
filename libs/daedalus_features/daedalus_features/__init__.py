"""The feature catalogue of Daedalus: pure functions from one market's events to its Silver rows and Gold bars.

    step = advance(state, events)   # rows, the next state, what to append to the ring of recent rows

No input or output, no clock, no environment: the same events give the same rows, live, replayed and in batch.
"""

# Features and transforms register themselves; tables, and the columns within each category, follow this order.
from daedalus_features import row, structural, dynamic, rolling, orderbook  # noqa: F401, I001
from daedalus_features import trade_rows, ticker_rows, bars, trade_bars  # noqa: F401
from daedalus_features.arrays import FloatArray, IntArray
from daedalus_features.bar_features import BarRows
from daedalus_features.config import CHANNELS, Channel, FeatureConfig, history_limit
from daedalus_features.docs import catalogue_markdown
from daedalus_features.errors import SchemaError
from daedalus_features.events import Books, Events, Genesis, Kind, Tickers, Trades
from daedalus_features.extensions import EXTENSIONS_GROUP, ExtensionError, load_extensions
from daedalus_features.history import HISTORY_COLUMNS
from daedalus_features.inputs import BookUpdates, RowSteps, SampledBooks, TradeFlow, VolumeBuckets
from daedalus_features.pipeline import Advance, MarketState, advance, dump, load, schema_id
from daedalus_features.registry import Entry, catalogue, columns_of, feature, table_of
from daedalus_features.tables import Column, Rows, Table
from daedalus_features.ticker_rows import TickerQuotes
from daedalus_features.trade_bar_features import (
    DollarBars,
    DollarImbalanceBars,
    TickBars,
    TickImbalanceBars,
    TimeBars,
    VolumeBars,
    VolumeImbalanceBars,
)
from daedalus_features.trade_rows import ValidTrades
from daedalus_features.transforms import (
    TRANSFORMS,
    BaseTransform,
    NoState,
    TransformRegistry,
    register_transform,
    tables,
    transforms,
)
from daedalus_features.units import Unit
from daedalus_features.windows import RowWindows

__all__ = [
    "CHANNELS",
    "EXTENSIONS_GROUP",
    "HISTORY_COLUMNS",
    "TRANSFORMS",
    "Advance",
    "BarRows",
    "BaseTransform",
    "BookUpdates",
    "Books",
    "Channel",
    "Column",
    "DollarBars",
    "DollarImbalanceBars",
    "Entry",
    "Events",
    "ExtensionError",
    "FeatureConfig",
    "FloatArray",
    "Genesis",
    "IntArray",
    "Kind",
    "MarketState",
    "NoState",
    "RowSteps",
    "RowWindows",
    "Rows",
    "SampledBooks",
    "SchemaError",
    "Table",
    "TickBars",
    "TickImbalanceBars",
    "TickerQuotes",
    "Tickers",
    "TimeBars",
    "TradeFlow",
    "Trades",
    "TransformRegistry",
    "Unit",
    "ValidTrades",
    "VolumeBars",
    "VolumeBuckets",
    "VolumeImbalanceBars",
    "advance",
    "catalogue",
    "catalogue_markdown",
    "columns_of",
    "dump",
    "feature",
    "history_limit",
    "load",
    "load_extensions",
    "register_transform",
    "schema_id",
    "table_of",
    "tables",
    "transforms",
]
