"""Prometheus is told of how many markets are shared out and held, so that one without an owner can be noticed."""

import asyncio
from datetime import timedelta

from prometheus_client import REGISTRY
from redis.asyncio import Redis

from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_common.owner import Tenure
from daedalus_common.telemetry import Health

MARKETS = [Market("binanceus", f"{coin}/USDT") for coin in ("BTC", "ETH", "SOL")]


class Service:
    async def release(self, market: Market) -> bool:
        return True


def told(which: str) -> float | None:
    return REGISTRY.get_sample_value(f"daedalus_lease_{which}_markets", {"role": "writer"})


async def test_all_configured_markets_are_told_and_those_that_this_replica_holds(client: Redis):
    keeper = LeaseKeeper(client, Role.WRITER, "a", MARKETS, timedelta(seconds=30), lambda: "token")
    async with Tenure(keeper, timedelta(seconds=1), Service(), Health("writer")) as tenure:
        await tenure.first_round()
        assert (told("configured"), told("held")) == (3, 3)
        tenure.release(MARKETS[0])
        for _ in range(500):
            if keeper.changes["given"]:
                break
            await asyncio.sleep(0.01)
        assert (told("configured"), told("held")) == (3, len(keeper.held))
    assert (told("configured"), told("held")) == (3, 0)
