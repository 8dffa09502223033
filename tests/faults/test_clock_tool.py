"""The jumping clock of the fault harness, in Python processes, in Valkey and in a service."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from faults.tools.clock import FakeClock
from support.stack import Stack
from support.valkey import ValkeyServer

WAIT_SECONDS = 20.0

LOOKS = """
import asyncio, datetime, json, queue, sys, threading, time
import uvloop

def waiting(act):
    started = time.perf_counter()
    act()
    return time.perf_counter() - started

def get():
    try:
        queue.Queue().get(timeout=0.1)
    except queue.Empty:
        pass

def look():
    return {
        "time": time.time(), "datetime": datetime.datetime.now(datetime.UTC).timestamp(), "monotonic": time.monotonic(),
        "sleep": waiting(lambda: time.sleep(0.1)), "event": waiting(lambda: threading.Event().wait(0.1)),
        "queue": waiting(get), "asyncio": waiting(lambda: asyncio.run(asyncio.sleep(0.1))),
        "uvloop": waiting(lambda: uvloop.run(asyncio.sleep(0.1))),
    }

for _ in sys.stdin:
    print(json.dumps(look()), flush=True)
"""


@pytest.fixture
def clock(tmp_path: Path) -> FakeClock:
    reason = FakeClock.missing()
    if reason is not None:
        pytest.skip(reason)
    return FakeClock(tmp_path / "clock")


@pytest.fixture
def look(clock: FakeClock) -> Iterator[Callable[[], dict[str, float]]]:
    """What a Python process under the clock sees of time."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOOKS],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clock.environment(),
    )  # fmt: skip

    def ask() -> dict[str, float]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("look\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.kill()
    process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_running_python_process_sees_the_jumps_and_its_timeouts_stay_true(
    clock: FakeClock, look: Callable[[], dict[str, float]]
) -> None:
    offset = 0.0
    for jump in (0.0, 30.0, -60.0, 3630.0):
        clock.jump(jump)
        offset += jump
        seen = look()
        assert abs(seen["time"] - time.time() - offset) < 5
        assert abs(seen["datetime"] - seen["time"]) < 1
        assert abs(seen["monotonic"] - time.monotonic()) < 5
        for way in ("sleep", "event", "queue", "asyncio", "uvloop"):
            assert 0.09 < seen[way] < 2, way
    assert clock.hits == 4
    clock.heal()
    assert abs(look()["time"] - time.time()) < 5
    assert clock.offset_seconds == 0


def test_a_running_server_sees_the_jumps_in_its_scripts_too(clock: FakeClock, tmp_path: Path) -> None:
    with (
        ValkeyServer(tmp_path / "valkey", env=clock.environment()) as server,
        redis.Redis(port=server.port, socket_timeout=5) as client,
    ):
        client.set("short", "x", px=60_000)
        first = client.xadd("log", {"a": 1})
        for jump, offset in ((30, 30), (-60, -30), (3630, 3600)):
            clock.jump(jump)
            assert abs(client.time()[0] - time.time() - offset) < 3
            assert abs(int(client.eval("return redis.call('TIME')[1]", 0)) - time.time() - offset) < 3
            second = client.xadd("log", {"a": 1})
            assert second > first
            first = second
        assert client.exists("short") == 0
        assert clock.hits == 3
        # A client's patience and the server's own rhythm stand on monotonic time.
        started = time.monotonic()
        assert client.blpop(["nothing"], timeout=0.3) is None
        assert time.monotonic() - started < 3


def test_a_process_without_the_clock_is_not_counted(clock: FakeClock) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        clock.jump(1)
        assert clock.hits == 0
    finally:
        other.kill()
        other.wait()


def test_a_process_that_begins_while_the_clock_is_wrong_is_counted(clock: FakeClock) -> None:
    clock.jump(30)
    assert clock.hits == 0
    late = subprocess.Popen(["sleep", "60"], env={**os.environ, **clock.environment()})
    try:
        deadline = time.monotonic() + 10
        while not clock.hits and time.monotonic() < deadline:
            time.sleep(0.05)
        assert clock.hits == 1
        clock.heal()
        assert clock.hits == 1
    finally:
        late.kill()
        late.wait()


def test_a_service_under_the_clock_keeps_its_lease_over_jumps(clock: FakeClock, tmp_path: Path) -> None:
    config = {
        "ccxt": {"exchanges": {"binanceus": {"channels": {"watchTrades": ["BTC/USDT"]}}}},
        "leases": {"ttl_seconds": 2.0, "renew_seconds": 0.5},
    }
    with Stack(tmp_path / "stack", config) as stack:
        writer = stack.start("writer", env=clock.environment())
        stack.wait_until(lambda: bool(writer.taken), "the writer owns the market")
        for jump in (3600, -7200, 3600):
            clock.jump(jump)
            assert clock.processes() == [writer.pid]
            time.sleep(1.0)
            assert writer.running
        assert clock.hits == 3
        assert "lease lost" not in writer.log.read_text()
        assert writer.stop() == 0
