"""A tenure lasts while no other replica can have had the lease, whatever the server remembers of that."""

from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market

BTC = Market("binanceus", "BTC/USDT")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def owner(client: Redis, clock: Clock) -> tuple[LeaseKeeper, Lease]:
    """Its leases last for 10 s."""
    keeper = LeaseKeeper(client, Role.WRITER, "a", [BTC], timedelta(seconds=10), lambda: "token", clock)
    await keeper.renew()
    return keeper, keeper.held[BTC]


async def test_it_lasts_while_renewals_come_in_time(client: Redis, clock: Clock) -> None:
    keeper, lease = await owner(client, clock)
    first = keeper.tenure(lease)
    assert first is not None
    for _ in range(5):
        clock.now += 9.0
        assert keeper.tenure(lease) == first
        await keeper.renew()
    assert keeper.tenure(lease) == first


async def test_a_renewal_that_came_too_late_begins_another_though_the_epoch_is_the_same(
    client: Redis, clock: Clock
) -> None:
    keeper, lease = await owner(client, clock)
    first = keeper.tenure(lease)
    clock.now += 10.5
    assert keeper.tenure(lease) is None, "it may have run out"
    await keeper.renew()
    assert keeper.held[BTC] == lease
    assert keeper.tenure(lease) not in (None, first)


async def test_a_lease_that_was_taken_anew_has_another(client: Redis, clock: Clock) -> None:
    keeper, lease = await owner(client, clock)
    first = keeper.tenure(lease)
    another: Any = {"epoch": lease.epoch + 3, "token": "", "owner": "", "expires_ms": "0"}
    await client.hset(keys.lease(BTC, Role.WRITER), mapping=another)
    await keeper.renew()
    assert keeper.held[BTC].epoch > lease.epoch + 3
    assert keeper.tenure(lease) is None
    assert keeper.tenure(keeper.held[BTC]) not in (None, first)


async def test_time_counts_from_when_a_renewal_was_sent(client: Redis, clock: Clock) -> None:
    """The server may have done it at once, and its answer may be what took so long."""
    keeper, lease = await owner(client, clock)
    first = keeper.tenure(lease)
    sent = keeper._scripts.call

    async def slow(*args: object) -> object:
        reply = await sent(*args)  # type: ignore[arg-type]
        clock.now += 6.0
        return reply

    keeper._scripts.call = slow  # type: ignore[method-assign, assignment]
    await keeper._extend(lease)
    keeper._scripts.call = sent  # type: ignore[method-assign]
    assert keeper.tenure(lease) == first
    clock.now += 5.0
    assert keeper.tenure(lease) is None
