"""The writer as a process: killed at any moment, stopped, and started with what cannot work."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectStore, StoreSettings, open_store
from support.lake import all_seqs, objects
from support.market_events import market_events, payloads
from support.seaweedfs import ADMIN, SeaweedServer
from support.valkey import ValkeyServer
from support.writers import MODULE, WriterProcess, all_written, until, writer_config

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]


@pytest.mark.e2e
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_kill_9_at_random_moments_loses_no_row_and_doubles_none(
    redis_url: str, market_log: MarketLog, lease_of: LeaseOf, tmp_path: Path, folder: Path, seed: int
) -> None:
    chance = random.Random(seed)
    lease = await lease_of(Role.INGESTOR)
    writer = WriterProcess(tmp_path, writer_config(redis_url, folder))
    published = 0

    async def publish_for(seconds: float) -> None:
        nonlocal published
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await market_log.publish(lease, published + 1, payloads(market_events(seed * 1000 + published, 50)))
            published += 50
            await asyncio.sleep(0.01)

    for _ in range(5):
        before = len(objects(folder))
        await publish_for(0.1)
        with writer:
            await until(partial(has_more_objects, folder, before))
            await publish_for(chance.uniform(0.0, 0.6))
    with writer:
        await until(lambda: all_written(market_log, BTC))
        assert writer.stop() == 0
    assert all_seqs(folder, "bronze") == list(range(1, published + 1))
    assert "anomaly" not in writer.log
    assert "Traceback" not in writer.log


async def has_more_objects(folder: Path, before: int) -> bool:
    return len(objects(folder)) > before


async def test_sigterm_writes_what_is_left_and_ends_with_0(
    redis_url: str, market_log: MarketLog, lease_of: LeaseOf, tmp_path: Path, folder: Path
) -> None:
    await market_log.publish(await lease_of(Role.INGESTOR), 1, payloads(market_events(1, 500)))
    seldom = {"flush_interval_seconds": 3600}
    with WriterProcess(tmp_path, writer_config(redis_url, folder, ingestion=seldom)) as writer:
        await until(lambda: is_reading(writer))
        assert writer.stop() == 0
    assert all_seqs(folder, "bronze") == list(range(1, 501))
    assert await all_written(market_log, BTC)


async def is_reading(writer: WriterProcess) -> bool:
    found = re.search(r"^daedalus_writer_held_bytes (\S+)", writer.metrics(), re.MULTILINE)
    return found is not None and float(found[1]) > 0


async def test_readiness_waits_for_redis_and_says_so(tmp_path: Path, folder: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    with WriterProcess(tmp_path, writer_config(server.url, folder)) as writer:
        await until(lambda: is_unready(writer, "redis"))
        with server:
            await until(lambda: is_ready(writer))
            assert writer.stop() == 0
    assert "waiting for Redis" in writer.log


async def is_unready(writer: WriterProcess, check: str) -> bool:
    status, problems = writer.readiness()
    return status == 503 and check in problems


async def is_ready(writer: WriterProcess) -> bool:
    return writer.readiness()[0] == 200


# starts that cannot work


def test_a_data_folder_that_is_a_file_ends_with_1_and_one_clear_line(tmp_path: Path) -> None:
    place = tmp_path / "lake"
    place.write_text("a file")
    code, line = failed_start(tmp_path, writer_config("redis://127.0.0.1:1/0", place))
    assert code == 1
    assert line.startswith(f"daedalus writer cannot start: local disk {place}: cannot keep objects there: File exists")
    assert "storage.ingestion_storage.base_dir" in line


AS_NOBODY = """
import os, sys
from daedalus_common.service import run_service
from daedalus_writer.__main__ import run

async def run_as_nobody(context):
    if os.geteuid() == 0:
        os.setuid(65534)
    await run(context)

sys.exit(run_service("writer", "", run_as_nobody, sys.argv[1:], os.environ))
"""


def test_a_data_folder_without_the_right_to_write_ends_with_1_and_says_whose_right(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    config = writer_config("redis://127.0.0.1:1/0", folder / "lake")
    code, line = failed_start(tmp_path, config, command=("-c", AS_NOBODY))
    assert code == 1
    assert "Permission denied" in line
    assert re.search(r"let user id \d+ write there, or set storage\.ingestion_storage\.base_dir", line)


def failed_start(tmp_path: Path, config: dict[str, Any], command: tuple[str, ...] = MODULE) -> tuple[int, str]:
    """The exit code, and the last line on stderr."""
    with WriterProcess(tmp_path, config, command=command) as writer:
        code = writer.wait()
    return code, writer.log.strip().splitlines()[-1]


def s3_config(redis_url: str, server: SeaweedServer, secret_key: str = ADMIN.secret_key) -> dict[str, Any]:
    s3 = {
        "bucket": "lake",
        "prefix": f"run-{uuid4().hex}",
        "endpoint_url": server.endpoint_url,
        "region": server.region,
        "path_style": True,
        "access_key": ADMIN.access_key,
        "secret_key": secret_key,
    }
    config = writer_config(redis_url, Path("unused"))
    return config | {"storage": {role: {"backend": "s3", "s3": s3} for role in config["storage"]}}


def test_wrong_s3_credentials_end_with_1_and_name_the_key(seaweedfs: SeaweedServer, tmp_path: Path) -> None:
    code, line = failed_start(tmp_path, s3_config("redis://127.0.0.1:1/0", seaweedfs, secret_key="wrong-8d2f"))
    assert code == 1
    assert "the secret does not match access key" in line
    assert "storage.ingestion_storage.s3.secret_key" in line
    assert "wrong-8d2f" not in line


@pytest.mark.e2e
async def test_on_s3_a_killed_writers_rows_are_stored_once_too(
    redis_url: str, market_log: MarketLog, lease_of: LeaseOf, tmp_path: Path, seaweedfs: SeaweedServer
) -> None:
    config = s3_config(redis_url, seaweedfs)
    s3 = config["storage"]["ingestion_storage"]["s3"]
    store = open_store(StoreSettings("s3", **s3))
    lease = await lease_of(Role.INGESTOR)
    writer = WriterProcess(tmp_path, config)
    for round_ in range(3):
        await market_log.publish(lease, round_ * 500 + 1, payloads(market_events(round_, 500)))
        before = len(list(store.list("")))
        with writer:
            await until(partial(has_more, store, before))
    with writer:
        await until(lambda: all_written(market_log, BTC))
        assert writer.stop() == 0
    seqs: list[int] = []
    for found in store.list("bronze/"):
        with store.open_input(found.key) as file:
            table = pq.ParquetFile(file).read(columns=["seq"])
        told = store.head(found.key)
        assert told is not None
        assert told.metadata["rows"] == str(table.num_rows)
        seqs += table["seq"].to_pylist()
    assert sorted(seqs) == list(range(1, 1501))


async def has_more(store: ObjectStore, before: int) -> bool:
    return len(list(store.list(""))) > before
