"""Streams shrink by what all have read, markets move between writers, and Redis may be full or away."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, OutOfMemoryError

from daedalus_common.broker import keys
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from daedalus_common.telemetry import Health
from daedalus_writer import metrics
from support.lake import all_seqs, objects, seqs_in
from support.market_events import market_events, payloads
from support.valkey import ValkeyServer
from support.writers import (
    QUICK,
    all_written,
    build_writer,
    entries_in,
    is_owned,
    publish,
    reading_has_begun,
    running,
    until,
    until_written,
)

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("binanceus", "ETH/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]


# trimming


async def test_a_stream_shrinks_to_what_every_group_has_read_a_users_own_included(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk
) -> None:
    raw = keys.stream(BTC, keys.RAW)
    await client.xgroup_create(raw, "a-users-own", id="0")
    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, payloads(market_events(8, 2000)))
    ids = [id_ for id_, _ in await entries_in(client, raw)]
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC)
        assert await client.xlen(raw) == 2000, "neither the featurizer nor the user has read anything"
        await client.xgroup_setid(raw, "featurizer", ids[-1])
        await client.xgroup_setid(raw, "a-users-own", ids[1499])
        await publish(market_log, lease, payloads(market_events(9, 1)), 2001)
        await until_written(task, market_log, BTC)
        left = [id_ for id_, _ in await entries_in(client, raw)]
        assert ids[1500] in left, "nothing that the user has not read is gone"
        assert len(left) < 700
        await client.xgroup_destroy(raw, "a-users-own")
        await publish(market_log, lease, payloads(market_events(10, 1)), 2002)
        await until_written(task, market_log, BTC)
        assert await client.xlen(raw) < 150


async def test_a_long_run_is_trimmed_as_a_whole(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk
) -> None:
    raw = keys.stream(BTC, keys.RAW)
    await publish(market_log, await lease_of(Role.INGESTOR), payloads(market_events(11, 15_000, levels=1)))
    await client.xgroup_setid(raw, "featurizer", "$")
    writer = build_writer(client, disk, [BTC], limits=replace(QUICK, interval=timedelta(hours=1)))
    async with running(writer) as task:
        await until(reading_has_begun, task)
    assert await all_written(market_log, BTC)
    assert await client.xlen(raw) < 150


# owners


async def test_two_writers_share_the_markets_and_each_row_is_stored_once(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    await market_log.open_market(ETH)
    leases = {market: await lease_of(Role.INGESTOR, market=market) for market in (BTC, ETH)}
    build = partial(build_writer, client, disk, [BTC, ETH], ttl=timedelta(seconds=2), renew=timedelta(seconds=0.1))
    async with running(build(name="a")) as first:
        await until(lambda: both_owned_by(client, {b"a"}), first)
        async with running(build(name="b")) as second:
            for batch in range(40):
                for lease in leases.values():
                    await publish(market_log, lease, payloads(market_events(batch, 20)), batch * 20 + 1)
                await asyncio.sleep(0.02)
            await until(lambda: both_owned_by(client, {b"a", b"b"}), second)
            for market in (BTC, ETH):
                await until_written(second, market_log, market)
    for market in (BTC, ETH):
        of_market = [key for key in objects(folder) if key.startswith("bronze/") and market.partition in key]
        assert sorted(seq for key in of_market for seq in seqs_in(folder / key)) == list(range(1, 801))


async def both_owned_by(client: Redis, names: set[bytes]) -> bool:
    owners = [await client.hget(keys.lease(market, Role.WRITER), "owner") for market in (BTC, ETH)]
    return set(owners) == names


async def test_a_writer_that_lost_its_lease_unawares_stores_nothing_twice(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    lease = await lease_of(Role.INGESTOR)
    seldom = timedelta(seconds=20)  # it does not look after its leases during this test
    patient = replace(QUICK, interval=timedelta(seconds=1))
    async with running(build_writer(client, disk, [BTC], name="zombie", limits=patient, renew=seldom)) as zombie:
        await until(lambda: is_owned(client, BTC), zombie)
        await publish(market_log, lease, payloads(market_events(12, 500)))
        await asyncio.sleep(0.3)
        await client.hset(keys.lease(BTC, Role.WRITER), "expires_ms", 0)
        async with running(build_writer(client, disk, [BTC], name="heir")) as heir:
            await until_written(heir, market_log, BTC)
            await asyncio.sleep(1.2)
            await publish(market_log, lease, payloads(market_events(13, 100)), 501)
            await until_written(heir, market_log, BTC)
        assert not zombie.done()
    assert all_seqs(folder, "bronze") == list(range(1, 601))


async def test_a_cursor_that_somebody_moved_is_read_again(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    lease = await lease_of(Role.INGESTOR)
    raw = keys.stream(BTC, keys.RAW)
    patient = replace(QUICK, interval=timedelta(seconds=3))
    async with running(build_writer(client, disk, [BTC], limits=patient)) as task:
        await publish(market_log, lease, payloads(market_events(14, 100)))
        await asyncio.sleep(0.2)
        skipped_to = (await entries_in(client, raw))[49][0]
        await client.xgroup_setid(raw, "writer", skipped_to, entries_read=50)
        await until_written(task, market_log, BTC)
    assert all_seqs(folder, "bronze") == list(range(51, 101)), "as the person who moved it wanted"


# Redis


async def test_at_maxmemory_the_writer_still_frees_the_stream(tmp_path: Path, disk: LocalDisk, folder: Path) -> None:
    with ValkeyServer(tmp_path / "valkey", options=("--maxmemory", "16mb")) as server:
        client = Redis.from_url(server.url)
        market_log = MarketLog(client)
        await market_log.open_market(BTC)
        published = await fill(client, market_log)
        await client.xgroup_setid(keys.stream(BTC, keys.RAW), "featurizer", "$")
        with pytest.raises(OutOfMemoryError):
            await client.set("more", "x" * 1000)
        async with running(build_writer(client, disk, [BTC])) as task:
            await until_written(task, market_log, BTC)
        assert all_seqs(folder, "bronze") == list(range(1, published + 1))
        await client.set("more", "x" * 1000)
        await client.aclose()


async def fill(client: Redis, market_log: MarketLog) -> int:
    """Publishes until Redis refuses, then takes the memory that is left; the number of published events."""
    keeper = LeaseKeeper(client, Role.INGESTOR, "i", [BTC], timedelta(seconds=60), lambda: "token")
    await keeper.renew()
    published = 0
    with suppress(OutOfMemoryError):
        while True:
            batch = payloads(market_events(published, 100))
            published += (await market_log.publish(keeper.held[BTC], published + 1, batch)).added
    with suppress(OutOfMemoryError):
        for number in range(10**6):
            await client.set(f"fill{number}", "x" * 100)
    return published


async def test_a_redis_that_restarts_interrupts_and_loses_nothing(
    tmp_path: Path, disk: LocalDisk, folder: Path
) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        client = Redis.from_url(server.url, socket_timeout=1)
        market_log = MarketLog(client)
        await market_log.open_market(BTC)
        keeper_client = Redis.from_url(server.url, socket_timeout=1)
        health = Health("writer")
        keeper = LeaseKeeper(keeper_client, Role.INGESTOR, "i", [BTC], timedelta(seconds=60), lambda: "token")
        await keeper.renew()
        async with running(build_writer(client, disk, [BTC], health=health)) as task:
            await until(lambda: is_owned(client, BTC), task)  # without a market it would have nothing to ask
            await publish(market_log, keeper.held[BTC], payloads(market_events(15, 1000)))
            await asyncio.to_thread(server.stop)
            await until(lambda: is_unready(health, "redis"), task)
            await until(lambda: is_unready(health, "leases"), task)
            await asyncio.to_thread(server.start)
            await until(lambda: has_nothing_left(market_log), task)
            await until(lambda: is_ready(health), task)
        assert all_seqs(folder, "bronze") == list(range(1, 1001))
        await client.aclose()
        await keeper_client.aclose()


async def has_nothing_left(market_log: MarketLog) -> bool:
    try:
        return await all_written(market_log, BTC)
    except ConnectionError:  # of this test's own connections, which were open when the server stopped
        return False


async def is_unready(health: Health, check: str) -> bool:
    return check in health.readiness().problems


async def is_ready(health: Health) -> bool:
    return health.readiness().ok


# what it tells


async def test_lag_and_what_was_written_are_told_per_market_and_stream(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daedalus_writer.writer.LAG_EVERY_SECONDS", 0.02)
    labels = {"exchange": "binanceus", "symbol": "BTC/USDT"}
    rows = metrics.ROWS.labels(**labels, layer="bronze", table="orderbook")._value
    objects_made = metrics.OBJECTS.labels(**labels, layer="bronze", table="orderbook")._value
    flushes = metrics.FLUSHES.labels(**labels, stream="raw", reason="stop")._value
    before = rows.get(), objects_made.get(), flushes.get()
    events = market_events(16, 300)
    await publish(market_log, await lease_of(Role.INGESTOR), payloads(events))
    patient = replace(QUICK, interval=timedelta(hours=1))
    async with running(build_writer(client, disk, [BTC], limits=patient)) as task:
        await until(lambda: lag_is(300), task)
        await asyncio.sleep(0.05)
        age = metrics.LAG_SECONDS.labels(**labels, stream="raw")._value.get()
        assert 0 < age < 30
    books = sum(hasattr(event, "bids") for event in events)
    assert (rows.get(), objects_made.get(), flushes.get()) == (before[0] + books, before[1] + 1, before[2] + 1)


async def lag_is(entries: int) -> bool:
    told = [sample for metric in metrics.LAG_ENTRIES.collect() for sample in metric.samples]
    return any(sample.labels["stream"] == "raw" and sample.value == entries for sample in told)
