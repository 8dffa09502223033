"""Bronze is read up to where nothing can still come in before it."""

import pytest

from daedalus.etl.young_end import Segment, between_neighbours, complete


def segment(series: str, first: int, last: int, rows: int | None = None, *, settled: bool = False) -> Segment:
    """Its ids are its seqs; without `rows` it holds all of them."""
    count = last - first + 1 if rows is None else rows
    return Segment(f"{series}{first}-{last}", series, (first, 0), (last, 0), first, last, count, settled)


BOOKS_1, TRADES_1 = segment("b", 1, 10, 8), segment("t", 3, 7, 2)
BOOKS_2, TRADES_2 = segment("b", 11, 20, 7), segment("t", 12, 14, 3)


@pytest.mark.parametrize(
    ("segments", "taken"),
    [
        ([], 0),
        ([BOOKS_1, TRADES_1], 2),
        ([BOOKS_1], 0),
        ([TRADES_1], 0),
        ([BOOKS_1, TRADES_1, BOOKS_2, TRADES_2], 4),
        ([BOOKS_1, TRADES_1, TRADES_2], 2),
        ([BOOKS_1, TRADES_1, BOOKS_2], 2),
    ],
    ids=[
        "nothing",
        "a whole plan",
        "trades to come",
        "books to come",
        "two plans",
        "books of the 2nd",
        "trades of the 2nd",
    ],
)
def test_a_plan_is_read_once_all_of_it_is_there(segments: list[Segment], taken: int) -> None:
    assert len(complete(segments, [], 1)) == taken


def test_it_goes_on_from_where_reading_ended() -> None:
    assert complete([BOOKS_2, TRADES_2], [], 11) == ["b11-20", "t12-14"]
    assert complete([BOOKS_2, TRADES_2], [], 9) == []


def test_a_hole_that_two_plans_of_one_series_follow_is_a_loss() -> None:
    after = [segment("b", 21, 30), segment("b", 31, 40)]
    assert complete([BOOKS_1, *after[:1]], [], 1) == []
    assert complete([BOOKS_1, *after], [], 1) == ["b1-10", "b21-30", "b31-40"]
    assert complete([segment("b", 1, 10), *after], [], 1) == ["b1-10", "b21-30", "b31-40"]
    assert complete([segment("b", 1, 10), *after[:1]], [], 1) == ["b1-10"]


def test_a_hole_in_what_is_old_is_a_loss() -> None:
    assert complete([segment("b", 1, 10, 8, settled=True)], [], 1) == ["b1-10"]
    assert complete([segment("b", 5, 10, settled=True)], [], 1) == ["b5-10"]
    assert complete([segment("b", 5, 10, settled=False)], [], 1) == []


def test_a_damaged_segment_is_no_hole_and_is_always_handed_on() -> None:
    damaged = between_neighbours([segment("b", 1, 10), "broken", segment("b", 21, 30)])
    assert [(each.key, each.after, each.before) for each in damaged] == [("broken", (10, 0), (21, 0))]
    segments = [segment("b", 1, 10), segment("b", 21, 30)]
    assert complete(segments, damaged, 1) == ["broken", "b1-10", "b21-30"]
    assert complete([], between_neighbours(["alone"]), 1) == ["alone"]


def test_a_damaged_segment_does_not_explain_a_hole_elsewhere() -> None:
    damaged = between_neighbours(["broken", segment("b", 1, 10)])
    assert complete([segment("b", 1, 10), segment("t", 21, 30)], damaged, 1) == ["broken", "b1-10"]
