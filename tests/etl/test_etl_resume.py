"""Whenever a run is killed or stopped, the same command goes on, and the rows are those of a run without kills."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from daedalus.etl.checkpoint import read_checkpoint
from daedalus.etl.task import Task
from support.batch import assert_same_tables, etl, run_all
from support.etl_runs import BTC, ETH, EtlProcess, History, assert_holds, history, parts, write_history

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DAYS = 8
EVENTS = {BTC: 5000, ETH: 3000}
"""Long enough that a run is at work, also on a busy machine, when a signal reaches it."""


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it has written; only a power cut does."""
    monkeypatch.setenv("DAEDALUS__INGESTION__ENABLE_FSYNC", "false")


@pytest.fixture(scope="module")
def histories() -> tuple[History, History]:
    return history(BTC, seed=3, days=DAYS, count=EVENTS[BTC]), history(ETH, seed=4, days=DAYS, count=EVENTS[ETH])


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, histories: tuple[History, History]) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_history(folder, *histories)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, lake: Path) -> Path:
    """The output of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_all(lake, folder, folder / "state")
    return folder


def command(lake: Path, tmp_path: Path, *more: str) -> list[str]:
    places = ("--input", str(lake), "--output", str(tmp_path / "out"), "--state-dir", str(tmp_path / "state"))
    return ["run", "all", *places, *more]


def wait_for_parts(process: EtlProcess, output: Path, count: int) -> None:
    """Until so many parts are there, or the process has ended."""
    while process.process.poll() is None and len(parts(output)) < count:
        time.sleep(0.002)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_kills_at_many_points_leave_no_trace(tmp_path: Path, lake: Path, undisturbed: Path, workers: str) -> None:
    chance = random.Random(int(workers))
    out, kills = tmp_path / "out", 0
    while True:
        with EtlProcess(*command(lake, tmp_path, "--workers", workers)) as process:
            wait_for_parts(process, out, len(parts(out)) + chance.randint(1, 100))
            time.sleep(chance.uniform(0, 0.03))
            if process.process.poll() is not None:
                code, _, errors = process.ended()
                assert code == 0, errors
                break
            os.kill(process.process.pid, signal.SIGKILL)
            kills += 1
    assert kills >= 3
    assert_same_tables(undisturbed, out)
    assert parts(out) == parts(undisturbed)


def test_a_kill_between_the_parts_and_the_checkpoint_is_made_good(
    tmp_path: Path, lake: Path, undisturbed: Path, histories: tuple[History, History]
) -> None:
    """By hand: the parts of the last task are there, and the checkpoint is that of before."""
    etl(*command(lake, tmp_path, "--limit", "500"))
    files = {path: path.read_bytes() for path in (tmp_path / "state").rglob("*.checkpoint")}
    run_all(lake, tmp_path / "out", tmp_path / "state")
    before = parts(tmp_path / "out")
    for path, content in files.items():
        path.write_bytes(content)
    again = run_all(lake, tmp_path / "out", tmp_path / "state")
    assert again["events"] > 0
    assert parts(tmp_path / "out") == before
    for each in histories:
        assert_holds(tmp_path / "out", each)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_stops_after_the_task_under_way(
    tmp_path: Path, lake: Path, undisturbed: Path, number: signal.Signals, code: int, workers: str
) -> None:
    with EtlProcess(*command(lake, tmp_path, "--workers", workers, "--json")) as process:
        wait_for_parts(process, tmp_path / "out", 5)
        process.process.send_signal(number)
        found, out, errors = process.ended()
    assert found == code, errors
    report = json.loads(out)
    assert report["interrupted"] == number
    assert all(pending(path) is None for path in (tmp_path / "state").rglob("*.checkpoint"))
    assert 0 < report["events"] < sum(EVENTS.values())
    run_all(lake, tmp_path / "out", tmp_path / "state")
    assert_same_tables(undisturbed, tmp_path / "out")


def test_a_second_signal_stops_at_once_and_loses_nothing(tmp_path: Path, lake: Path, undisturbed: Path) -> None:
    with EtlProcess(*command(lake, tmp_path)) as process:
        wait_for_parts(process, tmp_path / "out", 5)
        process.process.send_signal(signal.SIGINT)
        time.sleep(0.002)
        process.process.send_signal(signal.SIGTERM)
        code, _, _ = process.ended()
    assert code in (130, 143)
    run_all(lake, tmp_path / "out", tmp_path / "state")
    assert_same_tables(undisturbed, tmp_path / "out")


def test_it_says_how_to_go_on(tmp_path: Path, lake: Path) -> None:
    with EtlProcess(*command(lake, tmp_path)) as process:
        wait_for_parts(process, tmp_path / "out", 2)
        process.process.send_signal(signal.SIGINT)
        _, _, errors = process.ended()
    assert "run the same command again to go on" in errors


def test_two_runs_of_one_job_do_not_run_at_a_time(tmp_path: Path, lake: Path) -> None:
    with EtlProcess(*command(lake, tmp_path)) as first:
        wait_for_parts(first, tmp_path / "out", 1)
        first.process.send_signal(signal.SIGSTOP)
        assert first.process.poll() is None, "it ended too early for this test"
        second = etl(*command(lake, tmp_path))
        first.process.send_signal(signal.SIGCONT)
        assert first.ended()[0] == 0
    assert second.returncode == 1
    assert "another run works on this very job" in second.stderr


def test_a_lost_state_never_doubles_rows(tmp_path: Path, lake: Path) -> None:
    run_all(lake, tmp_path / "out", tmp_path / "state")
    before = parts(tmp_path / "out")
    again = etl("run", "all", "--input", lake, "--output", tmp_path / "out", "--state-dir", tmp_path / "other")
    assert again.returncode == 2
    assert "--replace" in again.stderr
    assert parts(tmp_path / "out") == before


def pending(path: Path) -> Task | None:
    checkpoint = read_checkpoint(path)
    assert checkpoint is not None
    return checkpoint.pending
