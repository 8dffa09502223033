"""Why a book is invalid."""

import math

import pytest

from daedalus_features import advance
from features.reference import Event
from features.sequences import SMALL, at, book, columns, quote, trade

GOOD_BIDS, GOOD_ASKS = [(100.0, 1.0), (99.0, 1.0)], [(101.0, 1.0), (102.0, 1.0)]


def reasons(*events: Event) -> dict[str, int]:
    return advance(None, columns(events, SMALL)).invalid


@pytest.mark.parametrize(
    ("reason", "bids", "asks"),
    [
        ("empty", [], GOOD_ASKS),
        ("empty", GOOD_BIDS, []),
        ("empty", [], [(math.nan, -1.0)]),
        ("non_finite", [(100.0, math.nan), (99.0, 1.0)], GOOD_ASKS),
        ("non_finite", GOOD_BIDS, [(101.0, 1.0), (math.inf, 1.0)]),
        ("non_finite", [(100.0, -5.0)], [(math.nan, 1.0)]),
        ("out_of_range", GOOD_BIDS, [(101.0, 0.0)]),
        ("out_of_range", [(-100.0, 1.0)], GOOD_ASKS),
        ("out_of_range", [(100.0, 1.0), (9e-16, 1.0)], GOOD_ASKS),
        ("out_of_range", GOOD_BIDS, [(101.0, 1.0), (1.1e15, 1.0)]),
        ("out_of_range", [(100.0, 1e16), (100.0, 1.0)], GOOD_ASKS),
        ("unsorted", [(99.0, 1.0), (100.0, 1.0)], GOOD_ASKS),
        ("unsorted", GOOD_BIDS, [(101.0, 1.0), (101.0, 1.0)]),
        ("unsorted", [(103.0, 1.0), (104.0, 1.0)], GOOD_ASKS),
        ("crossed", [(101.0, 1.0)], GOOD_ASKS),
        ("crossed", [(105.0, 1.0)], GOOD_ASKS),
    ],
)
def test_the_first_reason_that_holds_is_counted(reason, bids, asks):
    assert reasons(book(at(0), bids, asks)) == {reason: 1}


@pytest.mark.parametrize("number", [1e-15, 1e15])
def test_the_ends_of_the_range_are_usable(number):
    bid, ask = (number, number * 2) if number < 1 else (number / 2, number)
    assert reasons(quote(at(0), bid, ask, number, number)) == {}


def test_valid_and_invalid_books_of_any_depth_are_told_apart_in_one_portion():
    full = [(100.0 - i, 1.0) for i in range(14)], [(101.0 + i, 1.0) for i in range(14)]
    events = [book(at(i), *full) for i in range(600)]
    events[3] = book(at(3), [], GOOD_ASKS)
    events[500] = book(at(500), full[0][:1] + full[0], full[1])
    events[599] = book(at(599), GOOD_BIDS, [*GOOD_ASKS, (103.0, 0.0)])
    assert reasons(*events) == {"empty": 1, "unsorted": 1, "out_of_range": 1}


def test_books_without_any_level_are_empty():
    assert reasons(book(at(0), [], []), book(at(1), [], [])) == {"empty": 2}


def test_invalid_trades_are_counted():
    assert reasons(quote(at(0), 1, 2), trade(at(0), math.nan, 1), trade(at(0), 1, 0), trade(at(0), 1, 1)) == {
        "trade": 2
    }
