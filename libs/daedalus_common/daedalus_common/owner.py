"""A replica's life as an owner of markets, the same for every service.

first round -> turns until the stop -> retired: each market is given as soon as it is drained -> left

`Tenure` keeps the leases in the background; `Owner` adds the loop of a service that works in turns.
"""

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Final, Protocol, Self

import structlog
from redis.exceptions import RedisError

from daedalus_common import metrics
from daedalus_common.broker.errors import described
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.markets import Market
from daedalus_common.service import pause
from daedalus_common.telemetry import Health

log = structlog.get_logger(__name__)

LOOK: Final = timedelta(seconds=0.25)
"""Between two looks at the counter of hand-overs: one GET."""
RETRY: Final = timedelta(seconds=0.5)
"""After a round that failed: with a time-out of 5 s, a pause of 3 s more often would outlast the ttl of 10 s."""
FIRST_ROUND: Final = timedelta(seconds=5)
"""What a stop waits for the first round."""
DRAIN: Final = timedelta(seconds=20)
"""For what the streams still hold at a stop, in time for the usual 30 s until a kill; the rest stays in them."""

_CHECK = "leases"
_TURN_RETRY_SECONDS = 1.0
_DRAIN_PAUSE_SECONDS = 0.01
_AWAY = (RedisError, OSError)


class Releases(Protocol):
    """A service that can part with a market for another replica's sake."""

    async def release(self, market: Market) -> bool:
        """Ends the work on a market that is no longer in `held`; False, before anything is awaited: not now."""


class Work(Releases, Protocol):
    """What a service does with the markets in `held`. Every method may raise redis errors; nothing is lost by them."""

    async def turn(self) -> bool:
        """One look at everything; True if there is more to do at once."""

    async def drain(self) -> Collection[Market]:
        """A turn of the stop; the markets that need nothing more."""


