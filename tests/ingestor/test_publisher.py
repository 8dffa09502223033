"""The publisher against a real server: order, exactly once, whatever happens to the server meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.entries import decode, encode
from daedalus_common.events import Channel, Gap, Heartbeat
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_common.telemetry import Health
from daedalus_ingestor.gaps import Place
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.publisher import Publisher
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.subscriptions import Subscription
from daedalus_ingestor.trades import TradeReader
from support.valkey import ValkeyServer

BTC, ETH = Market("binanceus", "BTC/USDT"), Market("binanceus", "ETH/USDT")


@dataclass
class Bench:
    """A publisher with two markets, whose events are numbered heartbeats."""

    client: Redis
    keeper: LeaseKeeper
    queue: EventQueue
    health: Health
    publisher: Publisher
    outboxes: dict[Market, Outbox] = field(default_factory=dict)
    sent: dict[Market, int] = field(default_factory=dict)

    @classmethod
    async def open(
        cls, url: str, max_events: int = 10_000, batch_size: int = 7, timeout_seconds: float = 10.0
    ) -> "Bench":
        client = connect(url, timeout=timedelta(seconds=timeout_seconds))
        keeper = LeaseKeeper(client, Role.INGESTOR, "me", [BTC, ETH], timedelta(seconds=60), lambda: "token")
        await keeper.renew()
        queue, health = EventQueue(max_events), Health("ingestor")
        log = MarketLog(client)
        publisher = Publisher(log, queue, batch_size, timedelta(seconds=0.005), health, keeper.lose)
        bench = cls(client, keeper, queue, health, publisher)
        for market in (BTC, ETH):
            await log.open_market(market)
            bench.outboxes[market] = queue.open(keeper.held[market])
            bench.sent[market] = 0
        return bench

    def put(self, market: Market, count: int) -> None:
        for _ in range(count):
            self.sent[market] += 1
            self.queue.declare(self.outboxes[market], Heartbeat(self.sent[market]))

    async def published(self, market: Market) -> list[int]:
        """The numbers in the stream; its seq has no hole."""
        entries = await MarketLog(self.client).read(market, "raw", "0-0", 100_000)
        raw: Any = await self.client.xrange(f"{{{market.name}}}:raw")
        assert [int(fields[b"s"]) for _, fields in raw] == list(range(1, len(raw) + 1))
        assert len(entries) == len(raw)
        return [decode(fields[b"e"]).capture_ts for _, fields in raw]


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    bench = await Bench.open(redis_url)
    yield bench
    await bench.client.aclose()


async def test_every_event_of_every_market_is_published_once_and_in_order(bench):
    bench.put(BTC, 100)
    bench.put(ETH, 33)
    assert await bench.publisher.drain(timedelta(seconds=5)) == 0
    assert await bench.published(BTC) == list(range(1, 101))
    assert await bench.published(ETH) == list(range(1, 34))


async def test_a_lost_reply_doubles_nothing(bench):
    """The batch is applied, the reply never comes: the same numbers are sent again and skipped."""
    bench.put(BTC, 20)
    outbox = bench.outboxes[BTC]
    await MarketLog(bench.client).publish(outbox.lease, outbox.first, outbox.batch(7, 10**6))
    await bench.publisher.drain(timedelta(seconds=5))
    assert await bench.published(BTC) == list(range(1, 21))


async def test_a_lease_of_another_ends_the_market_and_leaves_the_others(bench):
    bench.put(BTC, 10)
    bench.put(ETH, 10)
    thief = LeaseKeeper(bench.client, Role.INGESTOR, "me", [BTC], timedelta(seconds=60), lambda: "another")
    await thief.renew()
    assert await bench.publisher.drain(timedelta(seconds=5)) == 0
    assert await bench.published(BTC) == []
    assert await bench.published(ETH) == list(range(1, 11))
    assert list(bench.keeper.held) == [ETH]


async def test_a_market_that_fails_does_not_slow_the_others(bench):
    """As in a cluster of which one master is away."""
    raw = f"{{{BTC.name}}}:raw"
    await bench.client.rename(raw, f"{{{BTC.name}}}:aside")
    await bench.client.set(raw, "no stream")
    stop = asyncio.Event()
    running = asyncio.create_task(bench.publisher.run(stop))
    bench.put(BTC, 20)
    times = []
    for _ in range(60):
        began = time.monotonic()
        bench.put(ETH, 1)
        await until(lambda: not bench.outboxes[ETH].events)
        times.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
    assert bench.outboxes[BTC].failures >= 4
    assert sorted(times)[49] < 0.5, "the failing market's pauses are 1 s and more by now"
    assert "redis" in bench.health.readiness().problems
    await bench.client.rename(f"{{{BTC.name}}}:aside", raw)
    await until(lambda: bench.queue.size == 0)
    stop.set()
    await running
    assert "redis" not in bench.health.readiness().problems
    assert await bench.published(BTC) == list(range(1, 21))
    assert await bench.published(ETH) == list(range(1, 61))


async def test_what_the_server_forgot_is_declared(bench):
    bench.put(BTC, 5)
    await bench.publisher.drain(timedelta(seconds=5))
    await bench.client.hset(f"{{{BTC.name}}}:sequence", "applied", "3")
    bench.put(BTC, 1)
    await bench.publisher.drain(timedelta(seconds=5))
    *_, (_, gap_entry), (_, last) = await bench.client.xrange(f"{{{BTC.name}}}:raw")
    gap = decode(gap_entry[b"e"])
    assert decode(last[b"e"]) == Heartbeat(6)
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.lost) == ("server_lost", 2)


class TestAServerThatFails:
    @pytest.fixture
    def server(self, tmp_path: Path):
        with ValkeyServer(tmp_path / "valkey") as server:
            yield server

    @pytest.fixture
    async def own(self, server: ValkeyServer) -> AsyncIterator[Bench]:
        bench = await Bench.open(server.url, timeout_seconds=0.5)
        yield bench
        await bench.client.aclose()

    async def test_being_away_for_a_while_costs_nothing(self, server, own):
        stop = asyncio.Event()
        running = asyncio.create_task(own.publisher.run(stop))
        own.put(BTC, 50)
        await until(lambda: own.queue.size == 0)
        server.stop()
        own.put(BTC, 50)
        await until(lambda: not own.health.readiness().ok and "redis" in own.health.readiness().problems)
        own.put(BTC, 50)
        server.start()
        await until(lambda: own.queue.size == 0)
        stop.set()
        await running
        assert await own.published(BTC) == list(range(1, 151))
        assert "redis" not in own.health.readiness().problems

    async def test_a_pause_longer_than_the_timeout_doubles_nothing(self, server, own):
        stop = asyncio.Event()
        running = asyncio.create_task(own.publisher.run(stop))
        server.pause()
        own.put(BTC, 100)
        own.put(ETH, 100)
        await asyncio.sleep(1.2)  # two time-outs of a half a second: commands were sent twice
        server.resume()
        await until(lambda: own.queue.size == 0)
        stop.set()
        await running
        assert await own.published(BTC) == list(range(1, 101))
        assert await own.published(ETH) == list(range(1, 101))

    async def test_a_full_server_is_tried_again_until_it_has_room(self, server, own):
        await own.client.config_set("maxmemory", "1mb")
        own.put(BTC, 30)
        assert await own.publisher.drain(timedelta(seconds=0.4)) == 30
        await own.client.config_set("maxmemory", "0")
        assert await own.publisher.drain(timedelta(seconds=5)) == 0
        assert await own.published(BTC) == list(range(1, 31))

    async def test_a_stop_while_it_is_away_says_how_many_events_are_lost(self, server, own):
        server.stop()
        own.put(BTC, 12)
        assert await own.publisher.drain(timedelta(seconds=0.3)) == 12
        server.start()

    async def test_what_overflowed_meanwhile_is_declared_in_its_place(self, server):
        small = await Bench.open(server.url, max_events=20, timeout_seconds=0.5)
        outbox = small.outboxes[BTC]
        place = Place(Channel.TRADES)
        trades = Subscription(BTC, "BTCUSDT", Channel.TRADES, outbox, place, TradeReader())
        server.pause()
        kept = [number for number in range(1, 51) if small.queue.offer(trades, number, encode(Heartbeat(number)))]
        server.resume()
        await small.publisher.drain(timedelta(seconds=5))
        assert small.queue.offer(trades, 51, encode(Heartbeat(51)))
        await small.publisher.drain(timedelta(seconds=5))
        raw: Any = await small.client.xrange(f"{{{BTC.name}}}:raw")
        events = [decode(fields[b"e"]) for _, fields in raw]
        assert kept == list(range(1, 21))
        assert [event.capture_ts for event in events[:20]] == kept
        assert isinstance(events[20], Gap)
        assert (events[20].reason, events[20].lost, events[21].capture_ts) == ("overflow", 30, 51)
        await small.client.aclose()


async def until(condition, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the condition is another process's
            await asyncio.sleep(0.01)
