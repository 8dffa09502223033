"""Leases change hands at once when given, after the ttl when their owner is gone, by the server's clock alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.scripts import Scripts
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_common.owner import Tenure
from daedalus_common.telemetry import Health
from support.valkey import ValkeyServer

MARKETS = [Market("binanceus", f"C{i}/USDT") for i in range(6)]
BTC = MARKETS[0]
HOUR_MS = 3_600_000
_tokens = count(1)


class Service:
    """Parts with every market at once, unless it is told to keep some."""

    def __init__(self) -> None:
        self.released: list[Market] = []
        self.keeps: set[Market] = set()

    async def release(self, market: Market) -> bool:
        if market in self.keeps:
            return False
        self.released.append(market)
        return True


def keeper(
    client: Redis,
    name: str,
    ttl_seconds: float = 60.0,
    markets: list[Market] = MARKETS,
    monotonic: Callable[[], float] = time.monotonic,
) -> LeaseKeeper:
    ttl = timedelta(seconds=ttl_seconds)
    return LeaseKeeper(client, Role.WRITER, name, markets, ttl, lambda: f"t{next(_tokens)}", monotonic)


@asynccontextmanager
async def at_work(
    keeper: LeaseKeeper, service: Service | None = None, renew_seconds: float = 30.0, health: Health | None = None
) -> AsyncIterator[Tenure]:
    """In the background, with renewals so rare that within `until`'s time only hand-overs can move anything."""
    health = health or Health("writer")
    async with Tenure(keeper, timedelta(seconds=renew_seconds), service or Service(), health) as tenure:
        await asyncio.wait_for(keeper.did_a_round.wait(), 20)
        yield tenure


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  it is changed by another task
            await asyncio.sleep(0.01)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"daedalus_lease_{name}", {"role": "writer", **labels}) or 0.0


async def test_what_a_leaving_replica_gives_is_taken_before_the_others_next_renewal(client: Redis) -> None:
    a, b = keeper(client, "a"), keeper(client, "b")
    async with AsyncExitStack() as leaving:
        await leaving.enter_async_context(at_work(a))
        async with at_work(b):
            assert not b.held, "every market has an owner"
            await leaving.aclose()
            await until(lambda: len(b.held) == 6)


async def test_a_market_is_given_to_whoever_joins_without_waiting_for_the_others_renewals(client: Redis) -> None:
    a, b = keeper(client, "a"), keeper(client, "b")
    service = Service()
    async with at_work(a, service, renew_seconds=0.5), at_work(b):
        assert not b.held, "every market has an owner yet"
        await until(lambda: len(a.held) == 3)
        await until(lambda: len(b.held) == 3)
        assert sorted(service.released) == sorted(b.held)
        await asyncio.sleep(1.2)
        assert (len(a.held), len(b.held)) == (3, 3)


async def test_a_market_that_cannot_go_now_is_kept_and_goes_later(client: Redis) -> None:
    a, b = keeper(client, "a"), keeper(client, "b")
    service = Service()
    service.keeps = set(MARKETS)
    async with at_work(a, service, renew_seconds=0.2), at_work(b):
        await asyncio.sleep(0.8)
        assert len(a.held) == 6
        before = dict(a.held)
        service.keeps = set()
        await until(lambda: len(b.held) == 3)
        assert all(before[market] == lease for market, lease in a.held.items())


async def test_a_killed_replicas_markets_are_taken_after_the_ttl_and_not_before(client: Redis) -> None:
    a, b = keeper(client, "a", 1.0), keeper(client, "b", 1.0)
    began = time.monotonic()
    await a.renew()
    async with at_work(b, renew_seconds=0.1):
        await until(lambda: len(b.held) == 6)
        assert 0.95 <= time.monotonic() - began < 8.0
        assert all(b.held[market].epoch > lease.epoch for market, lease in a.held.items())


async def test_a_retired_replica_keeps_what_it_has_takes_nothing_and_is_nobodys_choice(client: Redis) -> None:
    a, b = keeper(client, "a", 2.0), keeper(client, "b", 2.0)
    await a.renew()
    await a.retire()
    await a.give(MARKETS[1])
    assert await a.renew() == ()
    await b.renew()
    assert set(b.held) == {MARKETS[1]}
    for _ in range(3):
        await asyncio.sleep(0.8)
        await a.renew()
    assert len(a.held) == 5, "renewed past its ttl"
    assert await client.zrange(keys.replicas(Role.WRITER), 0, -1) == [b"b"]


