"""One replica's leases: says that it is alive, renews what it holds, takes and gives its share of the markets.

a round: renew what is held -> replicas, claims -> share_out (pure) -> take; returns what to give

Every script call is about one market and stands alone, so that a cluster can run it; they run side by side, as a
hundred markets one after the other, 50 ms each, would take as long as a lease lives.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.replicas import Replicas
from daedalus_common.broker.scripts import Argument, Scripts
from daedalus_common.leases import Claim, Lease, Role, share_out
from daedalus_common.load_meter import LoadMeter
from daedalus_common.markets import Market

log = structlog.get_logger(__name__)
_T = TypeVar("_T")

AT_ONCE: Final = 16
"""Calls on their way side by side; each takes a connection."""


@dataclass(frozen=True, slots=True)
class _Term:
    """A lease that has not run out since it was noted; `sent` is when the last call that extended it was sent."""

    lease: Lease
    number: int
    sent: float


class LeaseKeeper:
    """The leases one replica holds in one role.

    `held` are those to work under; `let_go`, `give`, `lose` and rounds change it. `load` is where the service counts
    the events that it handled, market by market; `replicas.ability` is where it says which exchanges it can reach.
    """

    def __init__(
        self,
        client: Client,
        role: Role,
        name: str,
        markets: Sequence[Market],
        ttl: timedelta,
        new_token: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._role = role
        self._name = name
        self._markets = tuple(markets)
        self._ttl_ms = int(ttl.total_seconds() * 1000)
        self._new_token = new_token
        self._monotonic = monotonic
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._terms: dict[Market, _Term] = {}
        self._turns = {market: asyncio.Lock() for market in self._markets}
        """A renewal that overtook a give would take the market back."""
        self._leaving: dict[Market, Lease] = {}
        self._is_retired = False
        self._renewed_at = monotonic()
        exchanges = (market.exchange for market in self._markets)
        self.replicas = Replicas(self._scripts, role, name, self._ttl_ms, exchanges, monotonic)
        self.held: dict[Market, Lease] = {}
        self.load = LoadMeter()
        self.changes: Counter[str] = Counter()
        """How many leases were taken, given and lost."""
        self.did_a_round = asyncio.Event()

    @property
    def role(self) -> Role:
        return self._role

    @property
    def markets(self) -> tuple[Market, ...]:
        """All that the replicas share."""
        return self._markets

    @property
    def renewal_age_seconds(self) -> float:
        """Since every lease was last renewed."""
        return self._monotonic() - self._renewed_at

    @property
    def total_load(self) -> float:
        """Events a second of all markets held, the unknown ones left out."""
        return self.load.total(self.held, self._monotonic())

    def tenure(self, lease: Lease) -> int | None:
        """A number that stays the same for as long as no other replica can have had the lease in between.

        An epoch cannot tell that under a server which may have lost its end. None = the lease may have run out by now:
        since the last call that extended it was sent, the ttl has passed here. Held against one that takes it in
        another's name, or a server's clock that leaps, is only the epoch.
        """
        term = self._terms.get(lease.market)
        return term.number if term is not None and self._lasts(term, lease) else None

    async def renew(self) -> tuple[Market, ...]:
        """One round. Returns the markets that another replica should have: stop work on them, then `give` each.

        Raises redis errors when something was not answered, after everything was tried; leases held stay held
        meanwhile, the server decides whether they still count.
        """
        renewals = await self._each(self._extend(lease) for lease in (*self.held.values(), *self._leaving.values()))
        failures = [result for result in renewals if result is not None]
        if not failures:
            self._renewed_at = self._monotonic()
        elif len(failures) == len(renewals):
            _raise_first(failures)
        # Where one node of a cluster is away, the markets of the others are shared out as ever.
        to_give = () if self._is_retired else await self._share()
        _raise_first(failures)
        if not self.did_a_round.is_set():
            log.info("first round of leases", role=self._role, markets=len(self._markets), held=len(self.held))
            self.did_a_round.set()
        return to_give

    async def handovers(self) -> int:
        """A number that changes whenever a replica gives a market of this role."""
        return int(await self._client.get(keys.handovers(self._role)) or 0)

    def let_go(self, market: Market) -> Lease | None:
        """Takes a lease out of `held`, before work on it ends; it is renewed until `give` or `keep`."""
        lease = self.held.pop(market, None)
        if lease is not None:
            self._leaving[market] = lease
        return lease

    def keep(self, lease: Lease) -> None:
        """It was let go, and is not given after all."""
        if self._leaving.get(lease.market) == lease:
            self.held[lease.market] = self._leaving.pop(lease.market)

    async def give(self, market: Market) -> None:
        """Hands one lease back, and tells the other replicas."""
        if self.let_go(market) is None and market not in self._leaving:
            return
        async with self._turns[market]:
            lease = self._leaving.pop(market, None)
            if lease is None:
                return
            self.load.end(market)
            self.changes["given"] += 1
            await self._scripts.call("give_lease", [keys.lease(market, self._role)], [lease.epoch, lease.token])
        log.info("lease given", market=market.name, role=self._role, epoch=lease.epoch)
        await self._client.incr(keys.handovers(self._role))

    def lose(self, lease: Lease) -> None:
        """A script said that the lease is another's: forget it."""
        for leases in (self.held, self._leaving):
            if leases.get(lease.market) == lease:
                del leases[lease.market]
                self.load.end(lease.market)
                self.changes["lost"] += 1

    async def retire(self) -> None:
        """The beginning of a clean stop: takes nothing more, and the others share the markets without this replica."""
        self._is_retired = True
        await self.replicas.leave()

    async def leave(self) -> None:
        """The end of a clean stop: every lease is free for others at once."""
        gives = [self.give(market) for market in (*self.held, *self._leaving)]
        _raise_first(await self._each((self.retire(), *gives)))

    async def _share(self) -> tuple[Market, ...]:
        able = await self.replicas.look()
        if self._is_retired:  # meanwhile
            await self.retire()
            return ()
        seen = await self._each(self._see(market) for market in self._markets)
        claims = {
            market: claim
            for market, claim in zip(self._markets, seen, strict=True)
            if not isinstance(claim, BaseException)
        }
        sharing = share_out(claims, able, self._name, self.replicas.unable, self.replicas.newly_able)
        taken = await self._each(self._take(market, claims[market].load) for market in sharing.take)
        _raise_first((*seen, *taken))
        return tuple(market for market in sharing.give if market in self.held)

    async def _extend(self, lease: Lease) -> None:
        market = lease.market
        async with self._turns[market]:
            leases = self.held if self.held.get(market) == lease else self._leaving
            if leases.get(market) != lease:
                return  # given or lost meanwhile
            epoch, taken = await self._acquire(market, lease.token, self.load.load(market, self._monotonic()))
            if leases.get(market) != lease:
                # Let go while the reply was on its way.
                leases = self._leaving
            if not taken:
                log.warning("lease lost", market=market.name, role=self._role, epoch=lease.epoch)
                self.lose(lease)
            elif epoch != lease.epoch and leases.get(market) == lease:
                # Another had it in between, or the server forgot it: what we did since is refused.
                log.warning("lease taken anew", market=market.name, role=self._role, epoch=epoch)
                self._note(leases, Lease(market, epoch, lease.token), None)

    async def _take(self, market: Market, told: float) -> None:
        async with self._turns[market]:
            if self._is_retired or market in self.held or market in self._leaving:
                return
            token = self._new_token()
            epoch, taken = await self._acquire(market, token, None)
            if taken:
                self._note(self.held, Lease(market, epoch, token), told or None)
                log.info("lease taken", market=market.name, role=self._role, epoch=epoch)

    def _note(self, leases: dict[Market, Lease], lease: Lease, told: float | None) -> None:
        leases[lease.market] = lease
        self.load.begin(lease.market, told, self._monotonic())
        self.changes["taken"] += 1

    async def _acquire(self, market: Market, token: str, load: float | None) -> tuple[int, bool]:
        told = "" if load is None else f"{load:.6g}"
        arguments: list[Argument] = [self._name, token, self._ttl_ms, told]
        sent = self._monotonic()
        epoch, taken = await self._scripts.call("take_lease", [keys.lease(market, self._role)], arguments)
        if taken:
            self._prolong(Lease(market, int(epoch), token), sent)
        return int(epoch), bool(taken)

    def _prolong(self, lease: Lease, sent: float) -> None:
        """Another could take it only later than a ttl after the last call was sent."""
        term = self._terms.get(lease.market)
        number = term.number if term else 0
        if term is None or not self._lasts(term, lease):
            number += 1
        self._terms[lease.market] = _Term(lease, number, sent)

    def _lasts(self, term: _Term, lease: Lease) -> bool:
        return term.lease == lease and self._monotonic() - term.sent < self._ttl_ms / 1000

    async def _see(self, market: Market) -> Claim:
        owner, epoch, load = await self._scripts.call("see_lease", [keys.lease(market, self._role)], [])
        name = owner.decode()
        if market in self.held or market in self._leaving:
            # It ran out while this round was slow, and nobody took it: taking it anew would fence ourselves.
            name = name or self._name
        elif name == self._name:
            # Our name without our token is a former self that died: its markets are free for us.
            name = ""
        return Claim(name, int(epoch), float(load or 0))

    async def _each(self, calls: Iterable[Coroutine[None, None, _T]]) -> list[_T | BaseException]:
        """The results in order, an error in the place of one that was not answered; all are tried."""

        async def bounded(call: Coroutine[None, None, _T]) -> _T:
            async with self._slots:
                return await call

        return await asyncio.gather(*map(bounded, calls), return_exceptions=True)


def _raise_first(results: Iterable[object]) -> None:
    """What was no answer; a mistake of ours before an error of Redis."""
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, RedisError | OSError)):
        raise error
