"""Decoding of many stream entries at once into columns: what the writer stores and the featurizer computes on.

    (id, fields) of XRANGE -> Batch: one array per column, events in stream order, foreign entries set apart
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec
import numpy as np
from numpy.typing import NDArray

from daedalus_common.entries import HEADER, ForeignEntry, decode_packed, kind_of
from daedalus_common.events import Gap, Genesis, Heartbeat, Kind, Ticker

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

RawEntry = tuple[bytes, Mapping[bytes, bytes]]
"""An entry as redis-py returns it: (b"1700000000000-0", {b"s": ..., ...})."""

_TRADE_SIZE = HEADER.size + 16
_HEADER_TYPE = np.dtype(
    [("kind", "u1"), ("version", "u1"), ("first", "<u2"), ("second", "<u2"), ("zero", "<u2"),
     ("capture_ts", "<i8"), ("exchange_ts", "<i8"), ("nonce", "<i8")]
)  # fmt: skip
_TRADE_TYPE = np.dtype([*_HEADER_TYPE.descr, ("price", "<f8"), ("amount", "<f8")])


class Foreign(msgspec.Struct, frozen=True):
    """An entry that is not ours: it goes to the dead letters with its reason."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BookColumns:
    """`n` books; `bids` and `asks` have shape (n, levels, 2), (price, size), NaN beyond a book's own levels."""

    position: Int64s
    exchange_ts: Int64s
    nonce: Int64s
    bid_levels: Int64s
    ask_levels: Int64s
    bids: Float64s
    asks: Float64s


@dataclass(frozen=True, slots=True)
class TradeColumns:
    """`n` trades; side is +1 buy, -1 sell, 0 unknown."""

    position: Int64s
    exchange_ts: Int64s
    price: Float64s
    amount: Float64s
    side: NDArray[np.int8]
    id: Sequence[str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in stream order; `position` of the parts below counts into these columns.

    `exchange_ts` and `nonce` hold `entries.NONE` where there is none.
    """

    stream_ms: Int64s
    stream_seq: Int64s
    generation: Int64s
    seq: Int64s
    ts: Int64s
    kind: NDArray[np.uint8]
    capture_ts: Int64s
    books: BookColumns
    trades: TradeColumns
    packed: tuple[tuple[int, Ticker | Gap | Heartbeat | Genesis], ...]
    """(position, event) of the tickers and control events."""
    foreign: tuple[Foreign, ...]

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(slots=True)
class _Row:
    stream_ms: int
    stream_seq: int
    generation: int
    seq: int
    ts: int
    kind: Kind
    payload: bytes


def decode_batch(entries: Iterable[RawEntry]) -> Batch:
    """Columns of all entries that are ours; the others are listed in `foreign`. Never raises for an entry's content."""
    rows: list[_Row] = []
    packed: list[tuple[int, Ticker | Gap | Heartbeat | Genesis]] = []
    foreign: list[Foreign] = []
    for id_, fields in entries:
        try:
            row = _row(id_, fields)
            if row.kind > Kind.TRADE:
                packed.append((len(rows), decode_packed(row.payload)))
            rows.append(row)
        except ForeignEntry as error:
            foreign.append(Foreign(id_.decode(), str(error)))
    header = np.array(
        [(row.stream_ms, row.stream_seq, row.generation, row.seq, row.ts) for row in rows], dtype=np.int64
    ).reshape(len(rows), 5)
    kind = np.fromiter((row.kind for row in rows), dtype=np.uint8, count=len(rows))
    capture_ts = np.empty(len(rows), dtype=np.int64)
    books = _books(rows, np.flatnonzero(kind == Kind.BOOK), capture_ts)
    trades = _trades(rows, np.flatnonzero(kind == Kind.TRADE), capture_ts)
    for position, event in packed:
        capture_ts[position] = event.capture_ts
    ms, sub, generation, seq, ts = (np.ascontiguousarray(column) for column in header.T)
    return Batch(ms, sub, generation, seq, ts, kind, capture_ts, books, trades, tuple(packed), tuple(foreign))


def _row(id_: bytes, fields: Mapping[bytes, bytes]) -> _Row:
    try:
        payload = fields[b"e"]
        ms, _, sub = id_.partition(b"-")
        generation, seq, ts = int(fields[b"g"]), int(fields[b"s"]), int(fields[b"t"])
    except KeyError as error:
        raise ForeignEntry(f"field {error} is missing") from error
    except ValueError as error:
        raise ForeignEntry(f"g, s or t is not a whole number: {error}") from error
    if not (0 <= generation < 2**31 and 0 < seq < 2**53 and 0 <= ts < 2**62):
        raise ForeignEntry(f"generation {generation}, seq {seq} or ts {ts} is out of range")
    return _Row(int(ms), int(sub), generation, seq, ts, kind_of(payload), payload)


def _books(rows: Sequence[_Row], position: Int64s, capture_ts: Int64s) -> BookColumns:
    payloads = [rows[i].payload for i in position]
    headers = np.frombuffer(b"".join([payload[: HEADER.size] for payload in payloads]), dtype=_HEADER_TYPE)
    capture_ts[position] = headers["capture_ts"]
    n_bids, n_asks = headers["first"].astype(np.int64), headers["second"].astype(np.int64)
    bids = np.full((len(payloads), int(n_bids.max(initial=0)), 2), np.nan)
    asks = np.full((len(payloads), int(n_asks.max(initial=0)), 2), np.nan)
    # One pass per distinct shape; nearly always there is a single one (both sides at full depth).
    shape = n_bids << 16 | n_asks
    order = np.argsort(shape, kind="stable")
    for _, group in groupby(order.tolist(), key=shape.__getitem__):
        members = list(group)
        here_bids, here_asks = int(n_bids[members[0]]), int(n_asks[members[0]])
        flat = np.frombuffer(b"".join([payloads[i][HEADER.size :] for i in members]), dtype="<f8")
        levels = flat.reshape(len(members), here_bids + here_asks, 2)
        bids[members, :here_bids] = levels[:, :here_bids]
        asks[members, :here_asks] = levels[:, here_bids:]
    return BookColumns(
        position=position,
        exchange_ts=headers["exchange_ts"].astype(np.int64),
        nonce=headers["nonce"].astype(np.int64),
        bid_levels=n_bids,
        ask_levels=n_asks,
        bids=bids,
        asks=asks,
    )


def _trades(rows: Sequence[_Row], position: Int64s, capture_ts: Int64s) -> TradeColumns:
    payloads = [rows[i].payload for i in position]
    table = np.frombuffer(b"".join([payload[:_TRADE_SIZE] for payload in payloads]), dtype=_TRADE_TYPE)
    capture_ts[position] = table["capture_ts"]
    return TradeColumns(
        position=position,
        exchange_ts=table["exchange_ts"].astype(np.int64),
        price=table["price"].astype(np.float64),
        amount=table["amount"].astype(np.float64),
        side=np.clip(table["first"].astype(np.int8) - 1, -1, 1).astype(np.int8),
        id=[payload[_TRADE_SIZE:].decode(errors="replace") for payload in payloads],
    )

