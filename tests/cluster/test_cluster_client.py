"""The client of a cluster follows redirections, sends nothing twice, and lets no node that is away stall another."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client, connect
from daedalus_common.broker.cluster import ClusterClient
from daedalus_common.broker.market_log import MarketLog, Place
from daedalus_common.broker.server_check import WrongKind, check_kind
from daedalus_common.markets import Market
from support.valkey_cluster import ValkeyCluster

ADA, XRP, BTC = MARKETS = [Market("binanceus", symbol) for symbol in ("ADA/USDT", "XRP/USDT", "BTC/USDT")]
PLACES = [Place(market, keys.RAW, "0-0", 10) for market in MARKETS]
TIMEOUT = timedelta(seconds=2)


@asynccontextmanager
async def opened(url: str, *, cluster: bool = True) -> AsyncIterator[Any]:
    client: Client = connect(url, timeout=TIMEOUT, cluster=cluster)
    yield client
    await client.aclose()


async def add_an_entry(client: Any, *markets: Market) -> None:
    for market in markets:
        await client.xadd(keys.stream(market, keys.RAW), {"x": "y"})


async def lengths(log: MarketLog) -> list[int]:
    return [len(reply) for reply in await log.read_many(PLACES)]


async def wait_for(condition: Any, seconds: float = 10) -> None:
    for _ in range(round(seconds / 0.05)):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


async def test_one_read_brings_the_streams_of_every_master_in_the_order_asked(cluster_client: ClusterClient) -> None:
    await add_an_entry(cluster_client, ADA, BTC, BTC, XRP, XRP, XRP)
    log = MarketLog(cluster_client)
    assert await lengths(log) == [1, 3, 2]
    assert log.unanswered == {}
    assert await log.read_many([]) == []


async def test_what_is_wrong_with_a_stream_itself_is_raised(cluster_client: ClusterClient) -> None:
    await add_an_entry(cluster_client, ADA, BTC)
    await cluster_client.set(keys.stream(XRP, keys.RAW), "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await lengths(MarketLog(cluster_client))


@pytest.mark.timeout(120)
async def test_a_master_that_is_away_stalls_its_own_markets_only(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path) as cluster:
        async with opened(cluster.masters[1].url) as client:
            log = MarketLog(client)
            await add_an_entry(client, *MARKETS)
            assert await lengths(log) == [1, 1, 1]
            cluster.masters[0].kill()
            for number in range(5):
                assert await lengths(log) == [0, 1 + number, 1]
                assert list(log.unanswered) == [ADA]
                await add_an_entry(client, XRP)
            with pytest.raises(RedisConnectionError):
                await client.xlen(keys.stream(ADA, keys.RAW))
            cluster.masters[0].start()

            async def is_back() -> bool:
                return await lengths(log) == [1, 6, 1] and not log.unanswered

            await wait_for(is_back)
            for node in cluster.masters:
                node.kill()
            with pytest.raises(RedisConnectionError):
                await log.read_many(PLACES)


@pytest.mark.timeout(120)
async def test_a_client_begins_while_any_one_master_is_away(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path) as cluster:
        async with opened(cluster.url) as client:
            await add_an_entry(client, *MARKETS)
        for number in range(3):
            cluster.masters[number].kill()
            async with opened(cluster.masters[(number + 1) % 3].url) as client:
                assert sorted(await lengths(MarketLog(client))) == [0, 1, 1]
            cluster.masters[number].start()

            async def is_whole() -> bool:
                async with opened(cluster.url) as client:
                    return await lengths(MarketLog(client)) == [1, 1, 1]

            await wait_for(is_whole)


@pytest.mark.timeout(120)
async def test_a_master_that_hangs_costs_one_timeout_and_no_more(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path) as cluster:
        async with opened(cluster.url) as client:
            log = MarketLog(client)
            await add_an_entry(client, *MARKETS)
            assert await lengths(log) == [1, 1, 1]
            cluster.masters[0].pause()
            began = time.monotonic()
            assert await lengths(log) == [0, 1, 1]
            assert time.monotonic() - began < 3 * TIMEOUT.total_seconds()
            began = time.monotonic()
            for number in range(9):
                assert await lengths(log) == [0, 1, 1 + number]
                await add_an_entry(client, BTC)
                with pytest.raises(RedisConnectionError):
                    await client.xlen(keys.stream(ADA, keys.RAW))
            assert time.monotonic() - began < 9 * TIMEOUT.total_seconds() / 2, "a fourth of a timeout each time"
            cluster.masters[0].resume()

            async def is_back() -> bool:
                return await lengths(log) == [1, 1, 10]

            await wait_for(is_back)


async def test_a_command_without_an_answer_is_not_sent_again(cluster: ValkeyCluster) -> None:
    key = "{binanceus:BTC-USDT}:test"
    async with opened(cluster.url) as client:
        await client.incr(key)
        cluster.masters[2].pause()
        try:
            with pytest.raises(RedisTimeoutError):
                await client.incr(key)
        finally:
            cluster.masters[2].resume()

        async def is_applied() -> bool:
            return int(cluster.ask(cluster.masters[2], "GET", key)) == 2

        await wait_for(is_applied)
        await asyncio.sleep(2 * TIMEOUT.total_seconds())
        assert await is_applied()


@pytest.mark.timeout(120)
async def test_a_slot_is_found_while_it_moves_and_where_it_went(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path) as cluster:
        async with opened(cluster.url) as client:
            log = MarketLog(client)
            await add_an_entry(client, *MARKETS)
            moving = asyncio.create_task(asyncio.to_thread(cluster.migrate, BTC, cluster.masters[0], 0.5))
            while not moving.done():
                # Its only key has gone, and the slot is not the target's yet. ASK holds for one connection, and the
                # command may take another: then there is no answer yet, but never a wrong one.
                found = await lengths(log)
                assert found == [1, 1, 0 if BTC in log.unanswered else 1]
                await asyncio.sleep(0.02)
            assert await moving == 1
            await add_an_entry(client, BTC)
            assert await lengths(log) == [1, 1, 2]
            assert cluster.ask(cluster.masters[0], "XLEN", keys.stream(BTC, keys.RAW)) == 2


@pytest.mark.timeout(120)
async def test_a_replica_that_takes_over_is_found(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path, replicas=True) as cluster:
        async with opened(cluster.url) as client:
            log = MarketLog(client)
            await add_an_entry(client, *MARKETS)
            await client.execute_command("WAIT", 1, 5000, target_nodes=await client.masters())
            cluster.masters[2].kill()
            assert await lengths(log) == [1, 1, 0]
            cluster.promote(cluster.replicas[2])

            async def is_back() -> bool:
                return await lengths(log) == [1, 1, 1]

            await wait_for(is_back)
            await add_an_entry(client, BTC)


async def test_a_node_that_is_gone_or_no_cluster_is_an_error_of_redis(redis_url: str) -> None:
    async with opened("redis://127.0.0.1:1") as client:
        with pytest.raises(RedisConnectionError):
            await client.ping()
        with pytest.raises(RedisConnectionError):
            await MarketLog(client).read_many(PLACES)


async def test_a_single_server_and_a_cluster_are_told_apart_with_the_key_to_change(
    cluster: ValkeyCluster, redis_url: str
) -> None:
    async with opened(redis_url) as client:
        with pytest.raises(WrongKind, match=r"redis\.cluster is true.*set redis\.cluster: false"):
            await check_kind(client)
    async with opened(cluster.url, cluster=False) as client:
        with pytest.raises(WrongKind, match=r"redis\.cluster is false.*set redis\.cluster: true"):
            await check_kind(client)
    async with opened(redis_url, cluster=False) as right, opened(cluster.url) as also_right:
        await check_kind(right)
        await check_kind(also_right)
