"""Each service tells of its Redis servers' memory, append-only file and clock, and of the disks that it writes to."""

import asyncio
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from daedalus_common.broker.client import connect
from daedalus_common.surroundings import ServerWatch, judge, watch_disk, watched
from support.valkey import ValkeyServer
from support.valkey_cluster import ValkeyCluster

MIB = 2**20


def told(name: str, node: str) -> float | None:
    return REGISTRY.get_sample_value(f"daedalus_redis_{name}", {"node": node})


def shifted(seconds: float) -> float:
    return time.time() + seconds


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey", ("--maxmemory", "64mb")) as server:
        yield server


@pytest.fixture
async def client(server: ValkeyServer):
    async with connect(server.url) as client:
        yield client


async def test_memory_its_limit_and_the_append_only_file_are_those_of_the_server(server: ValkeyServer, client: Redis):
    node = f"127.0.0.1:{server.port}"
    await client.set("something", b"x" * 10 * MIB)
    watch = ServerWatch(client)
    await watch.look()
    assert 10 * MIB < (told("memory_used_bytes", node) or 0) < 40 * MIB
    assert told("memory_limit_bytes", node) == 64 * MIB
    assert told("append_only_ok", node) == 1
    await client.config_set("appendonly", "no")
    await watch.look()
    assert told("append_only_ok", node) == 0
    watch.forget()
    assert told("memory_used_bytes", node) is None


async def test_a_clock_that_is_ahead_or_behind_is_told_with_its_sign(server: ValkeyServer, client: Redis):

    node = f"127.0.0.1:{server.port}"
    for offset in (0.0, 7.0, -3.0):
        watch = ServerWatch(client, partial(shifted, offset))
        await watch.look()
        assert told("clock_offset_seconds", node) == pytest.approx(offset, abs=1.4)
    watch.forget()


async def test_of_a_server_that_is_away_nothing_is_told(server: ValkeyServer, client: Redis):
    node = f"127.0.0.1:{server.port}"
    watch = ServerWatch(client)
    await watch.look()
    assert told("memory_used_bytes", node) is not None
    server.stop()
    await watch.look()
    assert told("memory_used_bytes", node) is None
    assert told("clock_offset_seconds", node) is None
    server.start()
    await watch.look()
    assert told("memory_used_bytes", node) is not None
    watch.forget()


async def test_where_info_is_forbidden_the_clock_is_told_alone(server: ValkeyServer, client: Redis):
    await client.execute_command("ACL", "SETUSER", "narrow", "on", ">word", "-@all", "+time", "+client|setinfo")
    node = f"127.0.0.1:{server.port}"
    async with connect(server.url, "narrow", "word") as narrow:
        watch = ServerWatch(narrow)
        await watch.look()
    assert told("clock_offset_seconds", node) is not None
    assert told("memory_used_bytes", node) is None
    watch.forget()


async def test_a_service_tells_while_it_runs_and_no_longer(server: ValkeyServer, client: Redis):

    node = f"127.0.0.1:{server.port}"
    async with watched(client):
        for _ in range(500):
            if told("memory_limit_bytes", node) is not None:
                break
            await asyncio.sleep(0.01)
        assert told("memory_limit_bytes", node) == 64 * MIB
    assert told("memory_limit_bytes", node) is None


async def test_of_a_cluster_each_master_is_told(tmp_path: Path):
    with ValkeyCluster(tmp_path, options=("--maxmemory", "32mb")) as cluster:
        client = connect(cluster.url, cluster=True)
        try:
            watch = ServerWatch(client)
            await watch.look()
            nodes = [f"127.0.0.1:{master.port}" for master in cluster.masters]
            assert [told("memory_limit_bytes", node) for node in nodes] == [32 * MIB] * 3
            assert [told("clock_offset_seconds", node) for node in nodes] == pytest.approx([0, 0, 0], abs=1.4)
            cluster.masters[1].kill()
            await watch.look()
            assert [told("memory_used_bytes", node) is None for node in nodes] == [False, True, False]
            watch.forget()
        finally:
            await client.aclose()


def test_what_the_server_does_not_count_towards_its_limit_is_left_out() -> None:
    info = {"used_memory": 900, "mem_not_counted_for_evict": 200, "maxmemory": 1000, "aof_enabled": 1}
    assert judge(info, 0.0).memory_used_bytes == 700
    assert judge(info, 0.0).append_only_ok is True
    assert judge({**info, "aof_last_write_status": "err"}, 0.0).append_only_ok is False
    assert judge({**info, "aof_last_bgrewrite_status": "err"}, 0.0).append_only_ok is False


def test_the_disk_of_a_folder_is_told_and_that_of_none_is_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    watch_disk("spool", folder)

    def disk(name: str) -> float:
        return REGISTRY.get_sample_value(f"daedalus_disk_{name}_bytes", {"role": "spool"}) or 0.0

    assert math.isnan(disk("free"))
    folder.mkdir()
    assert 0 < disk("free") < disk("size")
