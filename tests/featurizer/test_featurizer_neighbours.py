"""What is wrong with one market, or with its node of a cluster, keeps no other from its features."""

import asyncio

from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.markets import Market
from daedalus_features import FeatureConfig
from support.market_events import market_events, payloads

AWAY, BTC = Market("binanceus", "AAA/USDT"), Market("binanceus", "BTC/USDT")
PARAMS = FeatureConfig(rolling_windows=(5, 60), depth_levels=5, bar_durations=(60,), kyle_window=60, regime_window=60)


async def test_a_market_whose_state_cannot_be_read_waits_alone(
    client: Redis, market_log: MarketLog, publish, replicas
) -> None:
    await client.set(keys.state(AWAY), "no hash")
    async with replicas.running(params={AWAY: PARAMS, BTC: PARAMS}) as (_, health):
        await publish(payloads(market_events(31, 300)))
        await replicas.caught_up(seconds=10)
        assert "redis" in health.readiness().problems
        await client.delete(keys.state(AWAY))
        await replicas.caught_up(AWAY, seconds=10)
        async with asyncio.timeout(10):
            while "redis" in health.readiness().problems:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
