"""The tasks of a run on a real Dask cluster: a scheduler and two worker processes."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from support.batch import assert_same_tables, etl, run_all
from support.etl_runs import BTC, ETH, EtlProcess, History, history, parts, write_history

pytestmark = pytest.mark.e2e

pytest.importorskip("distributed", reason="needs the extra daedalus[cluster]")

WAIT_SECONDS = 60.0


class DaskProcess:
    """`dask scheduler` or `dask worker`, until its log says that it is ready."""

    def __init__(self, folder: Path, name: str, *arguments: str, ready: str) -> None:
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = re.search(ready, self.log)
            if found is not None:
                self.said = found[1]
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"{name} did not start: {self.log}")
            time.sleep(0.05)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        """Kills it with its children."""
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()
        self.process.wait(WAIT_SECONDS)


class Cluster:
    """A scheduler and two workers of one thread on the loopback interface."""

    def __init__(self, folder: Path) -> None:
        local = ("--host", "127.0.0.1", "--no-dashboard")
        scheduler = ("scheduler", *local, "--port", "0")
        self.scheduler = DaskProcess(folder, "scheduler", *scheduler, ready=r"Scheduler at:\s+(tcp://\S+)")
        self.address = self.scheduler.said
        worker = ("worker", self.address, *local, "--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
        ready = r"Registered to:\s+(tcp://\S+)"
        self.workers = [DaskProcess(folder, f"worker{number}", *worker, ready=ready) for number in range(2)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (*self.workers, self.scheduler):
            each.end()


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEDALUS__INGESTION__ENABLE_FSYNC", "false")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "dask"
    folder.mkdir()
    with Cluster(folder) as running:
        yield running


@pytest.fixture(scope="module")
def histories() -> list[History]:
    return [history(BTC, seed=3, days=4, count=2000), history(ETH, seed=4, days=4, count=2000)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, histories: list[History]) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_history(folder, *histories)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, lake: Path) -> Path:
    """The output of a run on this machine."""
    folder = tmp_path_factory.mktemp("alone")
    run_all(lake, folder, folder / "state")
    return folder


def test_a_cluster_gives_the_same_rows(tmp_path: Path, lake: Path, alone: Path, cluster: Cluster) -> None:
    run_all(lake, tmp_path / "out", tmp_path / "state", "--cluster", cluster.address)
    assert_same_tables(alone, tmp_path / "out")
    assert parts(tmp_path / "out") == parts(alone)


def test_a_worker_that_is_killed_is_replaced_by_the_other(
    tmp_path: Path, lake: Path, alone: Path, cluster: Cluster
) -> None:
    out = tmp_path / "out"
    places = ("--input", lake, "--output", out, "--state-dir", tmp_path / "state", "--cluster", cluster.address)
    with EtlProcess("run", "all", *places) as process:
        while process.process.poll() is None and len(parts(out)) < 20:
            time.sleep(0.005)
        cluster.workers[0].end()
        code, _, errors = process.ended()
    assert code == 0, errors
    assert_same_tables(alone, out)
    assert parts(out) == parts(alone)


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, lake: Path) -> None:
    places = ("--input", lake, "--output", tmp_path / "out", "--state-dir", tmp_path / "state")
    done = etl("run", "all", *places, "--cluster", "tcp://127.0.0.1:1")
    assert done.returncode == 1
    assert "--cluster tcp://127.0.0.1:1: no scheduler answers there" in done.stderr


def test_a_cluster_that_ends_is_told_and_the_run_goes_on_elsewhere(
    tmp_path: Path, lake: Path, alone: Path, cluster: Cluster
) -> None:
    out = tmp_path / "out"
    places = ("--input", lake, "--output", out, "--state-dir", tmp_path / "state")
    with EtlProcess("run", "all", *places, "--cluster", cluster.address) as process:
        while process.process.poll() is None and len(parts(out)) < 20:
            time.sleep(0.005)
        for each in (cluster.scheduler, *cluster.workers):
            each.end()
        code, _, errors = process.ended()
    assert code == 1
    assert "the cluster" in errors
    assert "run the same command again to go on" in errors.replace("\n", " ")
    run_all(lake, out, tmp_path / "state")
    assert_same_tables(alone, out)
