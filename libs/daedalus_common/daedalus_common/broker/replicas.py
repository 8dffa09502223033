"""Which replicas of a role live, and are able: each says so in every round, and is forgotten after a ttl of silence.

Writers and featurizers need the servers alone. An ingestor must reach an exchange to record its markets, so it counts
among an exchange's replicas only while it does.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta

from daedalus_common.broker import keys
from daedalus_common.broker.scripts import Scripts
from daedalus_common.leases import Ability, Able, Role


class Replicas:
    """One replica among the others of its role."""

    def __init__(
        self,
        scripts: Scripts,
        role: Role,
        name: str,
        ttl_ms: int,
        exchanges: Iterable[str],
        monotonic: Callable[[], float],
    ) -> None:
        self._scripts = scripts
        self._role = role
        self._name = name
        self._ttl_ms = ttl_ms
        self._exchanges = tuple(sorted(set(exchanges)))
        self._told: dict[str, Ability] = {}
        self._has_left = False
        self._monotonic = monotonic
        self._able_since: dict[str, float] = {}
        """Exchange -> since when some replica has been able, without a break."""
        self.patience = timedelta(0)
        """Markets that their owners cannot work on stay for so long after some replica is able: after an outage for
        all, one is back before another, to which everything would go, and back."""
        self.ability: Callable[[str], Ability] | None = None
        """Asked of each exchange before each round; None: able to everything."""

    @property
    def is_to_tell(self) -> bool:
        """What this replica is able to do has changed since it last said so."""
        return not self._has_left and self._abilities() != self._told

    @property
    def unable(self) -> Collection[str]:
        """The exchanges whose markets this replica gives, as it last said."""
        return [exchange for exchange, ability in self._told.items() if ability is Ability.UNABLE]

    @property
    def newly_able(self) -> Collection[str]:
        """The exchanges that nobody was able to work on a while ago."""
        latest = self._monotonic() - self.patience.total_seconds()
        return [exchange for exchange, since in self._able_since.items() if since > latest]

    async def look(self) -> Able:
        """Says what this replica is able to do, and sees what the others are."""
        self._told = self._abilities()
        if self.ability is None:
            return dict.fromkeys(self._exchanges, await self._say(keys.replicas(self._role), is_able=True))
        said = (
            self._say(keys.replicas_of(self._role, exchange), is_able=ability is Ability.ABLE)
            for exchange, ability in self._told.items()
        )
        able = dict(zip(self._told, await asyncio.gather(*said), strict=True))
        now = self._monotonic()
        self._able_since = {exchange: self._able_since.get(exchange, now) for exchange, names in able.items() if names}
        return able

    async def leave(self) -> None:
        """From now on the others share the markets without this replica."""
        self._has_left = True
        told = [keys.replicas_of(self._role, exchange) for exchange in self._exchanges]
        if self.ability is None:
            told = [keys.replicas(self._role)]
        await asyncio.gather(*(self._say(key, is_able=False) for key in told))

    def _abilities(self) -> dict[str, Ability]:
        ability = self.ability
        return {} if ability is None else {exchange: ability(exchange) for exchange in self._exchanges}

    async def _say(self, key: str, *, is_able: bool) -> frozenset[str]:
        names = await self._scripts.call("replicas", [key], [self._name, self._ttl_ms, 0 if is_able else 1])
        return frozenset(name.decode() for name in names)
