"""Lines of NDJSON as events.

A line is malformed when it is not JSON, names no market, is of an unknown channel, or has a capture_ts that is no
integer in [0, 2^62): no event at all. Whatever else it holds is an event's content, and the features judge that: a
price that is no number is NaN, so that its book or trade is invalid, but its time counts.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from daedalus.etl.bronze_columns import joined_books
from daedalus_common.events import Channel
from daedalus_common.markets import Market
from daedalus_features import Books, Events, Kind, Tickers, Trades
from daedalus_features.arrays import FloatArray, IntArray

KINDS = {
    Channel.ORDERBOOK.value: Kind.BOOK,
    Channel.TRADES.value: Kind.TRADE,
    Channel.TICKER.value: Kind.TICKER,
    "gap": Kind.GAP,
    "heartbeat": Kind.HEARTBEAT,
}

_END_OF_TIME = 2**62
_EXCHANGE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SYMBOL = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,64}")
_NAME_LIMIT_BYTES = 200
"""A market's name is part of names of files, 255 bytes at most, and a symbol of 64 characters can take 768 there."""
_SIDES = {"buy": 1, "sell": -1}
_BATCH = 256
"""Books kept as Python's numbers until they become an array: 5 MB of 50 levels."""


class Head(msgspec.Struct, frozen=True):
    """What every line has."""

    channel: str
    exchange: str
    symbol: str
    capture_ts: int


class _Book(msgspec.Struct):
    bids: list[tuple[float, float]] = []
    asks: list[tuple[float, float]] = []


class _Trade(msgspec.Struct):
    price: float
    amount: float
    side: str | None = None


_Ticker = msgspec.defstruct("_Ticker", [(name, float | None, None) for name in Tickers.FIELDS])

_heads = msgspec.json.Decoder(Head)
_books = msgspec.json.Decoder(_Book)
_trades = msgspec.json.Decoder(_Trade)
_tickers = msgspec.json.Decoder(_Ticker)


def read_head(content: bytes) -> Head | str:
    """The head of a line, or why it is malformed."""
    try:
        head = _heads.decode(content)
    except msgspec.ValidationError as error:
        return f"not an event: {error}"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"not JSON: {error}"
    if head.channel not in KINDS:
        return f"its channel is none of {', '.join(KINDS)}"
    if not 0 <= head.capture_ts < _END_OF_TIME:
        return "its capture_ts is not within [0, 2^62)"
    return _objection(head.exchange, head.symbol) or head


@lru_cache(maxsize=4096)
def _objection(exchange: str, symbol: str) -> str | None:
    """Why these name no market."""
    if not _EXCHANGE.fullmatch(exchange) or not _SYMBOL.fullmatch(symbol):
        return "it names no market: exchange and symbol have 1 to 64 characters, an exchange only A-Z a-z 0-9 . _ -"
    if len(Market(exchange, symbol).name) > _NAME_LIMIT_BYTES:
        return f"its market's name takes more than {_NAME_LIMIT_BYTES} bytes in paths"
    return None


