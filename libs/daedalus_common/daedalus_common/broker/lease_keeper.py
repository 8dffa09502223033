"""Keeps a replica's leases: says it is alive, takes its share of the markets, renews, gives back.

every renew interval: replicas -> claims -> share_out (pure) -> take, renew, give
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from daedalus_common.broker import keys
from daedalus_common.broker.scripts import Scripts
from daedalus_common.leases import Claim, Lease, Role, share_out
from daedalus_common.markets import Market

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """The leases one replica holds in one role. `held` changes only inside `renew` and `lose`."""

    def __init__(
        self,
        client: Redis,
        role: Role,
        name: str,
        markets: Sequence[Market],
        ttl: timedelta,
        new_token: Callable[[], str],
    ) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._role = role
        self._name = name
        self._markets = tuple(markets)
        self._ttl_ms = int(ttl.total_seconds() * 1000)
        self._new_token = new_token
        self.held: dict[Market, Lease] = {}

    async def renew(self) -> tuple[Market, ...]:
        """One round. Returns the markets that another replica should have: stop work on them, then `give` each.

        Raises redis errors; leases held stay held meanwhile, the server decides whether they still count.
        """
        for lease in tuple(self.held.values()):
            await self._take(lease.market, lease.token)
        live = await self._alive()
        claims = {market: await self._see(market) for market in self._markets}
        sharing = share_out(claims, live, self._name)
        for market in sharing.take:
            await self._take(market, self._new_token())
        return tuple(market for market in sharing.give if market in self.held)

    async def give(self, market: Market) -> None:
        """Hands one lease back at once."""
        lease = self.held.pop(market, None)
        if lease is not None:
            await self._scripts.call("give_lease", [keys.lease(market, self._role)], [lease.epoch, lease.token])

    def lose(self, market: Market) -> None:
        """A script said the lease is another's: forget it."""
        self.held.pop(market, None)

    async def leave(self) -> None:
        """Clean stop: every lease is free for others at once."""
        for market in tuple(self.held):
            await self.give(market)
        await self._scripts.call("replicas", [keys.replicas(self._role)], [self._name, self._ttl_ms, 1])

    async def _take(self, market: Market, token: str) -> None:
        epoch, taken = await self._scripts.call(
            "take_lease", [keys.lease(market, self._role)], [self._name, token, self._ttl_ms]
        )
        held = self.held.get(market)
        if not taken:
            self.held.pop(market, None)
            if held:
                log.warning("lease lost", market=market.name, role=self._role, epoch=held.epoch)
        elif held is None or held.epoch != epoch:
            self.held[market] = Lease(market, int(epoch), token)
            log.info("lease taken", market=market.name, role=self._role, epoch=int(epoch))

    async def _see(self, market: Market) -> Claim:
        owner, epoch = await self._scripts.call("see_lease", [keys.lease(market, self._role)], [])
        name = owner.decode()
        if market in self.held:
            # It ran out while this round was slow, and nobody took it: taking it anew would fence ourselves.
            name = name or self._name
        elif name == self._name:
            # Our name without our token is a former self that died: its markets are free for us.
            name = ""
        return Claim(name, int(epoch))

    async def _alive(self) -> list[str]:
        names = await self._scripts.call("replicas", [keys.replicas(self._role)], [self._name, self._ttl_ms, 0])
        return [name.decode() for name in names]


async def keep_leases(
    keeper: LeaseKeeper, every: timedelta, give: Callable[[Market], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Renews until `stop`; a redis error is logged and tried again, for the lease outlives several rounds."""
    while not stop.is_set():
        try:
            for market in await keeper.renew():
                await give(market)
        except RedisError as error:
            log.warning("cannot renew leases", error=str(error))
        try:
            await asyncio.wait_for(stop.wait(), every.total_seconds())
        except TimeoutError:
            continue
