"""The disk of the fault harness: full and read-only, under plain files, the local store and Valkey."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from daedalus_common.stores import CreateResult, LocalDisk, StoreError
from faults.tools.disk import FaultyDisk
from support.valkey import NO_RETRY, ValkeyServer

MIB = 1 << 20
WAIT_SECONDS = 20.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FaultyDisk]:
    reason = FaultyDisk.missing()
    if reason is not None:
        pytest.skip(reason)
    with FaultyDisk(tmp_path / "disk", 16, logs=lambda: tmp_path.rglob("*.log")) as disk:
        yield disk


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_mounted(folder: Path) -> bool:
    return f" {folder} " in Path("/proc/self/mounts").read_text()


def test_a_full_disk_refuses_the_next_write_and_takes_it_when_healed(disk: FaultyDisk) -> None:
    path = disk.folder / "file"
    path.write_bytes(bytes(3 * MIB))
    assert 12 * MIB < disk.free_bytes < 14 * MIB
    disk.full()
    assert disk.free_bytes == 0
    with path.open("ab") as opened, pytest.raises(OSError, match="No space left") as error:
        os.write(opened.fileno(), bytes(10_000))
    assert error.value.errno == errno.ENOSPC
    assert path.stat().st_size == 3 * MIB
    disk.heal()
    path.write_bytes(bytes(10 * MIB))


def test_a_full_disk_has_room_again_where_a_file_is_deleted(disk: FaultyDisk) -> None:
    (disk.folder / "old").write_bytes(bytes(MIB))
    disk.full()
    (disk.folder / "old").unlink()
    (disk.folder / "new").write_bytes(bytes(MIB))
    with pytest.raises(OSError, match="No space left"):
        (disk.folder / "more").write_bytes(bytes(MIB))


def test_an_empty_disk_can_be_full(disk: FaultyDisk) -> None:
    disk.full()
    with pytest.raises(OSError, match="No space left"):
        (disk.folder / "file").write_bytes(bytes(10_000))


def test_a_disk_becomes_full_under_a_writer(disk: FaultyDisk) -> None:
    writes = "import sys\nwith open(sys.argv[1], 'ab', 0) as f:\n while True: f.write(bytes(997))"
    writer = subprocess.Popen([sys.executable, "-c", writes, str(disk.folder / "grows")], stderr=subprocess.PIPE)
    wait_until(lambda: (disk.folder / "grows").exists() and (disk.folder / "grows").stat().st_size > 0)
    disk.full()
    assert b"No space left" in writer.communicate(timeout=WAIT_SECONDS)[1]


def test_a_read_only_disk_refuses_every_change_and_can_be_read(disk: FaultyDisk) -> None:
    path = disk.folder / "file"
    path.write_bytes(b"before")
    disk.read_only()
    disk.read_only()
    for change in (
        lambda: path.write_bytes(b"after"),
        lambda: (disk.folder / "new").touch(),
        lambda: path.rename(disk.folder / "moved"),
        path.unlink,
        lambda: (disk.folder / "folder").mkdir(),
    ):
        with pytest.raises(OSError, match="Read-only") as error:
            change()
        assert error.value.errno == errno.EROFS
    assert path.read_bytes() == b"before"
    disk.heal()
    path.write_bytes(b"after")


def test_a_disk_becomes_read_only_while_a_file_is_open(disk: FaultyDisk) -> None:
    with (disk.folder / "open").open("wb", 0) as opened:
        opened.write(b"1")
        disk.read_only()
        opened.write(b"2")
        with pytest.raises(OSError, match="Read-only"):
            (disk.folder / "other").open("wb")
        disk.heal()
        opened.write(b"3")
    assert (disk.folder / "open").read_bytes() == b"123"


def test_one_fault_can_follow_the_other(disk: FaultyDisk) -> None:
    for _ in range(3):
        disk.read_only()
        disk.full()
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "file").write_bytes(bytes(10_000))
        disk.read_only()
        with pytest.raises(OSError, match="Read-only"):
            (disk.folder / "file").write_bytes(bytes(10_000))
        disk.heal()
        (disk.folder / "file").write_bytes(bytes(10_000))
        (disk.folder / "file").unlink()


@pytest.mark.parametrize("fault", ["full", "read_only"])
def test_the_local_store_refuses_and_goes_on_when_healed(disk: FaultyDisk, fault: str) -> None:
    store = LocalDisk(disk.folder / "lake")
    assert store.create("a/before", b"body", {}) is CreateResult.CREATED
    getattr(disk, fault)()
    with pytest.raises(StoreError):
        store.create("a/while", bytes(MIB), {})
    assert store.read("a/before") == b"body"
    disk.heal()
    assert store.create("a/while", bytes(MIB), {}) is CreateResult.CREATED


def test_valkey_refuses_writes_while_the_disk_of_its_file_is_full(disk: FaultyDisk, tmp_path: Path) -> None:
    with (
        ValkeyServer(tmp_path / "valkey", options=("--dir", str(disk.folder))) as server,
        redis.Redis(port=server.port, socket_timeout=5, retry=NO_RETRY) as client,
    ):
        client.set("before", 1)
        assert disk.hits == 0
        disk.full()

        def is_refused() -> bool:
            try:
                client.set("while", bytes(10_000))
            except redis.ResponseError as error:
                return "MISCONF" in str(error)
            return False

        wait_until(is_refused)
        assert client.get("before") == b"1"
        assert client.info("persistence")["aof_last_write_status"] == "err"
        wait_until(lambda: disk.hits > 0)
        disk.heal()
        wait_until(lambda: not is_refused())
        assert client.info("persistence")["aof_last_write_status"] == "ok"
        server.restart()
        assert client.get("before") == b"1"
        assert client.strlen("while") == 10_000


def test_refused_writes_are_counted_from_the_logs(disk: FaultyDisk, tmp_path: Path) -> None:
    with (tmp_path / "service.log").open("w") as log:
        log.write("OSError: [Errno 28] No space left on device\n")
        log.flush()
        assert disk.hits == 1
        log.write("fine\n[Errno 30] Read-only file sys")
        log.flush()
        assert disk.hits == 1
        log.write("tem: 'x'\n")
        log.flush()
        assert disk.hits == 2


def test_closing_takes_the_file_system_away_also_under_a_fault_and_an_open_file(tmp_path: Path) -> None:
    if reason := FaultyDisk.missing():
        pytest.skip(reason)
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "hidden").touch()
    disk = FaultyDisk(folder, 1)
    assert is_mounted(folder)
    assert not (folder / "hidden").exists()
    with (folder / "open").open("wb"):
        disk.read_only()
        disk.close()
        disk.close()
        disk.heal()
    assert not is_mounted(folder)
    assert [path.name for path in folder.iterdir()] == ["hidden"]


def test_a_process_that_fails_leaves_no_file_system_behind(tmp_path: Path) -> None:
    if reason := FaultyDisk.missing():
        pytest.skip(reason)
    script = f"from pathlib import Path\nfrom faults.tools.disk import FaultyDisk\n\
disk = FaultyDisk(Path({str(tmp_path / 'disk')!r}), 1)\ndisk.read_only()\n1 / 0"
    tests = Path(__file__).resolve().parents[1]
    found = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(tests)}, capture_output=True, check=False
    )
    assert b"ZeroDivisionError" in found.stderr
    assert not is_mounted(tmp_path / "disk")


def test_in_a_namespace_of_its_own_even_a_killed_process_leaves_nothing_behind(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
from faults.tools.disk import FaultyDisk, enter_private_namespace
reason = enter_private_namespace() or FaultyDisk.missing()
if reason:
    sys.exit(reason)
disk = FaultyDisk(Path({str(tmp_path / "disk")!r}), 1)
disk.full()
try:
    (disk.folder / "file").write_bytes(bytes(10_000))
except OSError as error:
    print(error.errno, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    tests = Path(__file__).resolve().parents[1]
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(tests)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode == 1:
        pytest.skip(found.stderr.strip())
    assert (found.returncode, found.stdout.strip()) == (-9, str(errno.ENOSPC))
    assert not is_mounted(tmp_path / "disk")
    assert list((tmp_path / "disk").iterdir()) == []
