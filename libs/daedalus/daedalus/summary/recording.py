"""Reads back what a run wrote: how much of each table, and for the ledger every event's id and every gap."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daedalus.summary.ledger import DeclaredGap, Feed, Number, RecordedEvent
from daedalus.summary.report import GapCount, TableCount
from daedalus_common.events import CONTROL, Channel
from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.parquet.objects import read_identity
from daedalus_common.plans import is_late
from daedalus_common.stores import ObjectInfo, ObjectStore

BRONZE = "bronze/ccxt"
_ID_COLUMNS: dict[str, str] = {
    Channel.ORDERBOOK.value: "nonce",
    Channel.TRADES.value: "id",
    Channel.TICKER.value: "exchange_ts",
}
_GAP_COLUMNS = ("kind", "channel", "reason", "lost")
_COLUMNS = {CONTROL: _GAP_COLUMNS, **{table: (column,) for table, column in _ID_COLUMNS.items()}}
_UNREADABLE = (pa.ArrowException, OSError)
_POSITION = ("generation", "stream_ms", "stream_seq")

# Objects are created by this machine or by a store whose clock agrees with it to the second.
_CLOCK_SLACK = timedelta(seconds=1)


@dataclass(slots=True)
class Recording:
    """What lies in Bronze of one run, by feed and market."""

    events: dict[Feed, list[RecordedEvent]] = field(default_factory=dict)
    gaps: dict[Market, list[DeclaredGap]] = field(default_factory=dict)
    seqs: dict[Market, list[Number]] = field(default_factory=dict)
    """The generation and number of every row, in any order."""
    unreadable: list[str] = field(default_factory=list)
    """Objects that are no Parquet files, each with the reason."""

    def gap_count(self) -> GapCount:
        every = [gap for gaps in self.gaps.values() for gap in gaps]
        return GapCount(Counter(gap.reason for gap in every), sum(gap.lost or 0 for gap in every))


def objects_since(store: ObjectStore, prefixes: Iterable[str], started: datetime) -> list[ObjectInfo]:
    """The Parquet objects created since `started` that count: a merged one stands for those it covers, and is of this
    run only if its last row is."""
    found: list[ObjectInfo] = []
    for prefix in prefixes:
        there = current(store, (info for info in store.list(prefix) if info.key.endswith(".parquet")))
        found += [
            info
            for info in there.objects
            if info.modified >= started - _CLOCK_SLACK
            if info.key not in there.covers or _last_row_since(store, info.key, started)
        ]
    return found


def _last_row_since(store: ObjectStore, key: str, started: datetime) -> bool:
    with store.open_input(key) as file:
        identity = read_identity(file)
    return identity is None or int(identity.last_id.split("-")[0]) >= (started - _CLOCK_SLACK).timestamp() * 1000


def count_tables(store: ObjectStore, objects: Iterable[ObjectInfo]) -> dict[str, TableCount]:
    """Rows (from the files' footers), files and bytes per table; a file that cannot be read counts without rows."""
    tables: dict[str, TableCount] = {}
    for info in objects:
        try:
            with store.open_input(info.key) as file:
                rows = pq.read_metadata(file).num_rows
        except _UNREADABLE:
            rows = 0
        name = table_of(info.key)
        so_far = tables.get(name, TableCount())
        tables[name] = TableCount(so_far.rows + rows, so_far.files + 1, so_far.size_bytes + info.size_bytes)
    return tables


def table_of(key: str) -> str:
    """`gold/bars/duration=60/exchange=…/…` -> `gold/bars/duration=60`: what comes before the market."""
    return key.partition("/exchange=")[0]


def read_recording(
    store: ObjectStore, objects: Iterable[ObjectInfo], markets: Sequence[Market], started: datetime
) -> Recording:
    """The events and gaps captured since `started`, from the Bronze objects among `objects`.

    An earlier run's last events may lie in this run's objects: their capture time tells them apart.
    """
    by_partition = {market.partition: market for market in markets}
    recording = Recording()
    for info in objects:
        market = by_partition.get(
            "/".join(part for part in info.key.split("/") if part.startswith(("exchange=", "symbol=")))
        )
        table = table_of(info.key).removeprefix(f"{BRONZE}/")
        if market is None or not info.key.startswith(f"{BRONZE}/") or is_late(info.key):
            continue
        try:
            rows = _rows(store, info.key, _COLUMNS.get(table, ()), started)
        except _UNREADABLE as error:
            recording.unreadable.append(f"{info.key} is no Parquet file of ours: {error}")
            continue
        if table == CONTROL:
            recording.gaps.setdefault(market, []).extend(_gaps(rows))
        elif table in _ID_COLUMNS:
            events = recording.events.setdefault(Feed(market, Channel(table)), [])
            events += _events(rows, _ID_COLUMNS[table])
        numbers = (rows.column(name).to_pylist() for name in ("generation", "seq"))
        recording.seqs.setdefault(market, []).extend(zip(*numbers, strict=True))
    return recording


def _events(rows: Any, column: str) -> list[RecordedEvent]:
    ids = rows.column(column)
    if pa.types.is_timestamp(ids.type):
        ids = ids.cast(pa.int64())
    return [RecordedEvent(position, str(id_)) for position, id_ in zip(_positions(rows), ids.to_pylist(), strict=True)]


def _gaps(rows: Any) -> list[DeclaredGap]:
    rows = rows.filter(pc.equal(rows.column("kind").cast(pa.string()), "gap"))
    columns = [rows.column(name).to_pylist() for name in _GAP_COLUMNS[1:]]
    return [
        DeclaredGap(position, channel or "", reason or "", lost)
        for position, channel, reason, lost in zip(_positions(rows), *columns, strict=True)
    ]


def _rows(store: ObjectStore, key: str, columns: Sequence[str], started: datetime) -> Any:
    with store.open_input(key) as file:
        table = pq.ParquetFile(file).read([*_POSITION, "seq", "capture_ts", *columns])
    return table.filter(
        pc.greater_equal(table.column("capture_ts"), pa.scalar(started, table.schema.field("capture_ts").type))
    )


def _positions(rows: Any) -> list[tuple[int, int, int]]:
    return list(zip(*(rows.column(name).to_pylist() for name in _POSITION), strict=True))
