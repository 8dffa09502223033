"""A market with its streams opened on the real server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import count

import pytest
from redis.asyncio import Redis

from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market

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
    """`await lease_of(role, name)`: a lease of BTC/USDT, taken from nobody."""

    async def take(role: Role, name: str = "") -> Lease:
        token = f"token-{next(_tokens)}"
        keeper = LeaseKeeper(client, role, name or token, [BTC], timedelta(seconds=30), lambda: token)
        await keeper.renew()
        return keeper.held[BTC]

    return take
