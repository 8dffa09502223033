"""Which books and trades may enter a feature, and why the others may not."""

import numpy as np
import numpy.typing as npt

from daedalus_features.arrays import LARGEST, SMALLEST, FloatArray, IntArray, usable
from daedalus_features.events import Books, Events

BOOK_REASONS = ("empty", "non_finite", "out_of_range", "unsorted", "crossed")
"""Why a book is invalid, in order: the first reason that holds is the one counted."""
TRADE_REASON = "trade"
"""The key under which trades of an unusable price or amount are counted."""

_BLOCK = 512
"""Books checked at once: 512 books of 50 levels are 800 KB, which stays in a core's cache."""


def only_valid(events: Events, book_levels: int) -> tuple[Events, dict[str, int]]:
    """The events without their invalid books and trades (their time stays), and the counts of those by reason.

    Levels deeper than `book_levels` are cut off before any check.
    """
    invalid: dict[str, int] = {}
    books = events.books.top(book_levels)
    if len(books):
        reasons = invalid_books(books)
        if reasons.any():
            counts = np.bincount(reasons, minlength=len(BOOK_REASONS) + 1).tolist()
            invalid = {reason: counts[i] for i, reason in enumerate(BOOK_REASONS, 1) if counts[i]}
            books = books.take(np.flatnonzero(reasons == 0))
    trades = events.trades
    if len(trades):
        good = usable(trades.price) & usable(trades.amount)
        if not good.all():
            invalid[TRADE_REASON] = int(len(good) - np.count_nonzero(good))
            trades = trades.take(np.flatnonzero(good))
    return Events(events.ts, events.kind, books, trades, events.tickers, events.geneses), invalid


def invalid_books(books: Books) -> npt.NDArray[np.uint8]:
    """Per book, 0 when it is valid, else 1 + the index of its reason in BOOK_REASONS; shape (n,)."""
    reasons = np.zeros(len(books), np.uint8)
    for begin in range(0, len(books), _BLOCK):
        end = begin + _BLOCK
        block = books if len(books) <= _BLOCK else books.take(slice(begin, end))
        if not _all_valid(block):
            reasons[begin:end] = _classified(block)
    return reasons


def _all_valid(books: Books) -> bool:
    """Whether every book is full to the last column and valid, which reading each number once can show.

    In a strictly sorted side only the first and the last price can leave the range, and no NaN, as stands for an
    absent level, is sorted or within it.
    """
    bid, ask = books.bid_price, books.ask_price
    if not (bid.shape[1] and ask.shape[1]):
        return False
    every, least, most = np.logical_and.reduce, np.minimum.reduce, np.maximum.reduce
    return bool(
        every(bid[:, 1:] < bid[:, :-1], axis=None)
        and every(ask[:, 1:] > ask[:, :-1], axis=None)
        and every(bid[:, 0] < ask[:, 0])
        and least(bid[:, -1]) >= SMALLEST
        and most(ask[:, -1]) <= LARGEST
        and least(books.bid_size, axis=None) >= SMALLEST
        and most(books.bid_size, axis=None) <= LARGEST
        and least(books.ask_size, axis=None) >= SMALLEST
        and most(books.ask_size, axis=None) <= LARGEST
    )


def _classified(books: Books) -> npt.NDArray[np.uint8]:
    """`invalid_books` of one block, for any content."""
    reasons = np.zeros(len(books), np.uint8)
    bid = _Side(books.bid_price, books.bid_size, books.bid_levels, rising=False)
    ask = _Side(books.ask_price, books.ask_size, books.ask_levels, rising=True)
    crossed = bid.best >= ask.best
    faults = (
        bid.empty | ask.empty,
        bid.non_finite | ask.non_finite,
        bid.out_of_range | ask.out_of_range,
        bid.unsorted | ask.unsorted,
        crossed,
    )
    for code in range(len(faults), 0, -1):
        reasons[faults[code - 1]] = code
    return reasons


class _Side:
    """The faults of one side of each book, shape (n,) each; only its own levels count."""

    def __init__(self, price: FloatArray, size: FloatArray, levels: IntArray, *, rising: bool) -> None:
        if not price.shape[1]:
            price = size = np.full((len(levels), 1), np.nan)
            levels = np.zeros_like(levels)
        own = np.arange(price.shape[1]) < levels[:, None]
        step = price[:, 1:] <= price[:, :-1] if rising else price[:, 1:] >= price[:, :-1]
        self.best = price[:, 0]
        self.empty = levels <= 0
        self.non_finite = (own & ~(np.isfinite(price) & np.isfinite(size))).any(axis=1)
        self.out_of_range = (own & ~(usable(price) & usable(size))).any(axis=1)
        self.unsorted = (own[:, 1:] & step).any(axis=1)
