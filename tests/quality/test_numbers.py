"""Ranges of numbers behave as the sets that they stand for; time in gaps counts once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daedalus.quality.coverage import union_ns
from daedalus.quality.names import missing_names
from daedalus.quality.numbers import Spans, holes, once, spans

NUMBERS = st.sets(st.integers(1, 60))


def spans_of(numbers: set[int]) -> Spans:
    """As few ranges as hold them."""
    pairs: list[list[int]] = []
    for number in sorted(numbers):
        if pairs and pairs[-1][1] == number - 1:
            pairs[-1][1] = number
        else:
            pairs.append([number, number])
    return spans(*((first, last) for first, last in pairs))


def numbers_of(found: Spans) -> set[int]:
    return {number for first, last in found.pairs() for number in range(first, last + 1)}


def array(numbers: set[int]) -> np.ndarray:
    return np.array(sorted(numbers), np.int64)


@given(NUMBERS, NUMBERS)
def test_spans_are_sets(whole: set[int], some: set[int]) -> None:
    found = spans_of(whole)
    assert found.numbers == len(whole)
    assert numbers_of(found.without(array(some))) == whole - some
    assert numbers_of(found.minus(spans_of(whole & some))) == whole - some
    assert found.holds(array(some)).tolist() == [number in whole for number in sorted(some)]
    assert numbers_of(found.within(10, 40)) == {number for number in whole if 10 <= number <= 40}


@given(NUMBERS)
def test_holes_are_what_lies_between(numbers: set[int]) -> None:
    assert numbers_of(holes(array(numbers), 1)) == set(range(1, max(numbers, default=0) + 1)) - numbers


@given(st.lists(st.integers(1, 20)))
def test_doubles_are_told_from_the_rest(numbers: list[int]) -> None:
    found, double = once(np.array(numbers, np.int64))
    assert found.tolist() == sorted(set(numbers))
    assert double.tolist() == sorted({number for number in numbers if numbers.count(number) > 1})


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))))
def test_time_in_several_gaps_counts_once(intervals: list[tuple[int, int]]) -> None:
    inside = {at for begin, end in intervals for at in range(max(begin, 10), min(end, 40))}
    assert union_ns(intervals, 10, 40) == len(inside)


def test_a_number_left_out_names_the_segment_that_must_have_been_there() -> None:
    keys = [f"a/hour=1/segment_20260203T01_{number:05d}.parquet" for number in (2, 3, 5)]
    assert missing_names(keys) == (
        "a/hour=1/segment_20260203T01_00001.parquet",
        "a/hour=1/segment_20260203T01_00004.parquet",
    )
