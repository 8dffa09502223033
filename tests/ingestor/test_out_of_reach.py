"""Two ingestors, one of which cannot reach the exchange: the other records everything, and no market moves in vain."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from daedalus_common.events import Trade
from faults.tools.tcp_proxy import TcpProxy
from ingestor.pipeline import Ingestor, check_trades, configuration, ingestor, reasons, stream, until
from simulator.harness import Simulator, simulator_process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "ADA/USDT")
QUICK = 2.0
"""A connection is stale after so many seconds; out of reach is an exchange after twice that."""
NAMES = tuple(f"binanceus:{symbol.replace('/', '-')}" for symbol in SYMBOLS)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with simulator_process("--symbols", *SYMBOLS, "--trade-rate", "20") as running:
        yield running


@pytest.fixture
def way(sim: Simulator) -> Iterator[TcpProxy]:
    """The second ingestor's way to the exchange."""
    with TcpProxy(urlsplit(sim.url).port or 0) as proxy:
        yield proxy


class Scene:
    """Who has each market, and what is recorded of it."""

    def __init__(self, redis_url: str, sim: Simulator, way: TcpProxy, **ingestion: float) -> None:
        self._redis_url = redis_url
        channels = {"watchTrades": list(SYMBOLS)}
        self.near = configuration(redis_url, sim.url, channels, ingestion=ingestion)
        self.far = configuration(redis_url, f"http://127.0.0.1:{way.port}", channels, ingestion=ingestion)

    def leases(self) -> dict[str, tuple[str, int]]:
        """Owner and epoch."""
        with redis.Redis.from_url(self._redis_url, decode_responses=True) as client:
            found: list[Any] = [client.hmget(f"{{{name}}}:lease:ingestor", "owner", "epoch") for name in NAMES]
        return {name: (owner or "", int(epoch or 0)) for name, (owner, epoch) in zip(NAMES, found, strict=True)}

    def load(self) -> float:
        """Events a second of all markets, as their owners last told."""
        with redis.Redis.from_url(self._redis_url) as client:
            return sum(float(client.hget(f"{{{name}}}:lease:ingestor", "load") or 0) for name in NAMES)

    def share(self, name: str) -> int:
        return sum(owner == name for owner, _ in self.leases().values())

    def trades(self) -> list[int]:
        return [sum(isinstance(event, Trade) for event in stream(self._redis_url, name)) for name in NAMES]

    async def all_are_recorded(self) -> None:
        before = self.trades()
        await until(lambda: all(now > then + 3 for now, then in zip(self.trades(), before, strict=True)))

    async def at_rest(self) -> dict[str, tuple[str, int]]:
        """The leases, once nothing has moved for a while: how busy a market is shows after some seconds."""
        async with asyncio.timeout(60):
            while True:
                before = self.leases()
                await asyncio.sleep(5.0)
                if before == self.leases() and self.share("one") == 2:
                    return before

    async def whole(self, sim: Simulator) -> list[str]:
        """Checks that each trade is recorded, or in a declared gap; the reasons of all gaps."""
        ledger, found = (await sim.get("/control/ledger"))["symbols"], []
        for symbol, name in zip(SYMBOLS, NAMES, strict=True):
            events = stream(self._redis_url, name)
            check_trades(events, ledger[symbol]["channels"]["trade"]["ids"], to_the_end=False)
            found += reasons(events, "trades")
        return found


async def test_one_that_never_reached_it_gets_nothing_until_it_does(redis_url, tmp_path, sim, way):
    scene = Scene(redis_url, sim, way)
    way.refuse()
    async with ingestor(tmp_path, scene.near, "one") as one:
        await until(lambda: scene.share("one") == 4)
        await scene.all_are_recorded()
        before = scene.leases()
        async with ingestor(tmp_path, scene.far, "two") as two:
            await until(lambda: bool(two.logged("first round of leases")))
            await asyncio.sleep(6.0)  # a dozen rounds
            assert scene.leases() == before, "no market has moved"
            await scene.all_are_recorded()
            problems = (await two.get("/readyz"))[1]
            assert "exchange binanceus" in problems
            assert '"leases"' not in problems
            assert await two.metric("daedalus_ingestor_exchange_reached") == 0
            way.heal()
            await until(lambda: scene.share("two") == 2)
            await scene.all_are_recorded()
            assert await two.metric("daedalus_ingestor_exchange_reached") == 1
            assert await two.stop() == 0
        assert await one.stop() == 0
    found = await scene.whole(sim)
    assert (found.count("start"), found.count("reconnect")) == (4, 0)


async def test_one_that_reaches_it_no_longer_gives_its_markets_and_gets_them_back(redis_url, tmp_path, sim, way):
    scene = Scene(redis_url, sim, way, stale_after_seconds=QUICK)
    async with ingestor(tmp_path, scene.near, "one") as one, ingestor(tmp_path, scene.far, "two") as two:
        await until(lambda: (scene.share("one"), scene.share("two")) == (2, 2))
        await scene.all_are_recorded()
        way.refuse()
        await until(lambda: scene.share("one") == 4)
        assert two.logged("exchange out of reach: others get its markets")
        held = scene.leases()
        await scene.all_are_recorded()
        await asyncio.sleep(5.0)
        assert scene.leases() == held, "they stay there"
        way.heal()
        await until(lambda: scene.share("two") == 2)
        await scene.all_are_recorded()
        await two.answers("/readyz", 200)
        assert await two.stop() == 0
        assert await one.stop() == 0
    await scene.whole(sim)


async def test_an_exchange_that_nobody_reaches_moves_nothing(redis_url, tmp_path, sim, way):
    scene = Scene(redis_url, sim, way, stale_after_seconds=QUICK)
    async with ingestor(tmp_path, scene.far, "one") as one, ingestor(tmp_path, scene.far, "two") as two:
        await until(lambda: (scene.share("one"), scene.share("two")) == (2, 2))
        before = await scene.at_rest()
        way.refuse()
        both: tuple[Ingestor, ...] = (one, two)
        await until(lambda: all(each.logged("exchange out of reach: others get its markets") for each in both))
        await asyncio.sleep(1.0)  # two rounds: the load told last is of after the exchange had gone
        load = scene.load()
        await asyncio.sleep(8.0)  # of its mean of 30 s, what would leave three quarters
        assert scene.leases() == before
        assert scene.load() > 0.95 * load > 0, "not less for want of events: that would attract more"
        way.heal()
        await scene.all_are_recorded()
        assert scene.leases() == before
        for each in both:
            assert await each.stop() == 0
    await scene.whole(sim)