class Tenure:
    """Keeps the leases while the `async with` lasts, and leaves at its end."""

    def __init__(self, keeper: LeaseKeeper, renew: timedelta, service: Releases, health: Health) -> None:
        self._keeper = keeper
        self._renew = renew
        self._service = service
        self._health = health
        self._ended = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None
        self._releases: dict[Market, asyncio.Task[None]] = {}
        self._failed: BaseException | None = None
        self._told: dict[str, int] = {}
        role = keeper.role.value
        metrics.RENEWAL_AGE.labels(role=role).set_function(lambda: keeper.renewal_age_seconds)
        metrics.LEASE_CONFIGURED.labels(role=role).set(len(keeper.markets))
        metrics.LEASE_HELD.labels(role=role).set_function(lambda: len(keeper.held))
        self._failures = metrics.RENEW_FAILURES.labels(role=role)

    async def __aenter__(self) -> Self:
        self._rounds = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._rounds is not None:
            await asyncio.gather(self._rounds, *self._releases.values(), return_exceptions=True)
        try:
            await self._keeper.leave()
        except _AWAY as away:
            log.warning("leases not given back; they run out by themselves", error=described(away))
        self._tell()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raises what ended the renewals: without them every market would quietly go to others."""
        if self._failed is not None:
            raise self._failed
        if self._rounds is not None and self._rounds.done():
            self._rounds.result()

    async def first_round(self) -> None:
        """Waits for it, a few seconds at most.

        Told to stop before its first round, a replica does that round first: what an earlier one left in the streams
        would otherwise wait for the next start, though this may be the only replica.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ROUND.total_seconds()):
                await self._keeper.did_a_round.wait()

    async def retire(self) -> None:
        """The beginning of a stop: takes nothing more; leases are kept on."""
        try:
            await self._keeper.retire()
        except _AWAY as away:
            log.warning("cannot tell the others of the stop", error=described(away))

    def release(self, market: Market) -> None:
        """Parts with one market, in the background: renewals go on meanwhile."""
        if market not in self._releases:
            task = self._releases[market] = asyncio.create_task(self._release(market))
            task.add_done_callback(lambda _: self._releases.pop(market, None))

    async def _release(self, market: Market) -> None:
        lease = self._keeper.let_go(market)
        if lease is None:
            return
        try:
            is_released = await self._service.release(market)
        except _AWAY as away:
            # Nobody works on it by then: kept and renewed, the lease would keep others from doing so.
            log.warning("market not released in order, given all the same", market=market.name, error=described(away))
            is_released = True
        except Exception as error:
            self._failed = error
            return
        try:
            if is_released:
                await self._keeper.give(market)
            else:
                self._keeper.keep(lease)
        except _AWAY as away:
            log.warning("lease not given back; it runs out by itself", market=market.name, error=described(away))
        except Exception as error:
            self._failed = error

    async def _keep(self) -> None:
        while not self._ended.is_set():
            wait = self._renew
            # Before the round: what is given during it is looked at again.
            seen = await self._handovers()
            try:
                for market in await self._keeper.renew():
                    self.release(market)
                self._health.mark_ready(_CHECK)
            except _AWAY as away:
                self._failures.inc()
                # A replica without markets asks the server nothing else: only this tells that it could not take any.
                self._health.mark_unready(_CHECK, f"cannot renew leases: {described(away)}")
                log.warning("cannot renew leases", error=described(away))
                wait = min(RETRY, self._renew)
            self._tell()
            await self._wait(wait, seen)

    def _tell(self) -> None:
        role = self._keeper.role.value
        metrics.LEASE_LOAD.labels(role=role).set(self._keeper.total_load)
        for change, total in self._keeper.changes.items():
            metrics.LEASE_CHANGES.labels(role=role, change=change).inc(total - self._told.get(change, 0))
            self._told[change] = total

    async def _wait(self, most: timedelta, seen: int | None) -> None:
        """Until the next round is due, somebody gave a market, or this replica's abilities have changed."""
        until = time.monotonic() + most.total_seconds()
        while (left := until - time.monotonic()) > 0 and not await pause(self._ended, min(left, LOOK.total_seconds())):
            if self._keeper.replicas.is_to_tell:
                return
            if seen is not None and await self._handovers() != seen:
                return

    async def _handovers(self) -> int | None:
        """None where the counter does not answer: in a cluster its node may be away, and the round goes on without."""
        try:
            return await self._keeper.handovers()
        except _AWAY:
            return None


class Owner:
    """Runs `work` over the markets it owns."""

    def __init__(self, keeper: LeaseKeeper, work: Work, health: Health, renew: timedelta, poll: timedelta) -> None:
        self._keeper = keeper
        self._work = work
        self._health = health
        self._poll_seconds = poll.total_seconds()
        self._tenure = Tenure(keeper, renew, work, health)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then what the streams hold by then is worked off, and the leases are given back."""
        async with self._tenure:
            while not stop.is_set():
                self._tenure.check()
                more = await self._tolerant_turn()
                await pause(stop, 0 if more else self._poll_seconds)
            await self._tenure.first_round()
            await self._tenure.retire()
            await self._drain()

    async def _tolerant_turn(self) -> bool:
        try:
            more = await self._work.turn()
            self._health.mark_ready("redis")
            return more
        except _AWAY as error:
            # What a turn does is safe to repeat, so the next one tries the same again.
            self._health.mark_unready("redis", f"a command failed: {error}")
            log.warning("redis does not answer", error=str(error))
            await asyncio.sleep(_TURN_RETRY_SECONDS)
            return False

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN.total_seconds()):
                while self._keeper.held:
                    self._tenure.check()
                    for market in await self._work.drain():
                        self._tenure.release(market)
                    await asyncio.sleep(_DRAIN_PAUSE_SECONDS)
        except (TimeoutError, *_AWAY) as error:
            markets = sorted(market.name for market in self._keeper.held)
            log.warning("stopped before all was done; the streams keep the rest", markets=markets, error=str(error))
            for market in tuple(self._keeper.held):
                self._tenure.release(market)  # ends its work before it is another's
