"""What nobody expected ends the service, for its supervisor to start it again, or is told: it never goes on half."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, cast

import pytest

from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.config import parse_config
from daedalus_common.leases import Ability, Role
from daedalus_common.markets import Market
from daedalus_common.telemetry import Health
from daedalus_ingestor.feed import CcxtFeed
from daedalus_ingestor.ingestor import Ingestor
from daedalus_ingestor.late_events import LateEvents
from daedalus_ingestor.settings import settings_from
from daedalus_ingestor.spool import Spool

CONFIG = parse_config({"ccxt": {"exchanges": {}}})
BTC, ETH = Market("binanceus", "BTC/USDT"), Market("binanceus", "ETH/USDT")


class BrokenSpool(Spool):
    async def run(self, stop: asyncio.Event) -> None:
        await asyncio.sleep(0.2)
        raise ValueError("a bug")


class BrokenLateEvents(LateEvents):
    looks = 0

    async def look(self, stop: asyncio.Event) -> None:
        self.looks += 1
        raise ValueError("a bug")


async def test_an_ingestor_whose_spool_ended_ends(redis_url: str, tmp_path: Path) -> None:
    client, health = connect(redis_url), Health("ingestor")
    keeper = LeaseKeeper(client, Role.INGESTOR, "me", [], timedelta(seconds=30), lambda: "token")
    spool = BrokenSpool(tmp_path, 10**6, fsync=False)
    ingestor = Ingestor(settings_from(CONFIG), client, keeper, health, lambda name, queue: pytest.fail(name), spool)
    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(20):
            await ingestor.run(asyncio.Event())
    assert [str(error) for error in ended.value.exceptions] == ["a bug"]
    await client.aclose()


class SlowFeed:
    """Of which markets are taken slowly, and nothing is recorded."""

    removing: ClassVar[list[Market]] = []

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()

    def ability(self, _: str = "") -> Ability:
        return Ability.ABLE

    def can_feed(self, _: Market) -> bool:
        return True

    def is_fed(self, _: Market) -> bool:
        return True

    def add(self, *_: object) -> None: ...

    async def remove(self, market: Market) -> None:
        self.removing.append(market)
        await self.go_on.wait()

    def silence(self) -> None: ...

    async def close(self) -> None: ...


async def test_a_market_that_is_given_while_another_is_dropped_is_given_once(redis_url: str) -> None:
    client, health, feed = connect(redis_url), Health("ingestor"), SlowFeed()
    keeper = LeaseKeeper(client, Role.INGESTOR, "me", [BTC, ETH], timedelta(seconds=30), lambda: "token")
    config = parse_config(
        {"ccxt": {"exchanges": {"binanceus": {"channels": {"watchTrades": ["BTC/USDT", "ETH/USDT"]}}}}}
    )
    ingestor = Ingestor(settings_from(config), client, keeper, health, lambda *_: cast(CcxtFeed, feed), None)
    stop = asyncio.Event()
    async with asyncio.timeout(20):
        running = asyncio.create_task(ingestor.run(stop))
        while len(ingestor._outboxes) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        keeper.lose(keeper.held[BTC])
        while not feed.removing:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert keeper.let_go(ETH)
        giving = asyncio.create_task(ingestor.release(ETH))
        await asyncio.sleep(0)
        feed.go_on.set()
        assert await giving
        stop.set()
        await running
    assert feed.removing == [BTC, ETH]
    await client.aclose()


async def test_late_events_that_cannot_be_understood_are_tried_again_and_end_nothing(
    redis_url: str, tmp_path: Path
) -> None:
    client = connect(redis_url)
    spool, stop = Spool(tmp_path, 10**6, fsync=False), asyncio.Event()
    look = timedelta(seconds=0.01)
    late = BrokenLateEvents(spool, client, MarketLog(client), [], lambda: True, look=look)
    running = asyncio.create_task(late.run(stop))
    async with asyncio.timeout(20):
        while late.looks < 3:  # noqa: ASYNC110  the count is the task's doing
            await asyncio.sleep(0.01)
    stop.set()
    await running
    await client.aclose()
