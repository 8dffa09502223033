"""Decoded Arrow columns of the Bronze tables as the arrays of the features, without a copy where there is a choice."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daedalus_common.events import CONTROL, Channel
from daedalus_common.parquet.arrays import memory, one_array
from daedalus_features import Books, Kind, Tickers, Trades
from daedalus_features.arrays import FloatArray, IntArray

PLACE = ("generation", "stream_ms", "stream_seq", "seq", "ts")
"""The columns that say where in the sequence a row is."""

_LISTS = ("bid_price", "bid_size", "ask_price", "ask_size")
_PAYLOAD: dict[str, tuple[str, ...]] = {
    Channel.ORDERBOOK.value: _LISTS,
    Channel.TRADES.value: ("price", "amount", "side"),
    Channel.TICKER.value: Tickers.FIELDS,
    CONTROL: ("kind", "genesis_id", "params"),
}
_KINDS = {Channel.ORDERBOOK.value: Kind.BOOK, Channel.TRADES.value: Kind.TRADE, Channel.TICKER.value: Kind.TICKER}
_CONTROL_KINDS = {"gap": Kind.GAP, "heartbeat": Kind.HEARTBEAT, "genesis": Kind.GENESIS}


class WrongValues(ValueError):
    """A column holds what its table does not allow."""


@dataclass(frozen=True, slots=True)
class Control:
    """The n control events: `kind` (n,); of a genesis also (its row, id, parameters)."""

    kind: Any
    geneses: tuple[tuple[int, str, bytes], ...]

    def take(self, chosen: slice) -> "Control":
        begin, end, _ = chosen.indices(len(self.kind))
        geneses = tuple((row - begin, id_, params) for row, id_, params in self.geneses if begin <= row < end)
        return Control(self.kind[chosen], geneses)


Payload = Books | Trades | Tickers | Control | None
"""What the rows of one table carry; the positions count its rows. None where nobody asked for it."""


def wanted_columns(table: str, *, payload: bool) -> tuple[str, ...]:
    """Which columns of a table to read."""
    return (*PLACE, *_PAYLOAD[table]) if payload else PLACE


def place_columns(rows: pa.Table) -> dict[str, IntArray]:
    """The columns of PLACE as int64, (n,). Raises WrongValues for a null."""
    return {name: _whole(rows, name) for name in PLACE}


def payload_columns(table: str, rows: pa.Table, book_levels: int | None) -> Payload:
    """What the rows carry, of books only the first `book_levels` levels. Raises WrongValues."""
    if table == Channel.ORDERBOOK.value:
        return _books(rows, book_levels)
    if table == Channel.TRADES.value:
        return Trades(np.arange(len(rows)), _floats(rows, "price"), _floats(rows, "amount"), _sides(rows))
    if table == Channel.TICKER.value:
        return Tickers(np.arange(len(rows)), np.stack([_floats(rows, name) for name in Tickers.FIELDS]))
    return _control(rows)


def kinds(table: str, payload: Payload, count: int) -> Any:
    """The kind of each of `count` rows, uint8 (n,)."""
    if isinstance(payload, Control):
        return payload.kind
    return np.full(count, _KINDS[table], np.uint8)


def _books(rows: pa.Table, book_levels: int | None) -> Books:
    bid_price, bid_levels = _levels(rows, "bid_price", book_levels)
    bid_size, bid_sizes = _levels(rows, "bid_size", book_levels)
    ask_price, ask_levels = _levels(rows, "ask_price", book_levels)
    ask_size, ask_sizes = _levels(rows, "ask_size", book_levels)
    # Where a side has more prices than sizes the missing ones stay NaN, which makes the book invalid.
    bid_price, bid_size = _as_wide_as_each_other(bid_price, bid_size)
    ask_price, ask_size = _as_wide_as_each_other(ask_price, ask_size)
    bid_levels, ask_levels = np.maximum(bid_levels, bid_sizes), np.maximum(ask_levels, ask_sizes)
    return Books(np.arange(len(rows)), bid_price, bid_size, ask_price, ask_size, bid_levels, ask_levels)


def joined_books(parts: Sequence[Books], position: IntArray) -> Books:
    """The books of all parts, at these positions; the narrower ones filled up with NaN."""

    def side(columns: Iterable[FloatArray]) -> FloatArray:
        return joined(_as_wide_as_each_other(*columns))

    return Books(
        position,
        side(part.bid_price for part in parts),
        side(part.bid_size for part in parts),
        side(part.ask_price for part in parts),
        side(part.ask_size for part in parts),
        joined([part.bid_levels for part in parts]),
        joined([part.ask_levels for part in parts]),
    )


def joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All of them as one, without a copy where there is only one."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _as_wide_as_each_other(*arrays: FloatArray) -> list[FloatArray]:
    """The arrays (n_i, w_i), each filled up with NaN to the widest."""
    width = max(array.shape[1] for array in arrays)
    return [array if array.shape[1] == width else _widened(array, width) for array in arrays]


def _widened(array: FloatArray, width: int) -> FloatArray:
    wide = np.full((len(array), width), np.nan)
    wide[:, : array.shape[1]] = array
    return wide


def _levels(rows: pa.Table, name: str, most: int | None) -> tuple[FloatArray, IntArray]:
    """Lists as an array (n, levels) with NaN behind the shorter ones, and their lengths (n,)."""
    lists = one_array(rows[name])
    offsets = np.frombuffer(lists.buffers()[1], np.int32)[lists.offset :][: len(lists) + 1]
    cells = _float_values(lists.values)
    lengths = np.diff(offsets).astype(np.int64)
    width = int(lengths[0]) if len(lengths) else 0
    if (lengths == width).all():
        padded = cells[offsets[0] : offsets[-1]].reshape(len(lengths), width) if len(lengths) else np.empty((0, 0))
        return (padded, lengths) if most is None else (padded[:, :most], np.minimum(lengths, most))
    kept = lengths if most is None else np.minimum(lengths, most)
    column = np.arange(int(kept.max()))
    inside = column < kept[:, None]
    padded = np.full(inside.shape, np.nan)
    padded[inside] = cells[(offsets[:-1, None] + column)[inside]]
    return padded, kept


def _control(rows: pa.Table) -> Control:
    named = one_array(rows["kind"]).to_pylist()
    unknown = sorted({str(name) for name in named if name not in _CONTROL_KINDS})
    if unknown:
        raise WrongValues(f"its column kind holds {', '.join(unknown)}")
    kind = np.array([_CONTROL_KINDS[name] for name in named], np.uint8)
    at = np.flatnonzero(kind == Kind.GENESIS).tolist()
    if not at:
        return Control(kind, ())
    ids, params = (_cells(rows, name, at) for name in ("genesis_id", "params"))
    if None in ids or None in params:
        raise WrongValues("a genesis in it has no genesis_id or no params")
    return Control(kind, tuple(zip(at, ids, params, strict=True)))


def _cells(rows: pa.Table, name: str, at: Sequence[int]) -> list[Any]:
    column = rows[name] if name in rows.column_names else None
    return [None if column is None else column[row].as_py() for row in at]


def _sides(rows: pa.Table) -> Any:
    """+1 buy, -1 sell, 0 for anything else, int8 (n,)."""
    if "side" not in rows.column_names:
        return np.zeros(len(rows), np.int8)
    codes = one_array(rows["side"]).dictionary_encode()
    signs = np.array([{"buy": 1, "sell": -1}.get(name, 0) for name in codes.dictionary.to_pylist()] + [0], np.int8)
    return signs[np.where(_present(codes.indices), memory(codes.indices, np.int32), len(signs) - 1)]


def _floats(rows: pa.Table, name: str) -> FloatArray:
    """A column of floats, NaN for null and where the segment has no such column, (n,)."""
    return _float_values(one_array(rows[name])) if name in rows.column_names else np.full(len(rows), np.nan)


def _float_values(column: pa.Array) -> FloatArray:
    values: FloatArray = memory(column, np.float64)
    return np.where(_present(column), values, np.nan) if column.null_count else values


def _present(column: pa.Array) -> Any:
    """Which values are not null, bool (n,)."""
    bits = column.buffers()[0]
    if bits is None:
        return np.ones(len(column), np.bool_)
    present = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[column.offset :]
    return present[: len(column)].view(np.bool_)


def _whole(rows: pa.Table, name: str) -> IntArray:
    column = one_array(rows[name])
    if column.null_count:
        raise WrongValues(f"its column {name} has {column.null_count} nulls")
    values = memory(column, np.int32 if pa.types.is_int32(column.type) else np.int64)
    whole: IntArray = values.astype(np.int64, copy=False)
    return whole
