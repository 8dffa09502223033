"""The tables that Daedalus stores, each declared once: columns, their types, and how Parquet keeps them.

Pure data, so that whoever only wants to know a schema needs no pyarrow. No table has columns `exchange`, `symbol`,
`year`, …: the partitions give them, and readers refuse a column that is also a partition.
"""

from dataclasses import dataclass
from typing import Literal

from daedalus_common.events import CONTROL, Channel
from daedalus_common.rows import RowSchema

VERSION = 2
"""Of all declarations here; it goes into every file's metadata and grows with any change."""

ColumnType = Literal[
    "int32", "int64", "float64", "bool", "string", "binary", "category",
    "timestamp_ns", "timestamp_ms", "float64_list",
]  # fmt: skip
"""Timestamps are UTC. A category is a string of few values. The items of a list are never null."""

Encoding = Literal["plain", "delta", "dictionary"]
"""Plain for floats, also in lists: zstd finds the previous row in it, which splitting the bytes or a dictionary hides
(docs/adr/0007). Delta for what grows by little, dictionary for few values."""


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column of a table; `unit` as in docs/features.md, `labels` the values of a category where they are known."""

    name: str
    type: ColumnType
    nullable: bool = False
    encoding: Encoding = "plain"
    statistics: bool = False
    """Smallest and largest value per row group; only where a reader would filter by them, for each costs ~20 bytes."""
    unit: str = "1"
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """`layer` is bronze, quality, silver or gold; rows lie in stream order."""

    layer: str
    name: str
    columns: tuple[StoredColumn, ...]


SIDES = ("buy", "sell")
CONTROL_KINDS = ("gap", "heartbeat", "genesis")
BAR_DURATION = "bar_duration_sec"
"""The column of Gold rows that says which `duration=` partition a time bar belongs to."""

_PLACE = (
    StoredColumn("stream_ms", "int64", encoding="delta", statistics=True, unit="ms"),
    StoredColumn("stream_seq", "int64", encoding="delta"),
    StoredColumn("generation", "int32", encoding="delta"),
    StoredColumn("seq", "int64", encoding="delta", statistics=True),
    StoredColumn("ts", "timestamp_ns", encoding="delta", statistics=True, unit="ns"),
    StoredColumn("capture_ts", "timestamp_ns", encoding="delta", unit="ns"),
)
"""What every Bronze row begins with; (generation, stream_ms, stream_seq) orders a market's events of all tables."""

_EXCHANGE_TS = StoredColumn("exchange_ts", "timestamp_ms", nullable=True, encoding="delta", unit="ms")

_ORDERBOOK = (
    StoredColumn("nonce", "int64", nullable=True, encoding="delta"),
    StoredColumn("bid_price", "float64_list", unit="quote"),
    StoredColumn("bid_size", "float64_list", unit="base"),
    StoredColumn("ask_price", "float64_list", unit="quote"),
    StoredColumn("ask_size", "float64_list", unit="base"),
)

_TRADES = (
    StoredColumn("id", "string", encoding="delta"),
    StoredColumn("price", "float64", unit="quote"),
    StoredColumn("amount", "float64", unit="base"),
    StoredColumn("side", "category", nullable=True, encoding="dictionary", labels=SIDES),
)

_TICKER = (
    StoredColumn("bid", "float64", nullable=True, unit="quote"),
    StoredColumn("bid_size", "float64", nullable=True, unit="base"),
    StoredColumn("ask", "float64", nullable=True, unit="quote"),
    StoredColumn("ask_size", "float64", nullable=True, unit="base"),
    StoredColumn("last", "float64", nullable=True, unit="quote"),
    StoredColumn("open", "float64", nullable=True, unit="quote"),
    StoredColumn("high", "float64", nullable=True, unit="quote"),
    StoredColumn("low", "float64", nullable=True, unit="quote"),
    StoredColumn("vwap", "float64", nullable=True, unit="quote"),
    StoredColumn("base_volume", "float64", nullable=True, unit="base"),
    StoredColumn("quote_volume", "float64", nullable=True, unit="quote"),
)

