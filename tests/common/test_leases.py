"""A lease has one owner, its epoch only grows, and it moves when its owner gives it, dies or is overloaded."""

import asyncio
from datetime import timedelta
from itertools import count

from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.leases import Role
from daedalus_common.markets import Market

MARKETS = [Market("binanceus", f"C{i}/USDT") for i in range(7)]
_tokens = count(1)


def keeper(client: Redis, name: str, ttl_ms: int = 400) -> LeaseKeeper:
    return LeaseKeeper(
        client, Role.FEATURIZER, name, MARKETS, timedelta(milliseconds=ttl_ms), lambda: f"token-{next(_tokens)}"
    )


async def round_of(*keepers: LeaseKeeper) -> None:
    for each in keepers:
        for market in await each.renew():
            await each.give(market)


async def test_two_replicas_end_with_every_market_owned_by_exactly_one(client: Redis) -> None:
    a, b = keeper(client, "a", 10_000), keeper(client, "b", 10_000)
    for _ in range(3):
        await round_of(a, b)
    assert not set(a.held) & set(b.held)
    assert set(a.held) | set(b.held) == set(MARKETS)
    assert {len(a.held), len(b.held)} == {3, 4}


async def test_a_dead_owners_markets_move_after_the_ttl_and_their_epoch_grows(client: Redis) -> None:
    a, b = keeper(client, "a", 2_000), keeper(client, "b", 2_000)
    await round_of(a)
    assert len(a.held) == 7
    await asyncio.sleep(2.5)
    await round_of(b)
    assert set(b.held) == set(MARKETS)
    assert all(b.held[market].epoch > a.held[market].epoch for market in MARKETS)
    await round_of(a)
    assert not a.held, "the former owner notices at its next renewal"


async def test_an_epoch_that_only_the_lost_end_of_a_server_held_is_not_given_again(client: Redis) -> None:
    """Two ingestors on two machines would know their spooled events by the same epoch and numbers."""
    a, b = keeper(client, "a", 60_000), keeper(client, "b", 60_000)
    await round_of(a)
    lost = {market: lease.epoch for market, lease in a.held.items()}
    await client.delete(*(keys.lease(market, Role.FEATURIZER) for market in MARKETS))
    await asyncio.sleep(0.3)
    await round_of(b)
    assert len(b.held) > 2
    assert all(lease.epoch > lost[market] for market, lease in b.held.items())


async def test_a_clean_stop_hands_over_at_once(client: Redis) -> None:
    a, b = keeper(client, "a", 60_000), keeper(client, "b", 60_000)
    await round_of(a)
    await a.leave()
    await round_of(b)
    assert set(b.held) == set(MARKETS)


async def test_a_replica_restarted_under_its_own_name_need_not_wait(client: Redis) -> None:
    dead = keeper(client, "a", 60_000)
    await round_of(dead)
    reborn = keeper(client, "a", 60_000)
    await round_of(reborn)
    assert set(reborn.held) == set(MARKETS)
    assert all(reborn.held[market].epoch > dead.held[market].epoch for market in MARKETS)


async def test_renewing_keeps_the_epoch(client: Redis) -> None:
    a = keeper(client, "a")
    await round_of(a)
    before = dict(a.held)
    for _ in range(4):
        await asyncio.sleep(0.2)
        await round_of(a)
    assert a.held == before


async def test_a_lease_that_ran_out_during_a_slow_round_is_not_taken_from_oneself(client: Redis) -> None:
    a = keeper(client, "a", ttl_ms=1)  # every round takes longer than that
    await round_of(a)
    before = dict(a.held)
    assert len(before) == 7
    for _ in range(3):
        await asyncio.sleep(0.02)
        await round_of(a)
    assert a.held == before
