"""Markets are computed at the same time by worker processes, which end with the run."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from support.batch import assert_same_tables, etl, run_all
from support.etl_runs import BTC, ETH, EtlProcess, history, parts, write_history

pytestmark = pytest.mark.e2e

WAIT_SECONDS = 20.0
DAYS = 8
"""Long enough that a run is at work, also on a busy machine, when a worker is to be killed."""


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEDALUS__INGESTION__ENABLE_FSYNC", "false")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_history(folder, history(BTC, seed=3, days=DAYS, count=5000), history(ETH, seed=4, days=DAYS, count=5000))
    return folder


def command(lake: Path, tmp_path: Path) -> list[str]:
    places = ["--input", lake, "--output", tmp_path / "out", "--state-dir", tmp_path / "state"]
    return ["run", "all", *map(str, places), "--workers", "2"]


def workers_of(process: EtlProcess) -> list[psutil.Process]:
    """The worker processes that are at work by now."""
    children = psutil.Process(process.process.pid).children(recursive=True)
    return [child for child in children if child.ppid() != process.process.pid]  # forks of the fork server


def begun(process: EtlProcess, out: Path) -> None:
    """Waits until parts are being written."""
    deadline = time.monotonic() + WAIT_SECONDS
    while len(parts(out)) < 3 and time.monotonic() < deadline:
        assert process.process.poll() is None
        time.sleep(0.005)
    assert len(parts(out)) >= 3


def test_two_workers_give_the_rows_of_one(tmp_path: Path, lake: Path) -> None:
    run_all(lake, tmp_path / "one", tmp_path / "state-of-one")
    run_all(lake, tmp_path / "out", tmp_path / "state", "--workers", "2")
    assert_same_tables(tmp_path / "one", tmp_path / "out")
    assert parts(tmp_path / "one") == parts(tmp_path / "out")


def test_both_markets_are_under_way_at_the_same_time(tmp_path: Path, lake: Path) -> None:
    with EtlProcess(*command(lake, tmp_path)) as process:
        begun(process, tmp_path / "out")
        seen = {key.split("symbol=")[1].split("/")[0] for key in parts(tmp_path / "out")}
        while len(seen) < 2 and process.process.poll() is None:
            seen |= {key.split("symbol=")[1].split("/")[0] for key in parts(tmp_path / "out")}
        days = {key for key in parts(tmp_path / "out") if key.startswith("silver/trades/")}
        process.ended()
    assert len(days) < 2 * DAYS, "one market was finished before the other began"


def test_a_killed_worker_ends_the_run_clearly_and_the_next_goes_on(tmp_path: Path, lake: Path) -> None:
    run_all(lake, tmp_path / "one", tmp_path / "state-of-one")
    with EtlProcess(*command(lake, tmp_path)) as process:
        begun(process, tmp_path / "out")
        os.kill(workers_of(process)[0].pid, signal.SIGKILL)
        code, _, errors = process.ended()
    assert code == 1
    assert "a worker process ended while it had a task" in errors
    assert "Traceback" not in errors
    assert etl(*command(lake, tmp_path)).returncode == 0
    assert_same_tables(tmp_path / "one", tmp_path / "out")


def test_workers_end_with_a_run_that_is_killed(tmp_path: Path, lake: Path) -> None:
    with EtlProcess(*command(lake, tmp_path)) as process:
        begun(process, tmp_path / "out")
        deadline = time.monotonic() + WAIT_SECONDS
        while len(workers := workers_of(process)) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(workers) == 2
        os.kill(process.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(workers, timeout=WAIT_SECONDS)
    assert alive == []
