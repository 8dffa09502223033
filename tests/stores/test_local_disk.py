"""Local disk: what only a file system can do to a store."""

import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daedalus_common.stores import (
    CreateResult,
    LocalDisk,
    StoreDenied,
    StoreFull,
    StoreMisconfigured,
    StoreSettings,
    StoreUnavailable,
    open_store,
)

CREATED, EXISTS = CreateResult.CREATED, CreateResult.EXISTS

WRITER = """
import hashlib, random, sys, threading
from pathlib import Path
from daedalus_common.stores import LocalDisk

store = LocalDisk(Path(sys.argv[1]))
lock = threading.Lock()

def write(thread):
    chance = random.Random()
    for number in range(100_000):
        body = chance.randbytes(1000) * 4_000
        key = f"thread={thread}/{number // 10}/{hashlib.sha256(body).hexdigest()}.parquet"
        store.create(key, body, {})
        with lock:
            print(key, flush=True)

for thread in range(4):
    threading.Thread(target=write, args=(thread,)).start()
"""

RACER = """
import sys
from pathlib import Path
from daedalus_common.stores import CreateResult, LocalDisk

store = LocalDisk(Path(sys.argv[1]), fsync=False)
print("ready", flush=True)
sys.stdin.readline()
keys = [f"race/{number}" for number in range(500)]
print(*[key for key in keys if store.create(key, sys.argv[2].encode(), {}) is CreateResult.CREATED])
"""

NOBODY = """
import os, sys
from pathlib import Path
from daedalus_common.stores import LocalDisk, StoreDenied

if os.geteuid() == 0:
    os.setuid(65534)
try:
    LocalDisk(Path(sys.argv[1]), role="storage.ingestion_storage").probe()
except StoreDenied as error:
    print(error)
"""


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") and path.name.endswith(".tmp")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_kill_in_the_middle_of_many_creates_leaves_whole_objects_only(tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(8):
        folder = tmp_path / str(number)
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        reported = [process.stdout.readline().strip()]
        time.sleep(chance.uniform(0.0, 0.05))
        process.kill()
        reported += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()

        store = LocalDisk(folder)
        listed = [info.key for info in store.list()]
        assert all(hashlib.sha256(store.read(key)).hexdigest() == Path(key).stem for key in listed)
        assert set(reported) <= set(listed)
        assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")) == listed
        shutil.rmtree(folder)  # some 50 MB


def test_unfinished_files_older_than_an_hour_are_removed_at_startup(tmp_path: Path) -> None:
    folder = tmp_path / "bronze" / "hour=14"
    folder.mkdir(parents=True)
    names = (".daedalus-new-aa.tmp", ".daedalus-probe-bb.tmp", ".somebody-elses.tmp", "segment.parquet")
    for name in names:
        (folder / name).write_bytes(b"half")
    now = (folder / names[0]).stat().st_mtime

    young = LocalDisk(tmp_path, clock=lambda: now + 3590).probe()
    assert young.notes == ()
    assert len(unfinished(tmp_path)) == 3
    old = LocalDisk(tmp_path, clock=lambda: now + 3660).probe()
    assert "removed 2 unfinished files" in old.notes[0]
    assert sorted(path.name for path in folder.iterdir()) == [".somebody-elses.tmp", "segment.parquet"]


def test_unfinished_files_are_not_objects(tmp_path: Path) -> None:
    store = LocalDisk(tmp_path)
    store.create("a/1", b"", {})
    (tmp_path / "a" / ".daedalus-new-aa.tmp").write_bytes(b"half")
    assert [info.key for info in store.list()] == ["a/1"]


def test_files_whose_names_are_not_unicode_are_not_objects(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"")
    store = LocalDisk(tmp_path)
    store.create("a", b"", {})
    assert [info.key for info in store.list()] == ["a"]


