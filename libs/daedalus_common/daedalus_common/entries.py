"""Encoding of one event as the payload of a stream entry.

    book   header(32) | bids: (price, size) float64 pairs | asks: the same
    trade  header(32) | price, amount float64             | id, UTF-8
    rest   kind, version                                  | msgpack

Books and trades have a fixed little-endian header, so that consumers decode whole batches with `np.frombuffer`
(`batches.py`); this module needs no NumPy and is what the ingestor imports.
"""

import struct
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Final

import msgspec

from daedalus_common.events import Book, Event, Gap, Genesis, Heartbeat, Kind, Level, Ticker, Trade

VERSION: Final = 1
NONE: Final = -(2**63)
"""Stands for "no exchange_ts" and "no nonce" in the header."""

HEADER: Final = struct.Struct("<BBHHHqqq")
"""kind, version, bid levels (trade: side + 1), ask levels (trade: id bytes), 0, capture_ts, exchange_ts, nonce."""

_PREFIX: Final = struct.Struct("<BB")
_COUNTS_AND_TIME: Final = struct.Struct("<HHHq")
_KINDS: Final = tuple(Kind)
_TRADE_BODY: Final = struct.Struct("<dd")
_SIDE_CODES: Final = {"buy": 2, None: 1, "sell": 0}
_SIDES: Final = ("sell", None, "buy")
_PACKED_KINDS: Final = {Ticker: Kind.TICKER, Gap: Kind.GAP, Heartbeat: Kind.HEARTBEAT, Genesis: Kind.GENESIS}
_TYPE_OF_KIND: Final = {kind: type_ for type_, kind in _PACKED_KINDS.items()}
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(type_) for kind, type_ in _TYPE_OF_KIND.items()}
_ENCODER: Final = msgspec.msgpack.Encoder()


class ForeignEntry(ValueError):
    """The bytes are no event of ours; the text says why."""


def encode_book(
    capture_ts: int,
    exchange_ts: int | None,
    nonce: int | None,
    bids: Sequence[Sequence[float]],
    asks: Sequence[Sequence[float]],
) -> bytes:
    """The hot path: a book's levels straight from ccxt's lists, best first, already cut to the recorded depth.

    Raises struct.error for a level that is not two numbers. (struct.pack takes 9 us for 2 x 50 levels, array('d') 18.)
    """
    n_bids, n_asks = len(bids), len(asks)
    return _book_struct(n_bids + n_asks).pack(
        Kind.BOOK, VERSION, n_bids, n_asks, 0,
        capture_ts, NONE if exchange_ts is None else exchange_ts, NONE if nonce is None else nonce,
        *chain.from_iterable(bids), *chain.from_iterable(asks),
    )  # fmt: skip


@cache
def _book_struct(levels: int) -> struct.Struct:
    return struct.Struct(f"{HEADER.format}{2 * levels}d")


def encode_trade(trade: Trade) -> bytes:
    id_ = trade.id.encode()
    header = HEADER.pack(
        Kind.TRADE, VERSION, _SIDE_CODES.get(trade.side, 1), len(id_), 0,
        trade.capture_ts, NONE if trade.exchange_ts is None else trade.exchange_ts, NONE,
    )  # fmt: skip
    return header + _TRADE_BODY.pack(trade.price, trade.amount) + id_


def encode(event: Event) -> bytes:
    """The payload of any event."""
    if isinstance(event, Book):
        return encode_book(event.capture_ts, event.exchange_ts, event.nonce, event.bids, event.asks)
    if isinstance(event, Trade):
        return encode_trade(event)
    return _PREFIX.pack(_PACKED_KINDS[type(event)], VERSION) + _ENCODER.encode(event)


def decode(payload: bytes) -> Event:
    """One event; raises ForeignEntry. For batches see `batches.py`."""
    kind = kind_of(payload)
    if kind is Kind.BOOK:
        return _decode_book(payload)
    if kind is Kind.TRADE:
        return _decode_trade(payload)
    return decode_packed(payload)


def kind_of(payload: bytes) -> Kind:
    """The kind of a well-formed payload of this version, length and time checked; raises ForeignEntry."""
    if len(payload) < _PREFIX.size:
        raise ForeignEntry(f"payload of {len(payload)} bytes")
    if payload[0] > Kind.GENESIS:
        raise ForeignEntry(f"unknown kind {payload[0]}")
    if payload[1] != VERSION:
        raise ForeignEntry(f"unknown version {payload[1]}")
    kind = _KINDS[payload[0]]
    if kind <= Kind.TRADE:
        _check_header(payload, kind)
    return kind


def decode_packed(payload: bytes) -> Ticker | Gap | Heartbeat | Genesis:
    """A ticker or control event; raises ForeignEntry."""
    kind = kind_of(payload)
    try:
        event: Ticker | Gap | Heartbeat | Genesis = _DECODERS[kind].decode(memoryview(payload)[_PREFIX.size :])
    except (msgspec.MsgspecError, ValueError, KeyError, RecursionError) as error:
        raise ForeignEntry(f"{kind.name.lower()}: {error}") from error
    _check_capture_ts(event.capture_ts)
    return event


def _check_header(payload: bytes, kind: Kind) -> None:
    if len(payload) < HEADER.size:
        raise ForeignEntry(f"{kind.name.lower()} of {len(payload)} bytes is shorter than its header")
    first, second, _, capture_ts = _COUNTS_AND_TIME.unpack_from(payload, _PREFIX.size)
    body = 16 * (first + second) if kind is Kind.BOOK else _TRADE_BODY.size + second
    if len(payload) != HEADER.size + body:
        raise ForeignEntry(f"{kind.name.lower()} of {len(payload)} bytes does not have the length its header says")
    _check_capture_ts(capture_ts)


def _check_capture_ts(capture_ts: int) -> None:
    if not 0 <= capture_ts < 2**62:
        raise ForeignEntry(f"capture_ts {capture_ts} is out of range")


def _decode_book(payload: bytes) -> Book:
    _, _, n_bids, n_asks, _, capture_ts, exchange_ts, nonce = HEADER.unpack_from(payload)
    values = struct.unpack_from(f"<{2 * (n_bids + n_asks)}d", payload, HEADER.size)
    levels: list[Level] = list(zip(values[0::2], values[1::2], strict=True))
    return Book(capture_ts, _optional(exchange_ts), _optional(nonce), tuple(levels[:n_bids]), tuple(levels[n_bids:]))


def _decode_trade(payload: bytes) -> Trade:
    _, _, side, _, _, capture_ts, exchange_ts, _ = HEADER.unpack_from(payload)
    price, amount = _TRADE_BODY.unpack_from(payload, HEADER.size)
    id_ = payload[HEADER.size + _TRADE_BODY.size :].decode(errors="replace")
    return Trade(capture_ts, _optional(exchange_ts), id_, price, amount, _SIDES[min(side, 2)])


def _optional(value: int) -> int | None:
    return None if value == NONE else value
