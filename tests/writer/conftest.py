"""A market with its streams on the real server, and events in it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from redis.asyncio import Redis

from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk

BTC = Market("binanceus", "BTC/USDT")
_tokens = count(1)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def market_log(client: Redis) -> MarketLog:
    log = MarketLog(client)
    await log.open_market(BTC)
    return log


@pytest.fixture
def lease_of(client: Redis) -> Callable[..., Awaitable[Lease]]:
    """`await lease_of(role)`: a lease of the market, taken from nobody."""

    async def take(role: Role, market: Market = BTC, name: str = "") -> Lease:
        token = f"token-{next(_tokens)}"
        keeper = LeaseKeeper(client, role, name or token, [market], timedelta(seconds=60), lambda: token)
        await keeper.renew()
        return keeper.held[market]

    return take


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where objects go."""
    return tmp_path / "lake"


@pytest.fixture
def disk(folder: Path) -> LocalDisk:
    return LocalDisk(folder, fsync=False)
