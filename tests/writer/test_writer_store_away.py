"""A store that refuses or does not answer: nothing is lost, memory stays bounded, and readiness says who it is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.rows import Column, RowSchema, pack_rows
from daedalus_common.stores import CreateResult, LocalDisk, StoreDenied, StoreError, StoreUnavailable
from daedalus_common.telemetry import Health
from daedalus_writer import metrics
from support.lake import all_seqs
from support.market_events import market_events, payloads
from support.writers import QUICK, build_writer, running, until, until_written

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]


class DiskThatGoesAway(LocalDisk):
    """The real disk; while `error` is set every create fails with it, half of them after the object was made."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fsync=False)
        self.error: StoreError | None = None
        self.failures = 0

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        if self.error is not None:
            self.failures += 1
            if self.failures % 2:
                super().create(key, data, metadata)
            raise self.error
        return super().create(key, data, metadata)


@pytest.fixture
def store(folder: Path) -> DiskThatGoesAway:
    return DiskThatGoesAway(folder)


@pytest.mark.parametrize("error", [StoreUnavailable("no answer"), StoreDenied("the key was revoked")])
async def test_writing_goes_on_by_itself_when_the_store_is_back(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, store: DiskThatGoesAway, folder: Path, error: StoreError
) -> None:
    lease = await lease_of(Role.INGESTOR)
    health = Health("writer")
    store.error = error
    async with running(build_writer(client, store, [BTC], health=health)) as task:
        await market_log.publish(lease, 1, payloads(market_events(1, 500)))
        await until(lambda: has_failed(store, 3), task)
        assert health.readiness().problems == {"bronze": str(error)}
        assert (await market_log.cursor(BTC, keys.RAW, "writer")).lag == 500, "the cursor waits for the objects"
        await market_log.publish(lease, 501, payloads(market_events(2, 500)))
        store.error = None
        await until_written(task, market_log, BTC)
        assert health.readiness().ok
    assert all_seqs(folder, "bronze") == list(range(1, 1001))


async def has_failed(store: DiskThatGoesAway, times: int) -> bool:
    return store.failures >= times


async def test_while_the_store_is_away_the_stream_holds_the_backlog_and_memory_stays_bounded(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, store: DiskThatGoesAway, folder: Path
) -> None:
    lease = await lease_of(Role.INGESTOR)
    limits = replace(QUICK, memory_bytes=1_000_000)
    store.error = StoreUnavailable("no answer")
    async with running(build_writer(client, store, [BTC], limits=limits)) as task:
        for batch in range(20):
            await market_log.publish(lease, batch * 500 + 1, payloads(market_events(batch, 500)))
        await until(lambda: has_failed(store, 4), task)
        assert 500_000 < metrics.HELD_BYTES._value.get() < 1.25 * limits.memory_bytes
        store.error = None
        await until_written(task, market_log, BTC)
    assert all_seqs(folder, "bronze") == list(range(1, 10_001))


async def test_a_store_of_features_that_is_away_does_not_hold_up_bronze(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, store: DiskThatGoesAway, folder: Path, tmp_path: Path
) -> None:
    lease = await lease_of(Role.INGESTOR)
    health = Health("writer")
    store.error = StoreUnavailable("no answer")
    schema = RowSchema("silver", "orderbook", (Column("mid_price"),))
    [row] = pack_rows(schema, np.array([1]), np.array([[100.0]]))
    await client.hset(keys.schemas(BTC), schema.id.hex(), msgspec.json.encode(schema))
    await client.xadd(keys.stream(BTC, keys.SILVER), {"s": 1, "c": "orderbook", "p": row})
    writer = build_writer(client, LocalDisk(tmp_path / "bronze"), [BTC], feature_store=store, health=health)
    async with running(writer) as task:
        await until(lambda: has_failed(store, 2), task)
        await market_log.publish(lease, 1, payloads(market_events(1, 500)))
        await until_written(task, market_log, BTC)
        assert health.readiness().problems == {"features": "no answer"}
        store.error = None
        await until_written(task, market_log, BTC, (keys.SILVER,))
    assert all_seqs(tmp_path / "bronze", "bronze") == list(range(1, 501))
    assert all_seqs(folder, "silver") == [1]


async def test_a_market_can_be_handed_over_while_the_store_is_away(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, store: DiskThatGoesAway, folder: Path
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await market_log.publish(lease, 1, payloads(market_events(1, 500)))
    store.error = StoreUnavailable("no answer")
    writer = build_writer(client, store, [BTC], name="first")
    async with running(writer) as task:
        await until(lambda: has_failed(store, 2), task)
        writer._keeper.let_go(BTC)
        await writer.release(BTC)
        await writer._keeper.give(BTC)
        assert await market_log.pending_plan(BTC, keys.RAW) is not None
        # The same writer may well take the market again: what counts is that the plan is still carried out once.
        store.error = None
        await until_written(task, market_log, BTC)
    assert all_seqs(folder, "bronze") == list(range(1, 501))


async def test_a_stop_while_the_store_is_away_ends_in_time_and_leaves_the_rest_in_the_stream(
    client: Redis,
    market_log: MarketLog,
    lease_of: LeaseOf,
    store: DiskThatGoesAway,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daedalus_common.owner.DRAIN", timedelta(seconds=1))
    await market_log.publish(await lease_of(Role.INGESTOR), 1, payloads(market_events(1, 500)))
    store.error = StoreUnavailable("no answer")
    async with running(build_writer(client, store, [BTC])) as task:
        await until(lambda: has_failed(store, 2), task)
    assert (await market_log.cursor(BTC, keys.RAW, "writer")).lag == 500
    store.error = None
    long_enough = timedelta(seconds=30)
    async with running(build_writer(client, store, [BTC], name="next", ttl=long_enough)) as task:
        await until_written(task, market_log, BTC)
    assert all_seqs(folder, "bronze") == list(range(1, 501))
