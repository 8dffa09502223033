"""A step is taken when a row is due, when many entries wait, or when one has waited long enough."""

import pytest

from daedalus_featurizer.stepping import entries_to_step

GRID = 100


@pytest.mark.parametrize(
    ("waiting", "interval", "overdue", "taken"),
    [
        ([], None, False, 0),
        ([], 3, True, 0),
        ([10, 20, 99], 0, False, 0),
        ([10, 20, 100], 0, False, 3),
        ([10, 20, 99], None, False, 0),
        ([10, 20, 100], None, False, 3),
        ([310], 2, False, 1),
        ([310], 3, False, 0),
        ([310], 3, True, 1),
        ([1, 2, 3, 4, 5], 0, False, 5),
        ([1, 2, 3, 4, 5, 6, 7], 0, False, 5),
    ],
)
def test_when_a_step_is_due(waiting: list[int], interval: int | None, overdue: bool, taken: int) -> None:
    assert entries_to_step(waiting, interval, GRID, max_entries=5, max_rows=50, overdue=overdue) == taken


@pytest.mark.parametrize(
    ("waiting", "interval", "max_rows", "taken"),
    [
        ([100, 200, 300], 0, 2, 2),
        ([100, 150, 200, 250, 300], 0, 2, 4),
        ([50, 100, 200, 300], None, 3, 4),
        ([50, 100, 200, 300], None, 1, 2),
        ([1000, 5000], 0, 1, 1),
    ],
)
def test_a_step_ends_before_one_row_too_many(
    waiting: list[int], interval: int | None, max_rows: int, taken: int
) -> None:
    assert entries_to_step(waiting, interval, GRID, max_entries=100, max_rows=max_rows, overdue=False) == taken
