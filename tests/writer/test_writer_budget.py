"""One memory, two stores: the one that is away keeps its share and no more, the other goes on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_common.rows import Column, RowSchema, pack_rows
from daedalus_common.stores import CreateResult, LocalDisk, StoreUnavailable
from daedalus_writer import metrics
from daedalus_writer.budget import Pool, budgets
from support.lake import all_seqs
from support.market_events import market_events, payloads
from support.writers import QUICK, build_writer, running, until, until_written

BTC = Market("binanceus", "BTC/USDT")
MEMORY_BYTES = 1_000_000
SMALL = replace(QUICK, memory_bytes=MEMORY_BYTES)
SCHEMA = RowSchema("silver", "orderbook", tuple(Column(f"feature_{i}") for i in range(60)))


@given(events=st.integers(0, 1000), rows=st.integers(0, 1000))
def test_a_pool_never_gets_what_the_other_holds_and_always_its_least(events: int, rows: int) -> None:
    limit = 1000
    given_ = budgets(limit, {Pool.EVENTS: min(events, 750), Pool.ROWS: min(rows, 500)})
    assert given_[Pool.EVENTS] + min(rows, 500) <= limit
    assert given_[Pool.ROWS] + min(events, 750) <= limit
    assert given_[Pool.EVENTS] >= 500
    assert given_[Pool.ROWS] >= 250


class DiskThatIsAway(LocalDisk):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fsync=False)
        self.is_away = True

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        if self.is_away:
            raise StoreUnavailable("no answer")
        return super().create(key, data, metadata)


async def add_rows(client: Redis, first: int, count: int) -> None:
    await client.hset(keys.schemas(BTC), SCHEMA.id.hex(), msgspec.json.encode(SCHEMA))
    packed = pack_rows(SCHEMA, np.arange(first, first + count), np.ones((count, 60)))
    async with client.pipeline(transaction=False) as pipe:
        for seq, row in enumerate(packed, first):
            pipe.xadd(keys.stream(BTC, keys.SILVER), {"s": seq, "c": "orderbook", "p": row})  # type: ignore[unused-awaitable]
        await pipe.execute()


@pytest.mark.parametrize("away", [Pool.EVENTS, Pool.ROWS])
async def test_a_store_that_is_away_starves_nobody(
    client: Redis, market_log: MarketLog, lease_of, tmp_path: Path, away: Pool
) -> None:
    """Ten times the memory waits for it."""
    lease = await lease_of(Role.INGESTOR)
    gone, there = DiskThatIsAway(tmp_path / "gone"), LocalDisk(tmp_path / "there", fsync=False)
    bronze, features = (gone, there) if away is Pool.EVENTS else (there, gone)
    least = {Pool.EVENTS: 0.5 * MEMORY_BYTES, Pool.ROWS: 0.3 * MEMORY_BYTES}[away]
    most = 0.0
    for batch in range(20):
        await market_log.publish(lease, batch * 500 + 1, payloads(market_events(batch, 500)))
        await add_rows(client, batch * 500 + 1, 500)
    written, waiting = (keys.SILVER, keys.RAW) if away is Pool.EVENTS else (keys.RAW, keys.SILVER)

    async def caught_up() -> bool:
        nonlocal most
        most = max(most, metrics.HELD_BYTES._value.get())
        return (await market_log.cursor(BTC, written, "writer")).lag == 0

    writer = build_writer(client, bronze, [BTC], feature_store=features, limits=SMALL)
    async with running(writer) as task:
        await until(caught_up, task)
        assert (await market_log.cursor(BTC, waiting, "writer")).lag == 10_000
        assert least < metrics.HELD_BYTES._value.get() < 1.25 * MEMORY_BYTES
        assert most < 1.25 * MEMORY_BYTES
        gone.is_away = False
        await until_written(task, market_log, BTC, (keys.RAW, keys.SILVER))
    folders = {Pool.EVENTS: ("gone", "there"), Pool.ROWS: ("there", "gone")}[away]
    assert all_seqs(tmp_path / folders[0], "bronze") == list(range(1, 10_001))
    assert all_seqs(tmp_path / folders[1], "silver") == list(range(1, 10_001))