_CONTROL = (
    StoredColumn("kind", "category", encoding="dictionary", labels=CONTROL_KINDS),
    StoredColumn("channel", "string", nullable=True, encoding="dictionary"),
    StoredColumn("reason", "string", nullable=True, encoding="dictionary"),
    StoredColumn("last_nonce", "int64", nullable=True),
    StoredColumn("last_id", "string", nullable=True),
    StoredColumn("lost", "int64", nullable=True),
    StoredColumn("genesis_id", "string", nullable=True),
    StoredColumn("params", "binary", nullable=True),
)

BRONZE: dict[str, Table] = {
    Channel.ORDERBOOK.value: Table("bronze", Channel.ORDERBOOK.value, (*_PLACE, _EXCHANGE_TS, *_ORDERBOOK)),
    Channel.TRADES.value: Table("bronze", Channel.TRADES.value, (*_PLACE, _EXCHANGE_TS, *_TRADES)),
    Channel.TICKER.value: Table("bronze", Channel.TICKER.value, (*_PLACE, _EXCHANGE_TS, *_TICKER)),
    CONTROL: Table("bronze", CONTROL, (*_PLACE, *_CONTROL)),
}
"""By the name of the table, which for three of them is the channel."""

_LATE_PLACE = (
    StoredColumn("stream_ms", "int64", encoding="delta", statistics=True, unit="ms"),
    StoredColumn("stream_seq", "int64", encoding="delta"),
    StoredColumn("epoch", "int64", encoding="delta"),
    StoredColumn("number", "int64", encoding="delta"),
    StoredColumn("capture_ts", "timestamp_ns", encoding="delta", statistics=True, unit="ns"),
)
"""(epoch, number) is what the event was to be published as: unique in its market, and in the order of capture."""

LATE: dict[str, Table] = {
    name: Table("bronze", f"late/{name}", (*_LATE_PLACE, *table.columns[len(_PLACE) :]))
    for name, table in BRONZE.items()
}
"""Events that came too late for their market's sequence, by the name of the table in time."""

GAP_PHASES = ("open", "closed")

QUALITY: dict[str, Table] = {
    "gaps": Table(
        "quality",
        "gaps",
        (
            *_PLACE,
            StoredColumn("phase", "category", encoding="dictionary", labels=GAP_PHASES),
            StoredColumn("channel", "string", encoding="dictionary"),
            StoredColumn("reason", "string", encoding="dictionary"),
            StoredColumn("last_nonce", "int64", nullable=True),
            StoredColumn("last_id", "string", nullable=True),
            StoredColumn("lost", "int64", nullable=True),
            StoredColumn("begin_ts", "timestamp_ns", nullable=True, unit="ns"),
            StoredColumn("end_ts", "timestamp_ns", nullable=True, unit="ns"),
            StoredColumn("duration_seconds", "float64", nullable=True, unit="s"),
        ),
    ),
    "rejected": Table(
        "quality",
        "rejected",
        (
            StoredColumn("stream_ms", "int64", encoding="delta", unit="ms"),
            StoredColumn("stream_seq", "int64", encoding="delta"),
            StoredColumn("generation", "int32", nullable=True),
            StoredColumn("seq", "int64", nullable=True),
            StoredColumn("ts", "timestamp_ns", nullable=True, unit="ns"),
            StoredColumn("reason", "string", encoding="dictionary"),
            StoredColumn("size_bytes", "int64", unit="B"),
        ),
    ),
}
"""What the writer says of the raw stream beside its events: its gaps, and the entries that became dead letters."""

_ROW_PLACE = (
    StoredColumn("timestamp", "timestamp_ns", encoding="delta", statistics=True, unit="ns"),
    StoredColumn("seq", "int64", encoding="delta", statistics=True),
)


def rows_table(schema: RowSchema) -> Table:
    """The Silver or Gold table of rows of this schema: timestamp, the row's number in its market, and the columns."""
    columns = (
        StoredColumn(
            name=column.name,
            type=column.dtype,
            nullable=True,
            encoding="dictionary" if column.dtype == "category" else "plain",
            unit=column.unit,
            labels=column.labels,
        )
        for column in schema.columns
    )
    return Table(schema.layer, schema.table, (*_ROW_PLACE, *columns))
