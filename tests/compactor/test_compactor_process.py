"""The compactor as a process: one pass, a service, and killed at any moment."""

import os
import random
import re
import signal
import subprocess
import time
import urllib.request
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.bronze import BronzeBuilder, varied_events
from support.compaction import age, command, compact_once, config_file, keys_of, wait_until, write_quality
from support.lake import stored

BTC = Market("binanceus", "BTC/USDT")
TABLES = ("orderbook", "trades", "ticker", "control")


@pytest.fixture
def lake(tmp_path: Path) -> LocalDisk:
    """Made a day ago."""
    disk = LocalDisk(tmp_path / "lake", fsync=False)
    builder = BronzeBuilder(disk, BTC, flush=timedelta(seconds=2))
    builder.write(varied_events(6, 1_200))
    write_quality(disk, BTC, builder.keys, 5)
    age(tmp_path / "lake")
    return disk


def seqs(folder: Path) -> dict[str, list[int]]:
    return {name: stored(folder / "lake", f"bronze/ccxt/{name}")["seq"].to_pylist() for name in TABLES}


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_one_pass_merges_and_a_later_one_deletes(tmp_path: Path, lake: LocalDisk) -> None:
    config = config_file(tmp_path, tmp_path / "lake", grace_seconds=0)
    before, objects = seqs(tmp_path), len(keys_of(lake))
    compact_once(config)
    assert seqs(tmp_path) == before
    assert len(current(lake, lake.list()).objects) == 5
    compact_once(config)
    assert len(keys_of(lake)) == 5 < objects
    assert seqs(tmp_path) == before
    numbers = pl.scan_parquet(tmp_path / "lake/bronze/ccxt/trades/**/*.parquet").select("seq").collect()["seq"]
    assert sorted(numbers.to_list()) == before["trades"], "a plain reader finds each row once"


def test_a_pass_that_failed_in_part_says_so_with_its_exit_code(tmp_path: Path, lake: LocalDisk) -> None:
    [damaged] = [key for key in keys_of(lake) if "/trades/" in key][3:4]
    (tmp_path / "lake" / damaged).write_bytes(b"no Parquet")
    age(tmp_path / "lake")
    done = compact_once(config_file(tmp_path, tmp_path / "lake"), code=1)
    assert damaged in done.stderr
    assert "neither merged nor deleted" in done.stderr
    assert damaged in keys_of(lake)


def test_a_store_that_cannot_be_used_is_said_once_and_for_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = compact_once(config_file(tmp_path, tmp_path / "file"), code=1)
    assert "cannot start" in done.stderr


def test_help_shows_how_to_run_it() -> None:
    done = subprocess.run([*command(Path("x"))[:3], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--once" in done.stdout
    assert "examples:" in done.stdout


class Service:
    """The compactor, until it is ended."""

    def __init__(self, config: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command(config), stdout=output, stderr=output)

    @property
    def url(self) -> str | None:
        found = re.search(r"telemetry=\S*?(http://[0-9.:]+)", re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text()))
        return found[1] if found else None

    def metrics(self) -> dict[str, float]:
        lines = ask(f"{self.url}/metrics").splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("daedalus_compactor"))
        return {name: float(value) for name, value in pairs}

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@pytest.fixture
def service(tmp_path: Path, lake: LocalDisk):
    config = config_file(tmp_path, tmp_path / "lake", every_seconds=1.0, grace_seconds=1.0)
    running = Service(config, tmp_path / "log")
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def test_the_service_merges_deletes_tells_and_stops_when_asked(
    tmp_path: Path, lake: LocalDisk, service: Service
) -> None:
    before, objects = seqs(tmp_path), len(keys_of(lake))
    wait_until(lambda: service.url is not None, "telemetry")
    wait_until(lambda: len(keys_of(lake)) == 5, "merged lake")
    wait_until(lambda: service.metrics()["daedalus_compactor_passes_total"] >= 3, "three passes")
    found = service.metrics()
    layers = ("bronze", "quality")
    for name in ("merged", "deleted"):
        assert sum(found[f'daedalus_compactor_{name}_objects_total{{layer="{layer}"}}'] for layer in layers) == objects
    assert found['daedalus_compactor_made_objects_total{layer="bronze"}'] == 4
    assert found['daedalus_compactor_made_bytes_total{layer="bronze"}'] > 1_000
    for name in ("backlog_objects", "covered_objects"):
        assert found[f'daedalus_compactor_{name}{{layer="bronze"}}'] == 0
    assert found["daedalus_compactor_backlog_oldest_seconds"] == 0
    assert not any(value for name, value in found.items() if name.startswith("daedalus_compactor_failures_total"))
    assert abs(found["daedalus_compactor_last_pass_timestamp_seconds"] - time.time()) < 30
    assert '"ready": true' in ask(f"{service.url}/readyz")
    assert service.end() == 0
    assert seqs(tmp_path) == before


def test_one_that_is_switched_off_is_well_and_merges_nothing(tmp_path: Path, lake: LocalDisk) -> None:
    before = keys_of(lake)
    running = Service(config_file(tmp_path, tmp_path / "lake", enabled=False), tmp_path / "log")
    try:
        wait_until(lambda: running.url is not None and "enabled is false" in running.log.read_text(), "word of it")
        wait_until(lambda: '"ready": true' in ask(f"{running.url}/readyz"), "readiness")
        assert running.end() == 0
    finally:
        running.process.kill()
        running.process.wait()
    assert keys_of(lake) == before


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_loses_and_doubles_nothing(tmp_path: Path, lake: LocalDisk, seed: int) -> None:
    """Several times in a row, from when it begins to change something on; the last one goes to the end."""
    chance = random.Random(seed)
    config = config_file(tmp_path, tmp_path / "lake", grace_seconds=0)
    before, objects = seqs(tmp_path), len(keys_of(lake))
    for _ in range(2):
        there = keys_of(lake)
        process = subprocess.Popen(command(config, "--once"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Until the first object is made or deleted, and then a moment more.
        deadline = time.monotonic() + 30
        while process.poll() is None and keys_of(lake) == there and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.15))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
        assert seqs(tmp_path) == before
    for _ in range(2):
        compact_once(config)
        assert seqs(tmp_path) == before
    assert len(keys_of(lake)) == 5 < objects
