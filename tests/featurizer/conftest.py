"""A market on the real server, someone who publishes to it, and featurizers that run in this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count

import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_common.telemetry import Health
from daedalus_features import FeatureConfig
from daedalus_featurizer.featurizer import GROUP, Featurizer
from daedalus_featurizer.settings import Settings
from support.market_events import START

BTC = Market("binanceus", "BTC/USDT")
PARAMS = FeatureConfig(rolling_windows=(5, 60), depth_levels=5, bar_durations=(60,), kyle_window=60, regime_window=60)
_numbers = count(1)


@pytest.fixture
def publish(client: Redis, market_log: MarketLog) -> Callable[[list[tuple[int, bytes]]], Awaitable[None]]:
    """Publishes events of BTC/USDT in batches of 100, as an ingestor would."""
    keeper = LeaseKeeper(client, Role.INGESTOR, "publisher", [BTC], timedelta(minutes=5), lambda: "publisher")
    first = 1

    async def publish(events: list[tuple[int, bytes]]) -> None:
        nonlocal first
        if not keeper.held:
            await keeper.renew()
        for start in range(0, len(events), 100):
            batch = events[start : start + 100]
            await market_log.publish(keeper.held[BTC], first, batch)
            first += len(batch)

    return publish


class Replicas:
    """Starts featurizers in this process and waits for them."""

    def __init__(self, client: Redis, market_log: MarketLog) -> None:
        self._client = client
        self._log = market_log

    def make(
        self, name: str, params: dict[Market, FeatureConfig], *, max_entries: int = 500, commit_seconds: float = 0.2
    ) -> tuple[Featurizer, LeaseKeeper, Health]:
        settings = Settings(
            params=params,
            poll=timedelta(milliseconds=5),
            commit_after=timedelta(seconds=commit_seconds),
            max_entries=max_entries,
            max_rows=50,
            lease_ttl=timedelta(seconds=1),
            lease_renew=timedelta(seconds=0.2),
        )
        keeper = LeaseKeeper(
            self._client, Role.FEATURIZER, name, tuple(params), settings.lease_ttl, lambda: f"token-{next(_numbers)}"
        )
        health = Health("featurizer")
        # The made-up events are of the past: a genesis stamped now would stop the market's time.
        return Featurizer(settings, self._log, keeper, health, now_ns=lambda: START), keeper, health

    @asynccontextmanager
    async def running(
        self, name: str = "a", params: dict[Market, FeatureConfig] | None = None, *, max_entries: int = 500
    ) -> AsyncIterator[tuple[LeaseKeeper, Health]]:
        featurizer, keeper, health = self.make(name, params or {BTC: PARAMS}, max_entries=max_entries)
        stop = asyncio.Event()
        task = asyncio.create_task(featurizer.run(stop))
        try:
            yield keeper, health
        finally:
            stop.set()
            await task

    async def crash(self, params: dict[Market, FeatureConfig], turns: int, **settings: int) -> None:
        """A featurizer that does some turns and is never heard of again."""
        featurizer, keeper, _ = self.make(f"crashed-{next(_numbers)}", params, **settings)
        while not keeper.held:
            await keeper.renew()
            await asyncio.sleep(0.05)
        for _ in range(turns):
            await featurizer.turn()

    async def caught_up(self, market: Market = BTC, seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                cursor = await self._log.cursor(market, keys.RAW, GROUP)
                if cursor.lag == 0 and cursor.id != BEGINNING:
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
def replicas(client: Redis, market_log: MarketLog) -> Replicas:
    return Replicas(client, market_log)