def test_of_several_processes_one_creates(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abcd"
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = {name: racer.communicate(timeout=60)[0].split() for name, racer in zip("abcd", racers, strict=True)}
    assert sorted(key for keys in won.values() for key in keys) == sorted(f"race/{number}" for number in range(500))
    assert sum(bool(keys) for keys in won.values()) > 1, "they did not meet"
    store = LocalDisk(tmp_path)
    assert all(store.read(key) == name.encode() for name, keys in won.items() for key in keys)
    assert unfinished(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_whole_objects_only(small_disk: Path) -> None:
    store = LocalDisk(small_disk / "lake", role="storage.ingestion_storage")
    body = b"x" * 200_000

    def fill() -> None:
        for number in range(10):
            store.create(f"a/{number}", body, {})

    with pytest.raises(StoreFull, match=r"No space left.*free some space.*ingestion_storage\.base_dir") as full:
        fill()
    assert full.value.retryable
    assert unfinished(small_disk) == []
    listed = [info.key for info in store.list()]
    assert 3 <= len(listed) <= 5
    assert all(store.read(key) == body for key in listed)

    assert store.create("a/0", body, {}) is EXISTS
    (small_disk / "lake" / "a" / "0").unlink()
    assert store.create("a/9", body, {}) is CREATED


def test_a_read_only_disk_is_told(small_disk: Path) -> None:
    store = LocalDisk(small_disk)
    store.create("a", b"x", {})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreDenied, match=r"cannot create b: Read-only file system.*set storage\.base_dir"):
        store.create("b", b"x", {})
    with pytest.raises(StoreDenied, match="Read-only"):
        store.probe()
    assert store.read("a") == b"x"


def test_a_directory_without_the_right_to_write_is_told(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    command = [sys.executable, "-c", NOBODY, str(locked / "lake")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cannot keep objects there: Permission denied" in said
    assert f"local disk {locked}/lake" in said
    assert "user id" in said
    assert "set storage.ingestion_storage.base_dir to a directory where it may" in said


@pytest.mark.parametrize("below", [".", "deeper/still"])
def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("I was here first")
    store = LocalDisk(tmp_path / "file" / below)
    with pytest.raises(StoreMisconfigured, match=r"file.*set storage\.base_dir to a directory"):
        store.probe()
    with pytest.raises(StoreMisconfigured):
        store.create("a", b"", {})
    assert store.head("a") is None
    assert list(store.list()) == []
    assert (tmp_path / "file").read_text() == "I was here first"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file of /proc that opens and cannot be read")
def test_a_disk_that_fails_while_an_object_is_read_is_a_reason_to_wait(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("/proc/self/mem")  # opens, and its first byte is an error of input
    disk = LocalDisk(tmp_path)
    with pytest.raises(StoreUnavailable, match="cannot read x: Input/output error; check the disk"):
        disk.read("x")
    with disk.open_input("x") as file, pytest.raises(StoreUnavailable, match="Input/output error"):
        file.read(8)


def test_a_directory_in_the_place_of_an_object_is_told(tmp_path: Path) -> None:
    store = LocalDisk(tmp_path)
    store.create("a/b", b"", {})
    with pytest.raises(StoreMisconfigured, match="Is a directory"):
        store.create("a", b"", {})
    with pytest.raises(StoreMisconfigured):
        store.create("a/b/c", b"", {})
    assert unfinished(tmp_path) == []


def test_a_file_system_without_links_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:  # what FAT and exFAT answer
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreMisconfigured, match=r"no hard links.*ext4, xfs or btrfs"):
        LocalDisk(tmp_path).probe()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_removed_under_our_hands_is_made_again(tmp_path: Path) -> None:
    store = LocalDisk(tmp_path)
    store.create("day=3/a", b"", {})
    (tmp_path / "day=3" / "a").unlink()
    (tmp_path / "day=3").rmdir()
    assert store.create("day=3/b", b"x", {}) is CREATED
    assert store.read("day=3/b") == b"x"


def test_objects_are_readable_to_other_users_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        LocalDisk(tmp_path).create("a/b", b"", {})
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


class Syncs:
    """Which files and folders were synced, in order; the real fsync runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        self._fsync(descriptor)

    def names(self, base: Path) -> list[str]:
        relative = [Path(path).relative_to(base) for path in self.paths]
        self.paths.clear()
        return ["unfinished" if path.name.endswith(".tmp") else path.as_posix() for path in relative]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to tell which files are synced")
def test_a_create_syncs_new_folders_then_the_bytes_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    store = LocalDisk(tmp_path / "lake")
    store.create("day=3/hour=1/a", b"x", {})
    assert syncs.names(tmp_path) == [".", "lake", "lake/day=3", "unfinished", "lake/day=3/hour=1"]
    store.create("day=3/hour=1/b", b"x", {})
    assert syncs.names(tmp_path) == ["unfinished", "lake/day=3/hour=1"]
    # What another process made it may not have synced before it died.
    LocalDisk(tmp_path / "lake").create("day=3/hour=1/b", b"x", {})
    assert syncs.names(tmp_path) == [
        *("lake", "lake/day=3"),
        *("lake/day=3/hour=1/b", "lake/day=3/hour=1"),
    ]


def test_without_fsync_nothing_is_synced_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    store = LocalDisk(tmp_path / "lake", fsync=False)
    report = store.probe()
    store.create("a/b", b"", {})
    assert syncs.paths == []
    assert "fsync is off" in report.notes[0]


def test_a_failing_disk_is_a_reason_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = LocalDisk(tmp_path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreUnavailable, match="Input/output error") as failed:
        store.create("a", b"", {})
    assert failed.value.retryable
    monkeypatch.undo()
    assert store.create("a", b"", {}) is CREATED


def test_the_report_says_where_and_how_much_is_free(tmp_path: Path) -> None:
    store = open_store(StoreSettings(backend="local", base_dir=tmp_path / "new" / "lake"))
    report = store.probe()
    assert report.backend == "local"
    assert report.location == f"local disk {tmp_path}/new/lake"
    assert report.free_bytes is not None
    assert report.free_bytes > 0
    assert (tmp_path / "new" / "lake").is_dir()
