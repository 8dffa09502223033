"""A service that stands still before a full stream, and how long it takes to come to its end."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis

from benchmarks.market_events import START_NS, Event
from benchmarks.workbench import seconds_until
from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.config import parse_config
from daedalus_common.entries import encode
from daedalus_common.events import Genesis
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_featurizer.row_schemas import row_schemas
from daedalus_featurizer.settings import params_for
from support.stack import Service, Stack

MARKET = Market("binanceus", "BTC/USDT")
CONFIG: dict[str, Any] = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": ["BTC/USDT"], "watchTrades": ["BTC/USDT"]}}}},
    "leases": {"ttl_seconds": 120.0, "renew_seconds": 30.0},  # a process that stands still renews none
}
READY_SECONDS = 60.0
DRAIN_SECONDS = 300.0
_SETTLE_SECONDS = 0.5
_POLL_SECONDS = 0.005
_BATCH = 500


@contextmanager
def standing_before(stack: Stack, role: Role, events: Sequence[Event]) -> Iterator[Service]:
    """The service of this role: it owns the market, is suspended, and all the events lie before it."""
    asyncio.run(_write_genesis(stack))
    service = stack.start(role.value)
    with stack.client() as client:
        owner = f"{role.value}-1".encode()
        stack.wait_until(
            lambda: client.hget(keys.lease(MARKET, role), "owner") == owner,
            f"{role.value} owns the market",
            READY_SECONDS,
        )
    time.sleep(_SETTLE_SECONDS)
    service.usage.suspend()
    asyncio.run(_publish(stack, events))
    yield service


def seconds_to_drain(stack: Stack, service: Service, role: Role, left: int = 0) -> float:
    """Wakes the service; the time until at most `left` entries of the raw stream are before its cursor."""
    key, group = keys.stream(MARKET, keys.RAW), role.value.encode()
    with stack.client() as client:

        def is_drained() -> bool:
            if not service.running:
                raise RuntimeError(f"{role.value} ended before the stream did\n{stack.logs()}")
            return any(each["name"] == group and each["lag"] <= left for each in client.xinfo_groups(key))

        service.usage.resume()
        return seconds_until(is_drained, f"{role.value} drains the stream", DRAIN_SECONDS, _POLL_SECONDS)


async def _write_genesis(stack: Stack) -> None:
    """At the time of the made-up events: they would lie before one that is written now."""
    params = params_for(parse_config(stack.config), MARKET)
    genesis = Genesis(START_NS, f"{params.hash}-benchmark", params.to_json())
    async with _holding(stack, Role.FEATURIZER) as (log, lease):
        await log.open_market(MARKET)
        await log.add_genesis(lease, genesis.id, START_NS, encode(genesis), row_schemas(params))


async def _publish(stack: Stack, events: Sequence[Event]) -> None:
    async with _holding(stack, Role.INGESTOR) as (log, lease):
        for start in range(0, len(events), _BATCH):
            await log.publish(lease, start + 1, events[start : start + _BATCH])


@asynccontextmanager
async def _holding(stack: Stack, role: Role) -> AsyncIterator[tuple[MarketLog, Lease]]:
    client: Redis = connect(stack.valkey.url)
    keeper = LeaseKeeper(client, role, "benchmark", [MARKET], timedelta(minutes=5), lambda: "benchmark")
    try:
        await keeper.renew()
        yield MarketLog(client), keeper.held[MARKET]
        await keeper.leave()
    finally:
        await client.aclose()
