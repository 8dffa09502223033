"""Events of one market as the ingestor would have captured them: books of 50 levels, and trades.

From the real recording where it is there, else from a synthetic market; played again and again for as long as needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nlargest, nsmallest
from itertools import cycle
from pathlib import Path
from typing import Any

import orjson

from benchmarks.results import Skipped
from benchmarks.workbench import Workbench
from daedalus_common.entries import encode_book, encode_trade
from daedalus_common.events import Book, Level, Trade
from daedalus_simulator.book import BookSide
from daedalus_simulator.frames import Channel
from daedalus_simulator.instrument import Instrument, parse_symbol
from daedalus_simulator.market import MarketSettings, SyntheticMarket, market_generator
from support.recording import files_of, frames

LEVELS = 50
START_NS = 1_769_997_600_000_000_000
"""The start of an hour. In the past: a capture_ts ahead of the server's clock would be replaced."""

_SYNTHETIC_BOOKS = 6_000
_CHANGES_PER_BOOK = 10
_TRADES_PER_BOOK = 3

Event = tuple[int, bytes]
"""(capture_ts, payload)."""
Move = Book | Trade


@dataclass(frozen=True, slots=True)
class Mix:
    """How many events a second, and how many trades to a book (3 at most: the sources have no more)."""

    per_second: float
    trades_per_book: float


def market_events(bench: Workbench, count: int, mix: Mix, levels: int = LEVELS) -> list[Event]:
    """`count` events at equal distances after START_NS, books of so many levels; equal arguments give equal events."""
    events: list[Event] = []
    due = 0.0  # trades that the mix still asks for
    for move in cycle(_moves(bench)):
        ts = START_NS + int((len(events) + 1) * 1e9 / mix.per_second)
        if isinstance(move, Book):
            due += mix.trades_per_book
            bids, asks = move.bids[:levels], move.asks[:levels]
            events.append((ts, encode_book(ts, ts // 1_000_000, move.nonce, bids, asks)))
        elif due >= 1:
            due -= 1
            events.append((ts, encode_trade(Trade(ts, ts // 1_000_000, move.id, move.price, move.amount, move.side))))
        if len(events) == count:
            break
    return events


def _moves(bench: Workbench) -> Sequence[Move]:
    try:
        return _real_moves(bench.recordings().parent)
    except Skipped as skipped:
        bench.say(f"a synthetic market instead of the real one: {skipped}")
        return _synthetic_moves()


@cache
def _real_moves(shared_data: Path) -> Sequence[Move]:
    """BTC/USDT: 6,493 books, of which each is an update of 100 ms, and 19,904 trades."""
    moves: list[Move] = []
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    early: list[dict[str, Any]] = []
    for frame in frames(files_of(shared_data, "BTC/USDT")):
        if "lastUpdateId" in frame:
            bids, asks = (dict(_floats(frame[side])) for side in ("bids", "asks"))
            # Updates captured before the snapshot may reach past it; left out, they would leave levels that cross.
            moves += [_updated(bids, asks, update) for update in early if update["u"] > frame["lastUpdateId"]]
        elif frame.get("e") == "depthUpdate":
            if bids:
                moves.append(_updated(bids, asks, frame))
            else:
                early.append(frame)
        elif frame.get("e") == "trade":
            moves.append(_trade(frame))
    return moves


def _updated(bids: dict[float, float], asks: dict[float, float], frame: dict[str, Any]) -> Book:
    """The book after one update, which the sides take in."""
    for side, changes in ((bids, frame["b"]), (asks, frame["a"])):
        side.update(_floats(changes))
        for price in [price for price, size in _floats(changes) if size == 0]:
            del side[price]
    best = nlargest(LEVELS, bids.items()), nsmallest(LEVELS, asks.items())
    return Book(0, None, frame["u"], tuple(best[0]), tuple(best[1]))


@cache
def _synthetic_moves() -> Sequence[Move]:
    instrument = parse_symbol("BTC/USDT")
    market = SyntheticMarket(instrument, market_generator(1, instrument), MarketSettings())
    moves: list[Move] = []
    wanted: tuple[Channel, ...] = ("trade",)
    for number in range(_SYNTHETIC_BOOKS):
        market.step(0, ())
        for changes in market.burst(_TRADES_PER_BOOK, _CHANGES_PER_BOOK, 0, wanted):
            moves += [_trade(orjson.loads(frame.payload)) for frame in changes]
        bids, asks = (tuple(_levels(side, instrument)) for side in market.book.sides)
        moves.append(Book(0, None, number, bids, asks))
    return moves


def _floats(levels: Sequence[Sequence[str]]) -> Iterator[Level]:
    return ((float(price), float(size)) for price, size in levels)


def _levels(side: BookSide, instrument: Instrument) -> Iterator[Level]:
    tick, lot = 10**instrument.price_decimals, 10**instrument.size_decimals
    return ((price / tick, lots / lot) for price, lots in side.top(LEVELS))


def _trade(frame: dict[str, object]) -> Trade:
    side = "sell" if frame["m"] else "buy"
    return Trade(0, None, str(frame["t"]), float(str(frame["p"])), float(str(frame["q"])), side)
