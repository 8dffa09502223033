"""Runs of several commands: what is written is read again, and only what belongs together is put together."""

from pathlib import Path

import pytest

from faults.__main__ import seeds
from faults.catalogue import cells
from faults.cells import Window
from faults.evidence import Violation
from faults.matrix import matrix
from faults.results import ResultsError, load, save
from faults.run import Outcome

SECOND = 1_000_000_000
CHOSEN = cells()[:2]


def outcome(seed: int) -> Outcome:
    windows = (
        Window(CHOSEN[0], 1 * SECOND, 2 * SECOND, 3 * SECOND, 0.5, 40, None, ("it woke up",)),
        Window(CHOSEN[1], 4 * SECOND, 5 * SECOND, 6 * SECOND, None, 40, 3, None, "no such process"),
    )
    violations = (Violation("I1", "a trade is missing", 2 * SECOND), Violation("I4", "a table is missing"))
    return Outcome(seed, "s3", 90.0, windows, {CHOSEN[0].name: "no disk"}, violations, {"writer": 1})


def saved(path: Path, seed: int, commit: str = "abc1234") -> Path:
    save(path, matrix(CHOSEN, [outcome(seed)]), [outcome(seed)], commit)
    return path


def test_runs_of_several_files_are_read_as_they_were(tmp_path: Path) -> None:
    found, commit = load([saved(tmp_path / "b.json", 2), saved(tmp_path / "a.json", 1)])
    assert commit == "abc1234"
    assert [each.seed for each in found] == [1, 2]
    assert matrix(CHOSEN, found) == matrix(CHOSEN, [outcome(1), outcome(2)])


def test_runs_of_different_commits_make_no_matrix(tmp_path: Path) -> None:
    files = [saved(tmp_path / "a.json", 1), saved(tmp_path / "b.json", 2, "abc1234+")]
    with pytest.raises(ResultsError, match=r"different commits: abc1234 \(.*a.json\), abc1234\+"):
        load(files)


def test_a_seed_counts_once(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"seed 1 of .*b.json is in another file too"):
        load([saved(tmp_path / "a.json", 1), saved(tmp_path / "b.json", 1)])


def test_a_file_without_results_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ResultsError, match=r"a.json holds no results"):
        load([tmp_path / "a.json"])


def test_seeds_are_given_one_by_one_or_as_ranges() -> None:
    assert seeds("7") == [7]
    assert seeds("1-3,9") == [1, 2, 3, 9]
