"""The matrix: who is blamed for what, when a run counts, and that equal seeds draw equal faults."""

from dataclasses import replace
from random import Random

from faults.applying import MIN_EVENTS
from faults.catalogue import cells
from faults.cells import Cell, Window, nothing
from faults.evidence import Violation
from faults.matrix import FAIL, NONE, OK, VACUOUS, as_json, as_markdown, as_text, matrix, suspects
from faults.oracle import PROMISES
from faults.run import Outcome
from faults.schedule import rounds
from faults.setup import setup_of

KILL = Cell("writer", "kill -9", nothing)
DROP = Cell("exchange", "drop", nothing)
SECOND = 1_000_000_000


def window(cell: Cell, began: int, ended: int, moved: int = 500, touched: int | None = None) -> Window:
    return Window(cell, began * SECOND, (began + 1) * SECOND, ended * SECOND, 2.0, moved, touched, None)


def outcome(*windows: Window, violations: tuple[Violation, ...] = (), seed: int = 1) -> Outcome:
    return Outcome(seed, "s3", 90.0, windows, {}, violations, {})


def test_a_cell_without_a_violation_is_ok_over_all_seeds() -> None:
    runs = [outcome(window(KILL, 10, 15), seed=seed) for seed in (1, 2, 3)]
    [line] = matrix([KILL], runs)
    assert line.result == OK
    assert line.seeds == [1, 2, 3]
    assert line.moved == 1500
    assert line.results["I8"] == NONE


def test_a_violation_is_blamed_on_the_cell_of_its_time() -> None:
    violation = Violation("I1", "a trade is missing", 12 * SECOND)
    run = outcome(window(KILL, 10, 15), window(DROP, 20, 25), violations=(violation,))
    kill, drop = matrix([KILL, DROP], [run])
    assert kill.results["I1"] == FAIL
    assert kill.failures == ["seed 1: I1: a trade is missing"]
    assert drop.result == OK


def test_a_violation_between_two_cells_is_blamed_on_the_one_before() -> None:
    windows = [window(KILL, 10, 15), window(DROP, 20, 25)]
    assert suspects(windows, 17 * SECOND) == windows[:1]
    assert suspects(windows, 30 * SECOND) == windows[1:]
    assert suspects(windows, 1 * SECOND) == windows[:1]


def test_a_violation_without_a_time_is_blamed_on_every_cell() -> None:
    run = outcome(window(KILL, 10, 15), window(DROP, 20, 25), violations=(Violation("I4", "a table is missing"),))
    assert [line.results["I4"] for line in matrix([KILL, DROP], [run])] == [FAIL, FAIL]


def test_a_run_that_moved_too_few_events_does_not_count() -> None:
    [line] = matrix([KILL], [outcome(window(KILL, 10, 15, moved=MIN_EVENTS - 1))])
    assert line.result == VACUOUS
    [line] = matrix([KILL], [outcome(window(KILL, 10, 15)), outcome(window(KILL, 10, 15, touched=0), seed=2)])
    assert line.result == VACUOUS


def test_a_fault_that_could_not_be_brought_about_does_not_count() -> None:
    failed = replace(window(KILL, 10, 15), error="no such process")
    [line] = matrix([KILL], [outcome(failed)])
    assert line.result == VACUOUS


def test_one_bad_seed_spoils_the_cell() -> None:
    bad = outcome(window(KILL, 10, 15), violations=(Violation("I2", "double", 11 * SECOND),), seed=2)
    [line] = matrix([KILL], [outcome(window(KILL, 10, 15)), bad])
    assert line.results["I2"] == FAIL
    assert line.results["I1"] == OK


def test_a_cell_that_was_never_applied_is_not_ok() -> None:
    [line] = matrix([KILL], [])
    assert line.result == NONE


def test_the_table_shows_every_promise() -> None:
    lines = matrix([KILL, DROP], [outcome(window(KILL, 10, 15), window(DROP, 20, 25))])
    assert as_markdown(lines).splitlines()[0].count("|") == len(PROMISES) + 6
    assert "writer     kill -9" in as_text(lines)
    assert as_json(lines, [])["cells"][0]["result"] == OK


def test_equal_seeds_draw_equal_faults_and_each_cell_once() -> None:
    every = cells()
    first, again, other = (rounds(every, Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sorted(cell.name for round_ in first for cell in round_) == sorted(cell.name for cell in every)
    assert any(len(round_) == 2 for round_ in first)


def test_a_cell_that_must_be_alone_or_first_is() -> None:
    for seed in range(20):
        drawn = rounds(cells(), Random(seed))
        assert all(len(round_) == 1 for round_ in drawn if any(cell.alone for cell in round_))
        assert all(not cell.first for round_ in drawn[1:] for cell in round_)
        assert all(len({cell.component for cell in round_}) == len(round_) for round_ in drawn)


def test_names_of_cells_are_unique_and_eight_seeds_reach_them_all() -> None:
    every = cells()
    assert len({cell.name for cell in every}) == len(every)
    for cell in every:
        reached = [setup_of(seed, every).missing(cell) for seed in range(1, 9)]
        possible = [reason for reason in reached if reason is None or not reason.startswith(("this run", "the store"))]
        assert possible, f"{cell.name}: {reached}"
