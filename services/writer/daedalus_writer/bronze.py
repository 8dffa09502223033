"""Raw entries as rows of the Bronze tables, one table per channel and one for the control events."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daedalus_common.batches import Batch, Foreign, RawEntry, decode_batch
from daedalus_common.entries import NONE
from daedalus_common.events import CONTROL, Channel, Gap, Genesis, Heartbeat, Kind, Ticker
from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import blobs, categories, lists, numbers, texts
from daedalus_common.parquet.arrow_tables import arrow_schema
from daedalus_common.parquet.stored_rows import StoredRows, split
from daedalus_common.plans import HOUR_NS, Destination, bronze_destination, hour_at
from daedalus_common.tables import BRONZE, CONTROL_KINDS, SIDES

SOURCE = "ccxt"
"""Where Bronze events come from: they have ccxt's unified form, whichever feed captured them."""

Int64s = NDArray[np.int64]
Columns = dict[str, pa.Array]

MILLISECONDS = pa.timestamp("ms", "UTC")

_SIDE_CODES = np.array([SIDES.index("sell"), 0, SIDES.index("buy")], dtype=np.int32)  # of side -1, 0 (null), +1
_CONTROL_CODES = {kind: CONTROL_KINDS.index(kind.name.lower()) for kind in (Kind.GAP, Kind.HEARTBEAT, Kind.GENESIS)}


def bronze_rows(
    market: Market, entries: Sequence[RawEntry]
) -> tuple[dict[Destination, StoredRows], tuple[Foreign, ...]]:
    """Rows by their place in Bronze, and the entries that are not ours. Never raises for an entry's content."""
    batch = decode_batch(entries)
    places: dict[Destination, StoredRows] = {}
    for name, (position, columns) in own_columns(batch).items():
        if len(position):
            rows = _rows(name, batch, position, columns())
            for hour, of_hour in split(rows, batch.ts[position] // HOUR_NS).items():
                places[bronze_destination(SOURCE, name, market, hour_at(hour))] = of_hour
    return places, batch.foreign


def own_columns(batch: Batch) -> dict[str, tuple[Int64s, Callable[[], Columns]]]:
    """Per table: the positions of its events in the batch, and how to make the columns that only it has."""
    tickers = [(i, event) for i, event in batch.packed if isinstance(event, Ticker)]
    control = [(i, event) for i, event in batch.packed if not isinstance(event, Ticker)]
    return {
        Channel.ORDERBOOK.value: (batch.books.position, lambda: _books(batch)),
        Channel.TRADES.value: (batch.trades.position, lambda: _trades(batch)),
        Channel.TICKER.value: (_positions(tickers), lambda: _tickers([event for _, event in tickers])),
        CONTROL: (_positions(control), lambda: _control(batch, control)),
    }


def _rows(name: str, batch: Batch, position: Int64s, own: Columns) -> StoredRows:
    table = BRONZE[name]
    schema = arrow_schema(table)
    place: dict[str, Int64s | NDArray[np.int32]] = {
        "stream_ms": batch.stream_ms[position],
        "stream_seq": batch.stream_seq[position],
        "generation": batch.generation[position].astype(np.int32),
        "seq": batch.seq[position],
        "ts": batch.ts[position],
        "capture_ts": batch.capture_ts[position],
    }
    columns = {column: numbers(values, schema.field(column).type) for column, values in place.items()} | own
    arrow = pa.Table.from_arrays([columns[field.name] for field in schema], schema=schema)
    keys = np.stack([column[position] for column in (batch.stream_ms, batch.stream_seq, batch.seq)], axis=1)
    return StoredRows(table, arrow, keys)


def _books(batch: Batch) -> Columns:
    books = batch.books
    return {
        "exchange_ts": _optional(books.exchange_ts, MILLISECONDS),
        "nonce": _optional(books.nonce, pa.int64()),
        "bid_price": lists(books.bids[:, :, 0], books.bid_levels),
        "bid_size": lists(books.bids[:, :, 1], books.bid_levels),
        "ask_price": lists(books.asks[:, :, 0], books.ask_levels),
        "ask_size": lists(books.asks[:, :, 1], books.ask_levels),
    }


def _trades(batch: Batch) -> Columns:
    trades = batch.trades
    codes = _SIDE_CODES[trades.side.astype(np.int64) + 1]
    return {
        "exchange_ts": _optional(trades.exchange_ts, MILLISECONDS),
        "id": texts(trades.id),
        "price": numbers(trades.price, pa.float64()),
        "amount": numbers(trades.amount, pa.float64()),
        "side": categories(codes, SIDES, trades.side == 0),
    }


def _tickers(events: Sequence[Ticker]) -> Columns:
    columns = {"exchange_ts": _integers([event.exchange_ts for event in events], MILLISECONDS)}
    for column in BRONZE[Channel.TICKER.value].columns:
        if column.type == "float64":
            columns[column.name] = _floats([getattr(event, column.name) for event in events])
    return columns


def _control(batch: Batch, events: Sequence[tuple[int, Gap | Heartbeat | Genesis]]) -> Columns:
    kinds = np.array([_CONTROL_CODES[Kind(batch.kind[i])] for i, _ in events], dtype=np.int32)
    gaps = [event if isinstance(event, Gap) else None for _, event in events]
    geneses = [event if isinstance(event, Genesis) else None for _, event in events]
    return {
        "kind": categories(kinds, CONTROL_KINDS, kinds < 0),
        "channel": texts([gap.channel if gap else None for gap in gaps]),
        "reason": texts([gap.reason if gap else None for gap in gaps]),
        "last_nonce": _integers([gap.last_nonce if gap else None for gap in gaps], pa.int64()),
        "last_id": texts([gap.last_id if gap else None for gap in gaps]),
        "lost": _integers([gap.lost if gap else None for gap in gaps], pa.int64()),
        "genesis_id": texts([genesis.id if genesis else None for genesis in geneses]),
        "params": blobs([genesis.params if genesis else None for genesis in geneses]),
    }


def _positions(events: Sequence[tuple[int, object]]) -> Int64s:
    return np.array([i for i, _ in events], dtype=np.int64)


def _optional(values: Int64s, kind: pa.DataType) -> pa.Array:
    return numbers(values, kind, values == NONE)


def _integers(values: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    absent = np.array([value is None for value in values], dtype=np.bool_)
    return numbers(np.array([value or 0 for value in values], dtype=np.int64), kind, absent)


def _floats(values: Sequence[float | None]) -> pa.Array:
    absent = np.array([value is None for value in values], dtype=np.bool_)
    return numbers(np.array([value or 0.0 for value in values], dtype=np.float64), pa.float64(), absent)
