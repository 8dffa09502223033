"""A history is cut into tasks of one day and limited size, in order, with nothing left out."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from daedalus.etl.bronze_catalog import HourPartition
from daedalus.etl.planning import Hour, pieces, whole
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectInfo

BTC = Market("binanceus", "BTC/USDT")
DAY_1 = 20_487 * 24
"""The first hour of 2026-02-03."""
MODIFIED = datetime(2026, 2, 4, tzinfo=UTC)


def hour(number: int, books: int = 1, trades: int = 1, size: int = 10) -> HourPartition:
    """One of so many segments a table."""

    def infos(table: str, count: int) -> tuple[ObjectInfo, ...]:
        return tuple(ObjectInfo(f"{table}/{number}/{i}", size, MODIFIED) for i in range(count))

    return HourPartition(
        BTC, DAY_1 + number, {"orderbook": infos("orderbook", books), "trades": infos("trades", trades)}
    )


@pytest.mark.parametrize(
    ("numbers", "most", "expected"),
    [
        ([], 100, []),
        ([0, 1, 2], 100, [[0, 1, 2]]),
        ([0, 1, 2], 40, [[0, 1], [2]]),
        ([0, 1, 2], 39, [[0], [1], [2]]),
        ([0, 1, 2], 5, [[0], [1], [2]]),
        ([22, 23, 24, 25], 100, [[22, 23], [24, 25]]),
        ([5, 30, 100], None, [[5], [30], [100]]),
        (list(range(48)), None, [list(range(24)), list(range(24, 48))]),
    ],
    ids=["none", "one task", "by size", "just over", "an hour is not cut", "midnight", "quiet days", "whole days"],
)
def test_hours_become_tasks(numbers: list[int], most: int | None, expected: list[list[int]]) -> None:
    found = list(pieces((whole(hour(number), ()) for number in numbers), most))
    by_hour = [sorted({int(key.split("/")[1]) for keys in piece.segments.values() for key in keys}) for piece in found]
    assert by_hour == expected
    assert [piece.last_hour - DAY_1 for piece in found] == [numbers[-1] for numbers in expected]
    assert [sum(piece.sizes.values()) for piece in found] == [20 * len(numbers) for numbers in expected]


def test_segments_keep_their_order_across_hours() -> None:
    (piece,) = pieces([whole(hour(0, books=2, trades=0), ()), whole(hour(1, books=2), ())], None)
    assert piece.segments == {
        "orderbook": ("orderbook/0/0", "orderbook/0/1", "orderbook/1/0", "orderbook/1/1"),
        "trades": ("trades/1/0",),
    }
    assert piece.last_keys == ("orderbook/1/0", "orderbook/1/1", "trades/1/0")


def test_what_was_read_before_is_left_out() -> None:
    (piece,) = pieces([whole(hour(0, books=3, trades=1), ["orderbook/0/0", "trades/0/0"])], None)
    assert piece.segments == {"orderbook": ("orderbook/0/1", "orderbook/0/2")}
    assert list(pieces([whole(hour(0, books=1, trades=0), ["orderbook/0/0"])], None)) == []


def test_only_the_keys_that_can_be_read_are_taken() -> None:
    partition = hour(0, books=2, trades=1)
    (piece,) = pieces([Hour(partition, frozenset(["orderbook/0/0"]), held_back=2)], None)
    assert piece.segments == {"orderbook": ("orderbook/0/0",)}
    assert sum(piece.sizes.values()) == 10


def test_no_more_hours_are_listed_than_a_task_needs() -> None:
    listed = []

    def listing() -> Iterator[Hour]:
        for number in range(100):
            listed.append(number)
            yield whole(hour(number), ())

    next(pieces(listing(), 40))
    assert listed == [0, 1, 2]