async def test_the_load_goes_with_the_market(client: Redis) -> None:
    seconds = 0.0
    a = keeper(client, "a", markets=[BTC], monotonic=lambda: seconds)
    await a.renew()
    for seconds in range(1, 60):  # noqa: B007  it is the keeper's clock
        a.load.count(BTC, 200)
    await a.renew()
    await a.leave()
    told = float(await client.hget(keys.lease(BTC, Role.WRITER), "load") or 0)
    assert told == pytest.approx(200, rel=0.05)
    b = keeper(client, "b", markets=[BTC], monotonic=lambda: 1000.0)
    await b.renew()
    assert b.load.load(BTC, 1000.0) == pytest.approx(told), "what the last owner told, until it knows better"


async def test_a_heavy_market_gets_a_replica_of_its_own(client: Redis) -> None:
    for i, market in enumerate(MARKETS):
        await client.hset(keys.lease(market, Role.WRITER), "load", 500 if i == 4 else 20)
    replicas = [keeper(client, name) for name in "abc"]
    for _ in range(2):
        for each in replicas:
            for market in await each.renew():
                await each.give(market)
    assert sorted(len(each.held) for each in replicas) == [1, 2, 3]
    assert [set(each.held) for each in replicas if len(each.held) == 1] == [{MARKETS[4]}]


@pytest.mark.parametrize("ahead", [True, False], ids=["forward", "back"])
async def test_a_server_whose_clock_jumps_keeps_one_owner_a_market(client: Redis, ahead: bool) -> None:
    """The clock itself is the machine's; what it leaves behind is a time that is far from the server's now."""
    a, b = keeper(client, "a", 1.0), keeper(client, "b", 1.0)
    await a.renew()
    before = dict(a.held)
    shift = -HOUR_MS if ahead else HOUR_MS
    for market in MARKETS:
        await client.hincrby(keys.lease(market, Role.WRITER), "expires_ms", shift)
    await client.zincrby(keys.replicas(Role.WRITER), shift, "a")
    if ahead:  # every lease has run out at once, whoever comes first has them
        await b.renew()
        assert len(b.held) == 6
        await a.renew()
        assert not set(a.held) & set(b.held)
        return
    await a.renew()
    assert a.held == before, "a living owner notices nothing"
    for market in MARKETS:
        await client.hincrby(keys.lease(market, Role.WRITER), "expires_ms", shift)
    await client.zincrby(keys.replicas(Role.WRITER), shift, "a")
    async with at_work(b, renew_seconds=0.1):  # and a dead one's markets do not wait for an hour
        await until(lambda: len(b.held) == 6)


