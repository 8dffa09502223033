"""What is wrong with one market, or with its node of a cluster, keeps no other from its features."""

import asyncio
import time

import pytest
import redis
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.markets import Market
from daedalus_features import FeatureConfig
from daedalus_featurizer.market_work import MarketWork, StepTaken
from support.market_events import market_events, payloads

AWAY, BTC = Market("binanceus", "AAA/USDT"), Market("binanceus", "BTC/USDT")
PARAMS = FeatureConfig(rolling_windows=(5, 60), depth_levels=5, bar_durations=(60,), kyle_window=60, regime_window=60)


async def test_a_market_whose_state_cannot_be_read_waits_alone(
    client: Redis, market_log: MarketLog, publish, replicas
) -> None:
    await client.set(keys.state(AWAY), "no hash")
    async with replicas.running(params={AWAY: PARAMS, BTC: PARAMS}) as (_, health):
        await publish(payloads(market_events(31, 300)))
        await replicas.caught_up()
        async with asyncio.timeout(30):  # a turn tells at its end, after its commits
            while "redis" not in health.readiness().problems:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await client.delete(keys.state(AWAY))
        await replicas.caught_up(AWAY)
        async with asyncio.timeout(30):
            while "redis" in health.readiness().problems:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_the_server_works_for_a_market_while_the_step_of_another_is_computed(
    redis_url, publish, replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(payloads(market_events(31, 300)))
    featurizer, keeper, _ = replicas.make("a", {AWAY: PARAMS, BTC: PARAMS}, max_entries=20)
    while len(keeper.held) < 2:
        await keeper.renew()
    step, seen = MarketWork.step, []

    def calls() -> tuple[int, int]:
        with redis.Redis.from_url(redis_url) as other:
            stats = other.info("commandstats")
            return stats.get("cmdstat_xrange", {}).get("calls", 0), stats["cmdstat_evalsha"]["calls"]

    def watched(work: MarketWork, count: int) -> StepTaken:
        time.sleep(0.2)  # it takes so long to compute: nothing can leave meanwhile
        seen.append(calls())
        return step(work, count)

    monkeypatch.setattr(MarketWork, "step", watched)
    reads_before, _ = calls()
    await featurizer.turn(commit_all=True)
    (reads_first, commits_first), (_, commits_second) = seen
    assert reads_first - reads_before == 3, "one of each market, and what the one that is behind has next"
    assert commits_second > commits_first
