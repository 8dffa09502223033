"""Services that stand still before full streams, and how long they take to come to their ends."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import redis

from benchmarks.market_events import START_NS, Event
from benchmarks.workbench import seconds_until
from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.config import parse_config
from daedalus_common.entries import encode
from daedalus_common.events import Genesis, Heartbeat
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_featurizer.row_schemas import row_schemas
from daedalus_featurizer.settings import params_for
from support.stack import Service, Stack

MARKET = Market("binanceus", "BTC/USDT")
CONFIG: dict[str, Any] = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": ["BTC/USDT"], "watchTrades": ["BTC/USDT"]}}}},
    "leases": {"ttl_seconds": 120.0, "renew_seconds": 2.0},  # a process that stands still renews none
}
READY_SECONDS = 60.0
DRAIN_SECONDS = 300.0
_SETTLE_SECONDS = 0.5
_POLL_SECONDS = 0.01
_BATCH = 500


@contextmanager
def standing_before(stack: Stack, role: Role, events: Sequence[Event], replicas: int = 1) -> Iterator[list[Service]]:
    """The replicas of this role: they own equal shares of the configured markets and are suspended, and all the events
    lie before them in each market."""
    markets = [settings.market for settings in parse_config(stack.config).markets()]
    for market in markets:
        asyncio.run(_write_genesis(stack, market))
    services = [stack.start(role.value, str(number + 1)) for number in range(replicas)]
    with stack.client() as client:
        stack.wait_until(
            lambda: _shares(client, role, markets) == [len(markets) // replicas] * replicas,
            f"{replicas} {role.value} own equal shares of the markets",
            READY_SECONDS,
        )
    time.sleep(_SETTLE_SECONDS)
    for service in services:
        service.usage.suspend()
    for market in markets:
        asyncio.run(_publish(stack, market, events))
    _rewrite_append_only_file(stack)
    yield services


def seconds_to_drain(stack: Stack, services: Sequence[Service], role: Role, left: int = 0) -> float:
    """Wakes the services; the time until at most `left` entries of each raw stream are before its cursor."""
    group = role.value.encode()
    waiting = [keys.stream(settings.market, keys.RAW) for settings in parse_config(stack.config).markets()]
    with stack.client() as client:

        def is_drained() -> bool:
            if not all(service.running for service in services):
                raise RuntimeError(f"{role.value} ended before the streams did\n{stack.logs()}")
            while waiting and any(
                each["name"] == group and each["lag"] <= left for each in client.xinfo_groups(waiting[-1])
            ):
                waiting.pop()
            return not waiting

        for service in services:
            service.usage.resume()
        return seconds_until(is_drained, f"{role.value} drains the streams", DRAIN_SECONDS, _POLL_SECONDS)


def _rewrite_append_only_file(stack: Stack) -> None:
    """Now, not while somebody measures: what was published makes it due, and it takes a core for a second."""
    with stack.client() as client:

        def is_done() -> bool:
            info = client.info("persistence")
            return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])

        stack.wait_until(is_done, "the append-only file is rewritten", READY_SECONDS)
        client.bgrewriteaof()
        stack.wait_until(is_done, "the append-only file is rewritten", READY_SECONDS)


def _shares(client: "redis.Redis", role: Role, markets: Sequence[Market]) -> list[int]:
    """How many markets each owner has."""
    owners = Counter(client.hget(keys.lease(market, role), "owner") or b"" for market in markets)
    return [] if b"" in owners else list(owners.values())


def with_end(events: Sequence[Event]) -> list[Event]:
    """A heartbeat after the end makes the last row due; it may itself stay uncommitted for some seconds."""
    after = events[-1][0] + 2_000_000_000
    return [*events, (after, encode(Heartbeat(after)))]


async def _write_genesis(stack: Stack, market: Market) -> None:
    """At the time of the made-up events: they would lie before one that is written now."""
    params = params_for(parse_config(stack.config), market)
    genesis = Genesis(START_NS, f"{params.hash}-benchmark", params.to_json())
    async with _holding(stack, Role.FEATURIZER, market) as (log, lease):
        await log.open_market(market)
        await log.add_genesis(lease, genesis.id, START_NS, encode(genesis), row_schemas(params))


async def _publish(stack: Stack, market: Market, events: Sequence[Event]) -> None:
    async with _holding(stack, Role.INGESTOR, market) as (log, lease):
        for start in range(0, len(events), _BATCH):
            await log.publish(lease, start + 1, events[start : start + _BATCH])


@asynccontextmanager
async def _holding(stack: Stack, role: Role, market: Market) -> AsyncIterator[tuple[MarketLog, Lease]]:
    client = connect(stack.valkey.url)
    keeper = LeaseKeeper(client, role, "benchmark", [market], timedelta(minutes=5), lambda: "benchmark")
    try:
        await keeper.renew()
        yield MarketLog(client), keeper.held[market]
        await keeper.leave()
    finally:
        await client.aclose()
