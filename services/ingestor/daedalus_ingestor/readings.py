"""From ccxt's values to payloads.

The first try takes ccxt's lists and numbers as they are. Only what that refuses (levels with a third column, None or
text in place of a number) goes through the careful way, which costs several times as much.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from daedalus_common.entries import encode, encode_book, encode_trade
from daedalus_common.events import Ticker, Trade

_SIDES = ("buy", "sell")
_LIMIT = 2**62


class Unencodable(ValueError):
    """ccxt gave something that is no book, trade or ticker of numbers."""


def book_payload(capture_ts: int, book: Mapping[str, Any], depth: int) -> bytes:
    """The top `depth` levels of ccxt's live, mutable book, copied now. Raises Unencodable."""
    bids, asks = book["bids"][:depth], book["asks"][:depth]
    try:
        return encode_book(capture_ts, book["timestamp"], book["nonce"], bids, asks)
    except (struct.error, TypeError):
        return encode_book(capture_ts, whole(book["timestamp"]), whole(book["nonce"]), _levels(bids), _levels(asks))


def trade_payload(capture_ts: int, trade: Mapping[str, Any]) -> bytes:
    """Raises Unencodable."""
    side = trade["side"]
    try:
        return encode_trade(
            Trade(
                capture_ts=capture_ts,
                exchange_ts=whole(trade["timestamp"]),
                id=trade_id(trade),
                price=_number(trade["price"]),
                amount=_number(trade["amount"]),
                side=side if side in _SIDES else None,
            )
        )
    except struct.error as error:
        raise Unencodable(f"trade {trade_id(trade)[:40]!r}: {error}") from error


def trade_id(trade: Mapping[str, Any]) -> str:
    """The exchange's id, or "" where it gives none."""
    id_ = trade["id"]
    return "" if id_ is None else str(id_)


def ticker_payload(capture_ts: int, ticker: Mapping[str, Any]) -> bytes:
    """Raises Unencodable."""
    get = ticker.get
    return encode(
        Ticker(
            capture_ts=capture_ts,
            exchange_ts=whole(get("timestamp")),
            bid=_optional(get("bid")),
            bid_size=_optional(get("bidVolume")),
            ask=_optional(get("ask")),
            ask_size=_optional(get("askVolume")),
            last=_optional(get("last")),
            open=_optional(get("open")),
            high=_optional(get("high")),
            low=_optional(get("low")),
            vwap=_optional(get("vwap")),
            base_volume=_optional(get("baseVolume")),
            quote_volume=_optional(get("quoteVolume")),
        )
    )


def whole(value: Any) -> int | None:
    """An integer that a header can hold; None for what is none (NaN, text that is no number, 10**30)."""
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if -_LIMIT < number < _LIMIT else None


def _levels(levels: Sequence[Sequence[Any]]) -> list[tuple[float, float]]:
    try:
        return [(_number(level[0]), _number(level[1])) for level in levels]
    except (IndexError, KeyError, TypeError) as error:
        raise Unencodable(f"a level that is no (price, size): {error}") from error


def _number(value: Any) -> float:
    """None is NaN: unknown."""
    number = _optional(value)
    return math.nan if number is None else number


def _optional(value: Any) -> float | None:
    if value is None or type(value) is float:
        return value
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Unencodable(f"{value!r:.40} is no number") from error
