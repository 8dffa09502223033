"""A replica that cannot reach an exchange gets none of its markets, and gives those that it has to one that can."""

import asyncio
import errno
import time
from datetime import timedelta
from itertools import count

import pytest
from redis.asyncio import Redis

from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.leases import Ability, Role
from daedalus_common.markets import Market
from daedalus_common.owner import Tenure
from daedalus_common.telemetry import Health

X = [Market("x", f"C{i}/USDT") for i in range(4)]
Y = [Market("y", f"C{i}/USDT") for i in range(2)]
ABLE, DOUBTFUL, UNABLE = Ability
_tokens = count(1)


def _new_token() -> str:
    return f"token-{next(_tokens)}"


class Replica:
    """`x` and `y` are what it is able to do on either exchange."""

    def __init__(self, client: Redis, name: str, x: Ability = ABLE, y: Ability = ABLE) -> None:
        ttl, self.now = timedelta(seconds=60), 0.0
        self.keeper = LeaseKeeper(client, Role.INGESTOR, name, [*X, *Y], ttl, _new_token, lambda: self.now)
        self.abilities = {"x": x, "y": y}
        self.keeper.replicas.ability = lambda exchange: self.abilities[exchange]

    async def release(self, market: Market) -> bool:
        return True

    def has(self, markets: list[Market]) -> int:
        return len(set(self.keeper.held) & set(markets))


async def rounds_of(*replicas: Replica, rounds: int = 3) -> None:
    for _ in range(rounds):
        for each in replicas:
            for market in await each.keeper.renew():
                await each.keeper.give(market)


async def test_a_replica_gets_markets_of_the_exchanges_alone_that_it_reaches(client: Redis) -> None:
    a, b = Replica(client, "a"), Replica(client, "b", x=UNABLE)
    await rounds_of(a, b)
    assert (a.has(X), b.has(X)) == (4, 0)
    assert (a.has(Y), b.has(Y)) == (0, 2)


async def test_one_that_reaches_nothing_changes_nothing_and_its_share_comes_when_it_does(client: Redis) -> None:
    a, b = Replica(client, "a"), Replica(client, "b", UNABLE, UNABLE)
    await rounds_of(a)
    before = dict(a.keeper.held)
    await rounds_of(a, b)
    assert a.keeper.held == before
    assert len(before) == 6
    assert b.keeper.did_a_round.is_set()
    b.abilities = {"x": ABLE, "y": ABLE}
    await rounds_of(a, b)
    assert (len(a.keeper.held), len(b.keeper.held)) == (3, 3)


async def test_one_that_doubts_keeps_what_it_has_and_gives_it_once_it_knows(client: Redis) -> None:
    a, b = Replica(client, "a"), Replica(client, "b")
    await rounds_of(a, b)
    before = dict(a.keeper.held)
    assert a.has(X)
    a.abilities["x"] = DOUBTFUL
    await rounds_of(a, b)
    assert {m: lease for m, lease in a.keeper.held.items() if m in X} == {m: before[m] for m in before if m in X}
    a.abilities["x"] = UNABLE
    await rounds_of(a, b)
    assert (a.has(X), b.has(X)) == (0, 4)


async def test_what_nobody_reaches_stays_where_it_is(client: Redis) -> None:
    a, b = Replica(client, "a"), Replica(client, "b")
    await rounds_of(a, b)
    before = (dict(a.keeper.held), dict(b.keeper.held))
    for ability in (DOUBTFUL, UNABLE):  # the one before the other, or the last to notice would get all
        for each in (a, b):
            each.abilities = {"x": ability, "y": ability}
        await rounds_of(a, b)
    assert (a.keeper.held, b.keeper.held) == before


@pytest.mark.parametrize("is_a", [True, False], ids=["who has less of it", "who has more of it"])
async def test_who_is_back_first_does_not_get_what_the_others_will_feed_again_at_once(
    client: Redis, *, is_a: bool
) -> None:
    a, b = Replica(client, "a"), Replica(client, "b")
    first, second = (a, b) if is_a else (b, a)

    async def is_as_before(seconds: float) -> bool:
        for each in (a, b):
            each.now += seconds
        await rounds_of(a, b)
        return (a.keeper.held, b.keeper.held) == before

    for each in (a, b):
        each.keeper.replicas.patience = timedelta(seconds=30)
    await rounds_of(a, b)
    before = (dict(a.keeper.held), dict(b.keeper.held))
    for ability in (DOUBTFUL, UNABLE):
        first.abilities["x"] = second.abilities["x"] = ability
        assert await is_as_before(1000.0)
    first.abilities["x"] = ABLE
    assert await is_as_before(1000.0)
    assert await is_as_before(29.9)
    assert not await is_as_before(0.2)
    assert (first.has(X), second.has(X)) == (4, 0)


async def test_an_ability_is_told_at_once_and_not_with_the_next_renewal(client: Redis) -> None:
    a = Replica(client, "a", UNABLE, UNABLE)
    health = Health("ingestor")
    async with Tenure(a.keeper, timedelta(seconds=60), a, health) as tenure:
        await tenure.first_round()
        assert not a.keeper.held
        assert "leases" not in health.readiness().problems, "it waits for its exchange, the leases are well"
        a.abilities = {"x": ABLE, "y": UNABLE}
        began = time.monotonic()
        while a.has(X) < 4:
            assert time.monotonic() - began < 20.0
            await asyncio.sleep(0.02)
        assert a.has(Y) == 0


async def test_a_market_whose_release_fails_is_given_all_the_same(client: Redis) -> None:
    class Failing(Replica):
        async def release(self, market: Market) -> bool:
            raise OSError(errno.EIO, "Input/output error")

    a, b = Failing(client, "a"), Replica(client, "b")
    async with Tenure(a.keeper, timedelta(seconds=0.1), a, Health("ingestor")) as tenure:
        await tenure.first_round()
        assert len(a.keeper.held) == 6
        async with asyncio.timeout(20):
            while len(b.keeper.held) < 3:
                await rounds_of(b, rounds=1)
                await asyncio.sleep(0.05)
        tenure.check()
    assert not a.keeper.held


async def test_a_stopped_replica_is_nobodys_choice(client: Redis) -> None:
    a, b = Replica(client, "a"), Replica(client, "b")
    await rounds_of(a, b)
    await a.keeper.leave()
    assert not a.keeper.replicas.is_to_tell
    await rounds_of(b, rounds=1)
    assert len(b.keeper.held) == 6
