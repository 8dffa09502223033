"""Raw entries as rows of the Bronze tables, one table per channel and one for the control events."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daedalus_common.batches import Batch, Foreign, RawEntry, decode_batch
from daedalus_common.entries import NONE
from daedalus_common.events import CONTROL, Channel, Gap, Genesis, Heartbeat, Kind, Ticker
from daedalus_common.markets import Market
from daedalus_common.plans import Destination, bronze_destination
from daedalus_common.tables import BRONZE, CONTROL_KINDS, SIDES
from daedalus_writer.arrow_tables import CATEGORY_TYPE, LIST_TYPE, arrow_schema
from daedalus_writer.hours import HOUR_NS, hour_at
from daedalus_writer.stored_rows import StoredRows, split

SOURCE = "ccxt"
"""Where Bronze events come from: they have ccxt's unified form, whichever feed captured them."""

Int64s = NDArray[np.int64]
Columns = dict[str, pa.Array]

_SIDE_CODES = np.array([1, -1, 0], dtype=np.int32)  # of side -1, 0, +1
_CONTROL_CODES = {kind: CONTROL_KINDS.index(kind.name.lower()) for kind in (Kind.GAP, Kind.HEARTBEAT, Kind.GENESIS)}


def bronze_rows(
    market: Market, entries: Sequence[RawEntry]
) -> tuple[dict[Destination, StoredRows], tuple[Foreign, ...]]:
    """Rows by their place in Bronze, and the entries that are not ours. Never raises for an entry's content."""
    batch = decode_batch(entries)
    places: dict[Destination, StoredRows] = {}
    for name, (position, columns) in _own_columns(batch).items():
        if len(position):
            rows = _rows(name, batch, position, columns())
            for hour, of_hour in split(rows, batch.ts[position] // HOUR_NS).items():
                places[bronze_destination(SOURCE, name, market, hour_at(hour))] = of_hour
    return places, batch.foreign


def _own_columns(batch: Batch) -> dict[str, tuple[Int64s, Callable[[], Columns]]]:
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
    place: dict[str, NDArray[np.int64] | NDArray[np.int32]] = {
        "stream_ms": batch.stream_ms[position],
        "stream_seq": batch.stream_seq[position],
        "generation": batch.generation[position].astype(np.int32),
        "seq": batch.seq[position],
        "ts": batch.ts[position],
        "capture_ts": batch.capture_ts[position],
    }
    columns = {column: _as(values, schema.field(column).type) for column, values in place.items()} | own
    arrow = pa.Table.from_arrays([columns[field.name] for field in schema], schema=schema)
    keys = np.stack([column[position] for column in (batch.stream_ms, batch.stream_seq, batch.seq)], axis=1)
    return StoredRows(table, arrow, keys)


def _books(batch: Batch) -> Columns:
    books = batch.books
    bid_offsets, bid_mask = _list_shape(books.bid_levels, books.bids.shape[1])
    ask_offsets, ask_mask = _list_shape(books.ask_levels, books.asks.shape[1])
    return {
        "exchange_ts": _optional(books.exchange_ts, pa.timestamp("ms", "UTC")),
        "nonce": _optional(books.nonce, pa.int64()),
        "bid_price": _lists(books.bids[:, :, 0], bid_offsets, bid_mask),
        "bid_size": _lists(books.bids[:, :, 1], bid_offsets, bid_mask),
        "ask_price": _lists(books.asks[:, :, 0], ask_offsets, ask_mask),
        "ask_size": _lists(books.asks[:, :, 1], ask_offsets, ask_mask),
    }


def _list_shape(levels: Int64s, width: int) -> tuple[pa.Array, NDArray[np.bool_] | None]:
    """Offsets of the lists, and which cells of the padded matrix are in them (None: all)."""
    offsets = np.zeros(len(levels) + 1, dtype=np.int32)
    np.cumsum(levels, out=offsets[1:])
    full = bool((levels == width).all())
    return pa.array(offsets), None if full else np.arange(width) < levels[:, None]


def _lists(padded: NDArray[np.float64], offsets: pa.Array, mask: NDArray[np.bool_] | None) -> pa.Array:
    values = padded.ravel() if mask is None else padded[mask]
    return pa.ListArray.from_arrays(offsets, pa.array(values), type=LIST_TYPE)


def _trades(batch: Batch) -> Columns:
    trades = batch.trades
    codes = _SIDE_CODES[trades.side.astype(np.int64) + 1]
    return {
        "exchange_ts": _optional(trades.exchange_ts, pa.timestamp("ms", "UTC")),
        "id": pa.array(trades.id, pa.string()),
        "price": pa.array(trades.price),
        "amount": pa.array(trades.amount),
        "side": _category(codes, codes < 0, SIDES),
    }


def _tickers(events: Sequence[Ticker]) -> Columns:
    schema = arrow_schema(BRONZE[Channel.TICKER.value])
    return {
        name: pa.array([getattr(event, name) for event in events], schema.field(name).type)
        for name in Ticker.__struct_fields__
        if name != "capture_ts"
    }


def _control(batch: Batch, events: Sequence[tuple[int, Gap | Heartbeat | Genesis]]) -> Columns:
    kinds = np.array([_CONTROL_CODES[Kind(batch.kind[i])] for i, _ in events], dtype=np.int32)
    gaps = [event if isinstance(event, Gap) else None for _, event in events]
    geneses = [event if isinstance(event, Genesis) else None for _, event in events]
    return {
        "kind": _category(kinds, kinds < 0, CONTROL_KINDS),
        "channel": pa.array([gap and gap.channel for gap in gaps], pa.string()),
        "reason": pa.array([gap and gap.reason for gap in gaps], pa.string()),
        "last_nonce": pa.array([gap and gap.last_nonce for gap in gaps], pa.int64()),
        "last_id": pa.array([gap and gap.last_id for gap in gaps], pa.string()),
        "lost": pa.array([gap and gap.lost for gap in gaps], pa.int64()),
        "genesis_id": pa.array([genesis and genesis.id for genesis in geneses], pa.string()),
        "params": pa.array([genesis and genesis.params for genesis in geneses], pa.binary()),
    }


def _positions(events: Sequence[tuple[int, object]]) -> Int64s:
    return np.array([i for i, _ in events], dtype=np.int64)


def _optional(values: Int64s, kind: pa.DataType) -> pa.Array:
    absent = values == NONE
    return pa.array(values, mask=absent if absent.any() else None).view(kind)


def _as(values: NDArray[np.int64] | NDArray[np.int32], kind: pa.DataType) -> pa.Array:
    return pa.array(values).view(kind)


def _category(codes: NDArray[np.int32], absent: NDArray[np.bool_], labels: Sequence[str]) -> pa.Array:
    indices = pa.array(codes, pa.int32(), mask=absent)
    return pa.DictionaryArray.from_arrays(indices, pa.array(labels, pa.string())).cast(CATEGORY_TYPE)