class LineFilter:
    """Tells most lines of other markets without decoding them."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._named = market.symbol.encode()

    def head(self, content: bytes) -> Head | None:
        """The head of the line if it is an event of the market."""
        # Whoever escapes a character may escape any of the symbol's.
        if self._named not in content and b"\\" not in content:
            return None
        head = read_head(content)
        if isinstance(head, str) or head.symbol != self._market.symbol or head.exchange != self._market.exchange:
            return None
        return head


class EventColumns:
    """Events of one market, added line by line, as columns."""

    def __init__(self, tables_needed: frozenset[str], ts: int, book_levels: int | None) -> None:
        self.ts = ts
        """Of the last event: time never goes back, over all channels."""
        self._needed = tables_needed
        self._book_levels = book_levels
        self._ts: list[int] = []
        self._kind: list[int] = []
        self._book_position: list[int] = []
        self._waiting: list[_Book] = []
        self._books: list[Books] = []
        self._trades: list[tuple[int, float, float, int]] = []
        self._tickers: list[tuple[int, list[float]]] = []

    def __len__(self) -> int:
        return len(self._ts)

    def add(self, head: Head, content: bytes) -> None:
        """The next event."""
        self.ts = max(self.ts, head.capture_ts)
        position = len(self._ts)
        self._ts.append(self.ts)
        self._kind.append(KINDS[head.channel])
        if head.channel not in self._needed:
            return
        match KINDS[head.channel]:
            case Kind.BOOK:
                self._book_position.append(position)
                self._waiting.append(_book(content))
                if len(self._waiting) == _BATCH:
                    self._settle()
            case Kind.TRADE:
                self._trades.append((position, *_trade(content)))
            case Kind.TICKER:
                self._tickers.append((position, _ticker(content)))

    def events(self) -> Events:
        """All of them."""
        self._settle()
        return Events(
            np.array(self._ts, np.int64),
            np.array(self._kind, np.uint8),
            self._all_books(),
            self._all_trades(),
            self._all_tickers(),
        )

    def _settle(self) -> None:
        if self._waiting:
            bids, bid_levels = _levels([book.bids[: self._book_levels] for book in self._waiting])
            asks, ask_levels = _levels([book.asks[: self._book_levels] for book in self._waiting])
            position = np.array(self._book_position, np.int64)
            numbers = (bids[:, :, 0], bids[:, :, 1], asks[:, :, 0], asks[:, :, 1])
            self._books.append(Books(position, *numbers, bid_levels, ask_levels))
            self._waiting, self._book_position = [], []

    def _all_books(self) -> Books:
        if not self._books:
            return Books.empty()
        return joined_books(self._books, np.concatenate([books.position for books in self._books]))

    def _all_trades(self) -> Trades:
        if not self._trades:
            return Trades.empty()
        position, price, amount, side = zip(*self._trades, strict=True)
        return Trades(np.array(position, np.int64), np.array(price), np.array(amount), np.array(side, np.int8))

    def _all_tickers(self) -> Tickers:
        if not self._tickers:
            return Tickers.empty()
        position, values = zip(*self._tickers, strict=True)
        return Tickers(np.array(position, np.int64), np.array(values).T.copy())


def _levels(sides: Sequence[Sequence[tuple[float, float]]]) -> tuple[FloatArray, IntArray]:
    """One side of n books as (n, levels, 2), NaN behind the shorter ones, and their levels (n,)."""
    lengths = np.fromiter(map(len, sides), np.int64, len(sides))
    width = int(lengths.max())
    cells = np.fromiter(chain.from_iterable(chain.from_iterable(sides)), np.float64, 2 * int(lengths.sum()))
    if (lengths == width).all():
        return cells.reshape(len(sides), width, 2), lengths
    padded = np.full((len(sides), width, 2), np.nan)
    padded[np.arange(width) < lengths[:, None]] = cells.reshape(-1, 2)
    return padded, lengths


def _book(content: bytes) -> _Book:
    try:
        return _books.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        given = _anything(content)
        return _Book(_any_levels(given.get("bids")), _any_levels(given.get("asks")))


def _trade(content: bytes) -> tuple[float, float, int]:
    try:
        trade = _trades.decode(content)
        return trade.price, trade.amount, _SIDES.get(trade.side or "", 0)
    except (msgspec.DecodeError, UnicodeDecodeError):
        given = _anything(content)
        side = given.get("side")
        sign = _SIDES.get(side, 0) if isinstance(side, str) else 0
        return _number(given.get("price")), _number(given.get("amount")), sign


def _ticker(content: bytes) -> list[float]:
    try:
        ticker = _tickers.decode(content)
        given = {name: getattr(ticker, name) for name in Tickers.FIELDS}
    except (msgspec.DecodeError, UnicodeDecodeError):
        given = _anything(content)
    return [_number(given.get(name)) for name in Tickers.FIELDS]


def _anything(content: bytes) -> dict[str, Any]:
    """What an event holds that is not as it should be; nothing where Python itself refuses a number or the depth."""
    try:
        given = json.loads(content.decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


def _any_levels(given: Any) -> list[tuple[float, float]]:
    return [_any_level(level) for level in given] if isinstance(given, list) else []


def _any_level(given: Any) -> tuple[float, float]:
    """(price, size) of a level that may have more in it, or less."""
    pair = [_number(value) for value in given[:2]] if isinstance(given, list) else []
    return (pair[0], pair[1]) if len(pair) == 2 else (float("nan"), float("nan"))


def _number(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return float("nan")
    try:
        return float(given)
    except OverflowError:
        return float("inf")
