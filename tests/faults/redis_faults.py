"""Faults of Redis."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

from faults.cells import Trial
from faults.progress import id_of
from faults.rig import Rig
from faults.tools.tcp_proxy import TcpProxy

_ADDED = re.compile(rb"XADD\r\n\$\d+\r\n[^\r]+\r\n(?:\$\d+\r\n[A-Z~=]+\r\n)*\$\d+\r\n(\d{13})-\d+\r\n")
"""In an append-only file: the milliseconds of an entry's id."""
PAUSE_MS = 2000
"""For a look at the ends of 12 streams, which takes some ms."""


@contextmanager
def killed(rig: Rig, rng: Random) -> Iterator[Trial]:
    """kill -9 and a start from the append-only file.

    While a sync is under way the server puts off writing that file, for up to 2 s: then the newest entries are lost.
    """
    trial = Trial()
    rig.client.client_pause(PAUSE_MS, all=False)  # nothing is written between the look and the end
    before = rig.progress.ends().ids
    rig.stack.valkey.kill()
    try:
        yield trial
    finally:
        rig.redis_proxy.reset(keep_on=True)  # nor between the start and the look
        try:
            rig.stack.valkey.start()
            trial.lost_from_ns = oldest_lost_ns(before, rig.progress.ends().ids)
        finally:
            rig.redis_proxy.heal()


def oldest_lost_ns(before: Mapping[str, str], after: Mapping[str, str]) -> int | None:
    """The time of the newest entry that is left in a stream that goes less far than before; None: all do."""
    left = [id_of(after[key]) for key, id_ in before.items() if id_of(after[key]) < id_of(id_)]
    return min(left)[0] * 1_000_000 if left else None


@contextmanager
def restarted(rig: Rig, rng: Random) -> Iterator[Trial]:
    """SIGTERM and a start."""
    rig.stack.valkey.stop()
    try:
        yield Trial()
    finally:
        rig.stack.valkey.start()


@contextmanager
def frozen(rig: Rig, rng: Random) -> Iterator[Trial]:
    """SIGSTOP: connections stay open and nothing is answered."""
    rig.stack.valkey.pause()
    try:
        yield Trial()
    finally:
        rig.stack.valkey.resume()


def proxy_of(rig: Rig) -> TcpProxy:
    """What stands before Redis."""
    return rig.redis_proxy


@contextmanager
def out_of_memory(rig: Rig, rng: Random) -> Iterator[Trial]:
    """`maxmemory` is what the server uses already, with the policy noeviction: it refuses whatever needs memory."""
    refused = _refused(rig)
    used = int(rig.client.info("memory")["used_memory"])
    rig.client.config_set("maxmemory", max(1, used - 1024 * 1024))
    try:
        yield Trial(touched=lambda: _refused(rig) - refused)
    finally:
        rig.client.config_set("maxmemory", 0)


def _refused(rig: Rig) -> int:
    found = rig.client.info("errorstats").get("errorstat_OOM", {"count": 0})
    return int(found["count"])


@contextmanager
def disk_full(rig: Rig, rng: Random) -> Iterator[Trial]:
    """The disk of the append-only file is full: the server refuses to write what it could not keep."""
    disk = rig.aof_disk
    assert disk is not None
    hits = disk.hits
    disk.full()
    try:
        yield Trial(touched=lambda: disk.hits - hits)
    finally:
        disk.heal()


@contextmanager
def clock_jumped(rig: Rig, rng: Random) -> Iterator[Trial]:
    """The server's wall clock goes forward or back."""
    clock = rig.server_clock
    assert clock is not None
    hits = clock.hits
    clock.jump(rng.choice([-1, 1]) * rng.uniform(1.0, 30.0))
    try:
        yield Trial(touched=lambda: clock.hits - hits)
    finally:
        clock.heal()


@contextmanager
def tail_lost(rig: Rig, rng: Random) -> Iterator[Trial]:
    """kill -9, and the newest part of the append-only file is gone, as after a power cut or a fail-over."""
    valkey = rig.stack.valkey
    time.sleep(rng.uniform(0.2, 0.8))
    valkey.kill()
    killed_ns = time.time_ns()
    cut = _cut(rig.aof_folder, rng.randint(20_000, 200_000))
    try:
        yield Trial(touched=lambda: len(cut), lost_from_ns=_oldest_entry_ns(cut) or killed_ns)
    finally:
        valkey.start()


def _cut(folder: Path, count: int) -> bytes:
    """Takes the last `count` bytes off the newest append-only file; the server cuts half a command at its end."""
    path = max(folder.glob("appendonlydir/*.incr.aof"), key=lambda path: path.stat().st_mtime_ns)
    size = path.stat().st_size
    left = max(size // 2, size - count)
    with path.open("rb") as file:
        file.seek(left)
        lost = file.read()
    os.truncate(path, left)
    return lost


def _oldest_entry_ns(lost: bytes) -> int | None:
    """The time in the ids of the entries that were added there: where little happens, few bytes are many seconds."""
    ids = [int(found[1]) for found in _ADDED.finditer(lost)]
    return min(ids) * 1_000_000 if ids else None
