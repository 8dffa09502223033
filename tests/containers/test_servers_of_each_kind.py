"""What matters of Redis and of the object store, on embedded servers and on those in containers alike."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from redis.asyncio import Redis

from daedalus_common.broker.client import connect
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.broker.server_check import Finding, Level, check_server
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import CreateResult, ObjectMissing, ObjectStore, open_store
from support.market_events import market_events, payloads
from support.s3_servers import S3Server
from support.writers import WriterProcess, all_written, until, writer_config

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]
StartRedis = Callable[..., AbstractContextManager[str]]


async def findings_of(url: str) -> tuple[Finding, ...]:
    client = connect(url)
    try:
        return await check_server(client)
    finally:
        await client.aclose()


def storage_in(server: S3Server, prefix: str) -> dict[str, Any]:
    """The section `storage` of a configuration, with everything in the server's bucket."""
    s3 = {
        "bucket": server.bucket,
        "prefix": prefix,
        "endpoint_url": server.endpoint_url,
        "path_style": True,
        "access_key": server.admin.access_key,
        "secret_key": server.admin.secret_key,
    }
    roles = ("ingestion_storage", "etl_storage_input", "etl_storage_output")
    return {role: {"backend": "s3", "s3": s3} for role in roles}


def rows_of(store: ObjectStore, prefix: str) -> list[pa.Table]:
    """Every Parquet object below the prefix, read through the store."""
    tables = []
    for found in store.list(prefix):
        with store.open_input(found.key) as file:
            tables.append(pq.ParquetFile(file).read())
    return tables


async def has_objects(store: ObjectStore, more_than: int) -> bool:
    return len(list(store.list("bronze/"))) > more_than


async def test_the_servers_are_those_that_the_flavour_names(
    flavour: str, client: Redis, store_server: S3Server
) -> None:
    info = await client.info("server")
    assert ("valkey_version" in info) == (flavour == "embedded")
    assert (store_server.name == "SeaweedFS") == (flavour == "embedded")
    assert store_server.name in ("SeaweedFS", "Ceph RGW", "MinIO")


async def test_a_server_set_up_as_documented_has_no_finding(redis_url: str) -> None:
    assert await findings_of(redis_url) == ()


async def test_wrong_settings_are_found_and_the_fixes_are_the_right_ones(start_redis: StartRedis) -> None:
    with start_redis("--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as url:
        found = await findings_of(url)
        assert [(each.level, each.setting) for each in found] == [
            (Level.ERROR, "maxmemory-policy"),
            (Level.WARNING, "appendonly"),
        ]
        with redis.Redis.from_url(url) as client:
            for finding in found:
                name, value = finding.text.split("CONFIG SET ")[1].split()[:2]
                client.config_set(name, value.strip("`.,;)"))
        assert await findings_of(url) == ()


def test_a_store_creates_once_lists_reads_and_deletes(store_server: S3Server, prefix: str) -> None:
    store = open_store(store_server.settings(prefix))
    assert store.probe().notes == ()
    assert list(store.list()) == []
    bodies = {f"t/symbol=BTC-USDT_USDT/part {number} 100%.parquet": b"%d" % number * 1000 for number in range(20)}
    for key, body in bodies.items():
        assert store.create(key, body, {"rows": "1"}) is CreateResult.CREATED
        assert store.create(key, b"another", {}) is CreateResult.EXISTS
    assert {info.key: store.read(info.key) for info in store.list("t/")} == bodies
    assert list(store.folders("t/")) == ["symbol=BTC-USDT_USDT"]
    for key in bodies:
        store.delete(key)
    with pytest.raises(ObjectMissing):
        store.read(next(iter(bodies)))
    assert list(store.list()) == []


@pytest.mark.e2e
async def test_what_is_published_is_in_the_bucket_once_also_when_the_writer_was_killed(
    redis_url: str, market_log: MarketLog, lease_of: LeaseOf, store_server: S3Server, prefix: str, tmp_path: Path
) -> None:
    store = open_store(store_server.settings(prefix))
    config = writer_config(redis_url, Path("unused"), storage=storage_in(store_server, prefix))
    lease = await lease_of(Role.INGESTOR)
    writer = WriterProcess(tmp_path, config)
    events = market_events(1, 2000)
    for start in (0, 500, 1000):
        await market_log.publish(lease, start + 1, payloads(events[start : start + 500]))
        before = len(list(store.list("bronze/")))
        with writer:  # killed at its end, with a part of the 500 perhaps not written
            await until(partial(has_objects, store, before))
    await market_log.publish(lease, 1501, payloads(events[1500:]))
    with writer:
        await until(lambda: all_written(market_log, BTC))
        assert writer.stop() == 0
    tables = rows_of(store, "bronze/")
    assert sorted(seq for table in tables for seq in table["seq"].to_pylist()) == list(range(1, 2001))
    recorded = {ts for table in tables for ts in table["capture_ts"].cast(pa.int64()).to_pylist()}
    assert recorded == {event.capture_ts for event in events}
    assert "Traceback" not in writer.log