async def test_a_restarted_server_forgets_no_lease(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        client = connect(server.url)
        a, b = keeper(client, "a", 5.0), keeper(client, "b", 5.0)
        await a.renew()
        before = dict(a.held)
        await asyncio.sleep(1.1)  # appendfsync everysec
        server.restart()
        failed = 0
        for _ in range(20):
            try:
                await a.renew()
                break
            except redis.RedisError:
                failed += 1
                await asyncio.sleep(0.05)
        await b.renew()
        assert a.held == before
        assert not b.held
        assert failed < 20
        await client.aclose()


async def test_a_server_that_lost_everything_gives_each_market_one_owner_again(client: Redis) -> None:
    a, b = keeper(client, "a"), keeper(client, "b")
    await a.renew()
    await client.flushall()
    await b.renew()
    await a.renew()
    assert not set(a.held) & set(b.held)
    assert set(a.held) | set(b.held) == set(MARKETS)


async def test_an_older_builds_leases_are_understood(client: Redis) -> None:
    """Without a load and without a ttl."""
    now_ms = int((await client.time())[0]) * 1000
    old: Any = {"epoch": "3", "token": "t", "owner": "old", "since_ms": now_ms, "expires_ms": now_ms + HOUR_MS}
    await client.hset(keys.lease(BTC, Role.WRITER), mapping=old)
    a = keeper(client, "a", markets=[BTC])
    await a.renew()
    assert not a.held
    await client.hset(keys.lease(BTC, Role.WRITER), "expires_ms", str(now_ms - 1))
    await a.renew()
    assert a.held[BTC].epoch > 3


@asynccontextmanager
async def slow_server(url: str, seconds: float) -> AsyncIterator[str]:
    """The URL of a way to the server on which every answer takes `seconds` longer."""
    host, port = url.removeprefix("redis://").removesuffix("/0").split(":")
    tasks: list[asyncio.Task[None]] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await asyncio.sleep(delay)
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        pairs = ((reader, server_writer, 0.0), (server_reader, writer, seconds))
        tasks.extend(asyncio.create_task(copy(*pair)) for pair in pairs)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        await asyncio.gather(*tasks)  # the client has closed its connections


async def test_a_hundred_markets_are_renewed_within_the_ttl_of_a_server_that_takes_50_ms(redis_url: str) -> None:
    markets = [Market("binanceus", f"M{i}/USDT") for i in range(100)]
    async with slow_server(redis_url, 0.05) as url:
        client = connect(url)
        a = keeper(client, "a", 10.0, markets)
        await a.renew()
        began = time.monotonic()
        await a.renew()
        assert time.monotonic() - began < 3.0, "one after the other: 200 answers, 10 s"
        assert len(a.held) == 100
        await client.aclose()


async def test_changes_are_counted(client: Redis) -> None:
    a = keeper(client, "a", 0.05)
    await a.renew()
    await a.give(BTC)
    assert a.changes == {"taken": 6, "given": 1}
    await asyncio.sleep(0.1)
    await client.delete(keys.replicas(Role.WRITER))
    await keeper(client, "b").renew()
    await a.renew()
    assert a.changes == {"taken": 6, "given": 1, "lost": 5}
    await client.delete(keys.replicas(Role.WRITER))
    before = sample("changes_total", change="taken")
    async with at_work(keeper(client, "b")):
        assert sample("changes_total", change="taken") == before + 6


async def test_failed_renewals_and_the_age_of_the_last_good_one_are_told(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        client = connect(server.url)
        a = keeper(client, "a")
        failures = sample("renew_failures_total")
        async with at_work(a, renew_seconds=0.1):
            assert sample("renewal_age_seconds") < 0.5
            server.stop()
            await until(lambda: sample("renewal_age_seconds") > 0.8)
            assert sample("renew_failures_total") > failures
            assert len(a.held) == 6, "whether they still count is for the server to say"
            server.start()
            await until(lambda: sample("renewal_age_seconds") < 0.5)
        await client.aclose()


async def test_a_replica_without_a_market_is_not_ready_while_it_could_take_none(tmp_path: Path) -> None:
    health = Health("writer")
    with ValkeyServer(tmp_path / "valkey") as server:
        client = connect(server.url)
        spare = keeper(client, "spare", markets=[])
        async with at_work(spare, renew_seconds=0.1, health=health):
            assert "leases" not in health.readiness().problems
            server.stop()
            await until(lambda: "leases" in health.readiness().problems)
            server.start()
            await until(lambda: "leases" not in health.readiness().problems)
        await client.aclose()


UNFENCED = {
    "open_market": "creates groups, at the beginning of an empty stream",
    "take_lease": "decides by owner, token and expiry itself",
    "see_lease": "shortens an expiry that the clock left in the future",
    "see_state": "reads",
    "replicas": "who is alive",
    "publish_late": "events outside the sequence, numbered per folder",
    "remove_group": "an operator's command, refuses while the owner lives",
    "retry_letter": "an operator's command",
}


def test_every_script_that_changes_a_market_is_fenced_first() -> None:
    lua = files("daedalus_common.broker") / "lua"
    texts = {path.name.removesuffix(".lua"): path.read_text() for path in lua.iterdir() if path.name != "fence.lua"}
    assert {name for name, text in texts.items() if "fenced(" not in text} == set(UNFENCED)
    for name, text in texts.items():
        code = [line for line in text.splitlines() if line.strip() and not line.startswith("--")]
        assert name in UNFENCED or "fenced(" in code[0], name


async def test_a_zombie_whose_market_was_taken_and_given_back_works_under_a_new_epoch(client: Redis) -> None:
    """SIGSTOP past the ttl: nobody owns the market when it wakes, and its old epoch is refused all the same."""
    zombie, heir = keeper(client, "zombie", 0.1, [BTC]), keeper(client, "heir", 60.0, [BTC])
    await zombie.renew()
    old = zombie.held[BTC]
    await asyncio.sleep(0.2)
    await heir.renew()
    await heir.leave()
    scripts = Scripts(client)
    assert await scripts.call("give_lease", [keys.lease(BTC, Role.WRITER)], [old.epoch, old.token]) == b"NOT YOURS"
    await zombie.renew()
    assert zombie.held[BTC].epoch > old.epoch + 1


async def test_leases_are_kept_while_only_the_counter_of_handovers_does_not_answer(client: Redis) -> None:
    """In a cluster its node may be away, and the others' leases must not run out for that."""
    await client.lpush(keys.handovers(Role.WRITER), "not a number")
    lasting = keeper(client, "a", ttl_seconds=1.0)
    async with at_work(lasting, renew_seconds=0.2):
        held = dict(lasting.held)
        await asyncio.sleep(1.5)
        assert await client.hget(keys.lease(BTC, Role.WRITER), "owner") == b"a"
        assert int(await client.hget(keys.lease(BTC, Role.WRITER), "expires_ms") or 0) > time.time() * 1000
        assert lasting.held == held
        await client.delete(keys.handovers(Role.WRITER))
