"""Decoding of many stream entries at once into columns: what the writer stores and the featurizer computes on.

(id, fields) of XRANGE -> Batch: one array per column, events in stream order, foreign entries set apart
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec
import numpy as np
from numpy.typing import NDArray

from daedalus_common.entries import HEADER, VERSION, ForeignEntry, decode_packed, kind_of
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
_START_TYPE = np.dtype([("kind", "u1"), ("version", "u1"), ("first", "<u2"), ("second", "<u2")])
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


def decode_batch(entries: Iterable[RawEntry]) -> Batch:
    """Columns of all entries that are ours; the others are listed in `foreign`. Never raises for an entry's content.

    Foreign entries are rare, so all entries are decoded at once, and only if that fails is each looked at by itself
    (3 us an entry, as much as the whole rest).
    """
    ours = list(entries)
    try:
        return _decode(ours, ())
    except (ForeignEntry, LookupError, ValueError, OverflowError):
        ours, foreign = _sort_out(ours)
        return _decode(ours, foreign)


def _sort_out(entries: Sequence[RawEntry]) -> tuple[list[RawEntry], tuple[Foreign, ...]]:
    ours: list[RawEntry] = []
    foreign: list[Foreign] = []
    for id_, fields in entries:
        try:
            _check(id_, fields)
            ours.append((id_, fields))
        except ForeignEntry as error:
            foreign.append(Foreign(id_.decode(), str(error)))
    return ours, tuple(foreign)


def _check(id_: bytes, fields: Mapping[bytes, bytes]) -> None:
    try:
        payload = fields[b"e"]
        generation, seq, ts = int(fields[b"g"]), int(fields[b"s"]), int(fields[b"t"])
    except KeyError as error:
        raise ForeignEntry(f"field {error} is missing") from error
    except ValueError as error:
        raise ForeignEntry(f"g, s or t is not a whole number: {error}") from error
    if not (0 <= generation < 2**31 and 0 < seq < 2**53 and 0 <= ts < 2**62):
        raise ForeignEntry(f"generation {generation}, seq {seq} or ts {ts} is out of range")
    if max(map(int, id_.split(b"-"))) >= 2**63:
        raise ForeignEntry(f"id {id_.decode()} is out of range")
    if kind_of(payload) > Kind.TRADE:
        decode_packed(payload)


def _decode(entries: Sequence[RawEntry], foreign: tuple[Foreign, ...]) -> Batch:
    """Raises one of several errors where an entry is not ours."""
    payloads = [fields[b"e"] for _, fields in entries]
    kind = _kinds(payloads)
    ms, sub = _int64s([part for id_, _ in entries for part in id_.split(b"-")], 2)
    generation, seq, ts = _int64s([fields[name] for _, fields in entries for name in (b"g", b"s", b"t")], 3)
    if len(entries) and not (
        generation.min() >= 0 and generation.max() < 2**31
        and seq.min() > 0 and seq.max() < 2**53
        and ts.min() >= 0 and ts.max() < 2**62
    ):  # fmt: skip
        raise ForeignEntry("out of range")
    capture_ts = np.empty(len(entries), dtype=np.int64)
    books = _books(payloads, np.flatnonzero(kind == Kind.BOOK), capture_ts)
    trades = _trades(payloads, np.flatnonzero(kind == Kind.TRADE), capture_ts)
    packed = tuple((int(i), decode_packed(payloads[i])) for i in np.flatnonzero(kind > Kind.TRADE))
    for position, event in packed:
        capture_ts[position] = event.capture_ts
    if len(entries) and not (capture_ts.min() >= 0 and capture_ts.max() < 2**62):
        raise ForeignEntry("capture_ts is out of range")
    return Batch(ms, sub, generation, seq, ts, kind, capture_ts, books, trades, packed, foreign)


def _kinds(payloads: Sequence[bytes]) -> NDArray[np.uint8]:
    """Kinds of well-formed payloads, lengths checked by the headers."""
    if not payloads:
        return np.empty(0, dtype=np.uint8)
    size = np.fromiter(map(len, payloads), dtype=np.int64, count=len(payloads))
    if size.min() < 2:
        raise ForeignEntry("too short")
    start = np.frombuffer(b"".join([payload[:6].ljust(6) for payload in payloads]), dtype=_START_TYPE)
    kind, first, second = start["kind"].copy(), start["first"].astype(np.int64), start["second"].astype(np.int64)
    book, trade = kind == Kind.BOOK, kind == Kind.TRADE
    expected = np.where(book, HEADER.size + 16 * (first + second), np.where(trade, _TRADE_SIZE + second, size))
    if not ((kind <= Kind.GENESIS) & (start["version"] == VERSION) & (size == expected)).all():
        raise ForeignEntry("unknown kind or version, or wrong length")
    return kind


def _int64s(values: Sequence[bytes], width: int) -> Int64s:
    """(width, n): one row per field."""
    return np.array([int(value) for value in values], dtype=np.int64).reshape(-1, width).T.copy()


def _books(payloads: Sequence[bytes], position: Int64s, capture_ts: Int64s) -> BookColumns:
    books = [payloads[i] for i in position.tolist()]
    headers = np.frombuffer(b"".join([payload[: HEADER.size] for payload in books]), dtype=_HEADER_TYPE)
    capture_ts[position] = headers["capture_ts"]
    n_bids, n_asks = headers["first"].astype(np.int64), headers["second"].astype(np.int64)
    bids, asks = _levels(books, n_bids, n_asks)
    return BookColumns(
        position=position,
        exchange_ts=headers["exchange_ts"].astype(np.int64),
        nonce=headers["nonce"].astype(np.int64),
        bid_levels=n_bids,
        ask_levels=n_asks,
        bids=bids,
        asks=asks,
    )


def _levels(books: Sequence[bytes], n_bids: Int64s, n_asks: Int64s) -> tuple[Float64s, Float64s]:
    shape = n_bids << 16 | n_asks
    if len(books) and (shape == shape[0]).all():
        # Nearly always: all books have both sides at full depth.
        return _levels_of_shape(books, int(n_bids[0]), int(n_asks[0]))
    bids = np.full((len(books), int(n_bids.max(initial=0)), 2), np.nan)
    asks = np.full((len(books), int(n_asks.max(initial=0)), 2), np.nan)
    order = np.argsort(shape, kind="stable")
    for _, group in groupby(order.tolist(), key=shape.__getitem__):
        members = list(group)
        here_bids, here_asks = int(n_bids[members[0]]), int(n_asks[members[0]])
        of_shape = _levels_of_shape([books[i] for i in members], here_bids, here_asks)
        bids[members, :here_bids], asks[members, :here_asks] = of_shape
    return bids, asks


def _levels_of_shape(books: Sequence[bytes], n_bids: int, n_asks: int) -> tuple[Float64s, Float64s]:
    # Whole payloads are joined, their header is as long as two levels; a bytearray, so that the arrays can be written.
    flat = np.frombuffer(bytearray().join(books), dtype="<f8")
    start = HEADER.size // 16
    levels = flat.reshape(len(books), start + n_bids + n_asks, 2)
    return levels[:, start : start + n_bids], levels[:, start + n_bids :]


def _trades(payloads: Sequence[bytes], position: Int64s, capture_ts: Int64s) -> TradeColumns:
    trades = [payloads[i] for i in position.tolist()]
    table = np.frombuffer(b"".join([payload[:_TRADE_SIZE] for payload in trades]), dtype=_TRADE_TYPE)
    capture_ts[position] = table["capture_ts"]
    return TradeColumns(
        position=position,
        exchange_ts=table["exchange_ts"].astype(np.int64),
        price=table["price"].astype(np.float64),
        amount=table["amount"].astype(np.float64),
        side=np.clip(table["first"].astype(np.int64) - 1, -1, 1).astype(np.int8),
        id=[payload[_TRADE_SIZE:].decode(errors="replace") for payload in trades],
    )
