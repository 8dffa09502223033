"""Packages that die on a processor or its pages: known ones by version, unknown ones by trying them."""

import os
from pathlib import Path

import pytest

from daedalus.doctor.findings import Level, worst
from daedalus.doctor.host import read_host
from daedalus.doctor.wheels import NATIVE, Trial, installed, judge_trials, judge_versions, try_packages
from doctor.conftest import Machine


def package(folder: Path, name: str, source: str) -> None:
    (folder / f"{name}.py").write_text(source)


def tried(folder: Path, *names: str, timeout_seconds: float = 60.0) -> dict[str, str | None]:
    """Package -> failure, of modules that lie in the folder."""
    modules = {name: name for name in names}
    trials = try_packages(modules, {**os.environ, "PYTHONPATH": str(folder)}, timeout_seconds)
    return {trial.package: trial.failure for trial in trials}


def versions_judged(machine: Machine, **versions: str) -> list[str]:
    processor = read_host(machine.root, machine.kernel).processor
    return [finding.subject for finding in judge_versions(processor, versions)]


def test_the_arrow_that_dies_on_a_pi_4_is_refused_there_and_only_there(
    pi4: Machine, pi5: Machine, laptop: Machine
) -> None:
    assert versions_judged(pi4, pyarrow="21.0.0") == ["package pyarrow"]
    assert versions_judged(pi4, pyarrow="20.0.0") == versions_judged(pi4, pyarrow="26.0.1") == []
    assert versions_judged(pi5, pyarrow="21.0.0") == versions_judged(laptop, pyarrow="21.0.0") == []


def test_the_deltalake_that_aborts_on_pages_of_16_kib_is_refused_there(pi4: Machine, pi5: Machine) -> None:
    assert versions_judged(pi5, deltalake="1.5.9") == ["package deltalake"]
    assert versions_judged(pi5, deltalake="1.6.0") == versions_judged(pi4, deltalake="1.5.9") == []


def test_a_known_bad_version_is_an_error_with_the_command_that_replaces_it(pi4: Machine) -> None:
    processor = read_host(pi4.root, pi4.kernel).processor
    (finding,) = judge_versions(processor, {"pyarrow": "21.0.0"})
    assert finding.level is Level.ERROR
    assert finding.fix == "pip install 'pyarrow>=22'"


def test_all_packages_that_are_installed_here_run_here() -> None:
    trials = try_packages()
    assert {trial.package: trial.failure for trial in trials if trial.failure} == {}
    assert {"numpy", "pyarrow", "msgspec", "pydantic-core", "hiredis"} <= {trial.package for trial in trials}
    assert {trial.package for trial in trials} <= set(installed()) <= set(NATIVE.values())
    assert worst(judge_trials(trials)) is Level.OK


def test_a_package_that_kills_its_process_is_named_and_the_others_are_tried(tmp_path: Path) -> None:
    package(tmp_path, "first_good", "")
    package(tmp_path, "too_new", "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    package(tmp_path, "between", "")
    package(tmp_path, "small_pages", "import os\nos.abort()\n")
    package(tmp_path, "incomplete", "import no_such_thing\n")
    package(tmp_path, "last_good", "")
    names = ("first_good", "too_new", "between", "small_pages", "incomplete", "last_good")
    failures = tried(tmp_path, *names)
    assert tuple(failures) == names
    assert failures["first_good"] is failures["between"] is failures["last_good"] is None
    assert failures["too_new"] == "killed by SIGILL (an instruction that this processor lacks)"
    assert failures["small_pages"] == "killed by SIGABRT (often the page size)"
    assert failures["incomplete"] == "ModuleNotFoundError: No module named 'no_such_thing'"


def test_a_package_that_never_returns_is_given_up(tmp_path: Path) -> None:
    package(tmp_path, "endless", "import time\nwhile True: time.sleep(60)\n")
    package(tmp_path, "after", "")
    assert tried(tmp_path, "endless", "after", timeout_seconds=1.0) == {
        "endless": "no answer within 1 s",
        "after": None,
    }


@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "import os; os._exit(3)"])
def test_a_package_that_ends_its_process_is_named(tmp_path: Path, ending: str) -> None:
    package(tmp_path, "leaving", ending)
    assert tried(tmp_path, "leaving") == {"leaving": "exit code 3"}


def test_a_failure_is_an_error_and_hides_the_line_that_all_is_well() -> None:
    found = judge_trials([Trial("numpy", None), Trial("pyarrow", "killed by SIGILL")])
    assert [(each.level, each.subject) for each in found] == [(Level.ERROR, "package pyarrow")]
    assert "pyarrow" in found[0].fix
