"""What the fault harness does to processes, done to real ones."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from faults.tools.processes import (
    FileCountLimit,
    FileSizeLimit,
    MemoryLimit,
    kill,
    open_files,
    pause,
    resume,
    rss_bytes,
    usage,
)
from support.valkey import NO_RETRY, ValkeyServer

WAIT_SECONDS = 20.0
MIB = 1 << 20

TAKES = """
import sys, time
kept, log = [], open("took.log", "a", buffering=1)
for line in sys.stdin:
    what, _, number = line.strip().partition(" ")
    try:
        if what == "memory":
            kept.append(bytearray(int(number)))
            kept[-1][::4096] = b"x" * len(kept[-1][::4096])
        elif what == "files":
            kept += [open("/dev/null") for _ in range(int(number))]
        elif what == "size":
            with open("big", "wb") as big:
                big.write(bytes(int(number)))
        elif what == "spin":
            end = time.process_time() + float(number)
            while time.process_time() < end:
                pass
        print("done", flush=True)
    except (MemoryError, OSError) as error:
        log.write(f"{type(error).__name__} {error}\\n")
        print(type(error).__name__, flush=True)
"""


class Taker:
    """A Python process that takes what it is told to, and writes refusals to its log."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "took.log"
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )
        self.pid = self.process.pid

    def take(self, what: str, number: float) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what} {number}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Taker]:
    taker = Taker(tmp_path)
    assert taker.take("memory", 1) == "done"
    yield taker
    taker.process.kill()
    taker.process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def fill(client: redis.Redis) -> None:
    for number in range(100):
        client.set(f"key{number}", bytes(MIB))


def test_a_paused_server_answers_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    with (
        ValkeyServer(tmp_path) as server,
        redis.Redis(port=server.port, socket_timeout=10, retry=NO_RETRY) as client,
        redis.Redis(port=server.port, socket_timeout=0.3, retry=NO_RETRY) as hasty,
    ):
        assert client.ping()
        pause(server.pid)
        with pytest.raises(redis.TimeoutError):
            hasty.ping()
        resume(server.pid)
        assert client.ping()


def test_a_paused_process_can_be_killed(taker: Taker) -> None:
    pause(taker.pid)
    kill(taker.pid)
    assert taker.process.wait(WAIT_SECONDS) == -9
    with pytest.raises(psutil.NoSuchProcess):
        usage(taker.pid)


def test_usage_counts_memory_files_threads_and_processor_time(taker: Taker) -> None:
    before = usage(taker.pid)
    assert taker.take("memory", 30 * MIB) == "done"
    assert taker.take("files", 7) == "done"
    assert taker.take("spin", 0.1) == "done"
    after = usage(taker.pid)
    assert 29 * MIB < after.rss_bytes - before.rss_bytes < 40 * MIB
    assert after.open_files - before.open_files == 7
    assert after.cpu_seconds - before.cpu_seconds >= 0.09
    assert after.threads == before.threads == 1
    assert (rss_bytes(taker.pid), open_files(taker.pid)) == (after.rss_bytes, after.open_files)


def test_usage_includes_the_children() -> None:
    parent = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"])
    try:
        wait_until(lambda: len(psutil.Process(parent.pid).children()) == 2)
        assert usage(parent.pid).threads == 3
    finally:
        for child in psutil.Process(parent.pid).children():
            child.kill()
        parent.kill()
        parent.wait()


def test_a_memory_limit_refuses_what_exceeds_the_headroom(taker: Taker) -> None:
    limit = MemoryLimit(lambda: [taker.log])
    limit.limit(taker.pid, 30 * MIB)
    assert limit.hits == 0
    assert taker.take("memory", 5 * MIB) == "done"
    assert taker.take("memory", 50 * MIB) == "MemoryError"
    assert limit.hits == 1
    limit.heal(taker.pid)
    assert taker.take("memory", 50 * MIB) == "done"
    assert limit.hits == 1


def test_a_server_that_dies_of_its_memory_limit_counts_as_hit(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server, MemoryLimit() as limit:
        limit.limit(server.pid, 20 * MIB)
        with (
            redis.Redis(port=server.port, socket_timeout=5, retry=NO_RETRY) as client,
            # While it writes its report it is silent; where that takes long the client does not wait for the end.
            pytest.raises((redis.ConnectionError, redis.TimeoutError)),
        ):
            fill(client)
        wait_until(lambda: limit.hits == 1)
        limit.heal()
        assert limit.hits == 1


def test_a_limit_on_the_number_of_files_refuses_the_next_one(taker: Taker) -> None:
    with FileCountLimit(lambda: [taker.log]) as limit:
        limit.limit(taker.pid, 5)
        assert taker.take("files", 50) == "OSError"
        assert limit.hits == 1
        limit.heal()
        assert taker.take("files", 50) == "done"


def test_a_limit_on_the_size_of_files_refuses_what_exceeds_it(taker: Taker) -> None:
    with FileSizeLimit(lambda: [taker.log]) as limit:
        limit.limit(taker.pid, 10_000)
        assert taker.take("size", 5_000) == "done"
        assert taker.take("size", 50_000) == "OSError"
        assert limit.hits == 1
    assert taker.take("size", 50_000) == "done"


def test_a_limit_set_twice_is_healed_to_what_was_first(taker: Taker) -> None:
    with FileCountLimit() as limit:
        first = psutil.Process(taker.pid).rlimit(psutil.RLIMIT_NOFILE)
        limit.limit(taker.pid, 5)
        limit.limit(taker.pid, 10)
        assert psutil.Process(taker.pid).rlimit(psutil.RLIMIT_NOFILE) != first
        limit.heal()
        limit.heal()
        assert psutil.Process(taker.pid).rlimit(psutil.RLIMIT_NOFILE) == first


def test_a_process_that_ended_cannot_be_limited(taker: Taker) -> None:
    kill(taker.pid)
    taker.process.wait()
    with pytest.raises((ProcessLookupError, psutil.NoSuchProcess)):
        MemoryLimit().limit(taker.pid, MIB)
