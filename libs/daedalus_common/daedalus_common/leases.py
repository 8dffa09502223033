"""Who owns a market, and who should take or give one: values and the sharing rule, without any I/O.

Replicas of a role share out its markets. A lease is (epoch, token): the epoch never expires and only grows, the token
is random, the expiry is checked against the server's clock alone. Every state-changing script checks both first.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from daedalus_common.markets import Market

MARKET_LOAD: Final = 1.0
"""What a market costs at least, in events/s: its heartbeat. Idle and unknown markets so spread by count."""
WORTH_A_MOVE: Final = 0.25
"""Nothing moves unless some replica's load falls by more than this part of the mean.

Measured on 1,500 made-up systems of 2 to 6 replicas whose loads vary by 20 %, each market for itself, for 50 rounds:
11 of them moved anything, once. After joins and leaves the most loaded replica had as much as with the best schedule
(longest first) in half of 4,500 cases, 0.3 of the mean more in one of a hundred, 0.52 at worst.
"""
FINE: Final = 0.05
"""Once markets move, they move until no move would lower the larger of two loads by more than this part of the mean."""


class Role(StrEnum):
    """The kinds of replica that own markets."""

    INGESTOR = "ingestor"
    WRITER = "writer"
    FEATURIZER = "featurizer"


class Lease(msgspec.Struct, frozen=True):
    """The right to change the state of `market` in one role."""

    market: Market
    epoch: int
    token: str


class Claim(msgspec.Struct, frozen=True):
    """What the server says of a market's lease; `owner` is "" when it is free or its expiry has passed.

    `load` is in events/s, as last told by an owner, whether or not there still is one.
    """

    owner: str
    epoch: int
    load: float = 0.0


class Ability(StrEnum):
    """What a replica can do for an exchange's markets."""

    ABLE = "able"
    """It takes its share of them."""
    DOUBTFUL = "doubtful"
    """It takes none, and keeps what it has."""
    UNABLE = "unable"
    """It gives what it has to those that are able, and keeps it where none is."""


class Sharing(msgspec.Struct, frozen=True):
    """What one replica should do now."""

    take: tuple[Market, ...]
    give: tuple[Market, ...]


Able = Mapping[str, Collection[str]]
"""Exchange -> the live replicas that are able to work on its markets."""
Owners = Mapping[Market, str]


def share_out(
    claims: Mapping[Market, Claim],
    able: Able,
    me: str,
    unable: Collection[str] = (),
    newly_able: Collection[str] = (),
) -> Sharing:
    """Free markets go to the least loaded replica that is able; owned ones move where that clearly helps.

    Every replica computes the same for all of them and does its own part. A replica that is not able (any more) gets
    nothing; what it owns stays its own until it gives that or its lease runs out. `unable` are the exchanges whose
    markets `me` gives as soon as another is able; not those that are `newly_able`, whose owners may soon be so too.
    """
    replicas = _Replicas(able, {market: MARKET_LOAD + max(0.0, claim.load) for market, claim in claims.items()})
    owned = {market: claim.owner for market, claim in claims.items() if claim.owner in replicas.of(market)}
    free = [market for market, claim in claims.items() if not claim.owner and replicas.of(market)]
    # Their owners are able to other things: they count where they will go, so that nothing moves twice.
    strays = {market: claims[market].owner for market in claims if market not in owned}
    strays = {market: owner for market, owner in strays.items() if owner in replicas.live}
    takers = {exchange for exchange, names in able.items() if names and exchange not in newly_able}
    going = [market for market in strays if market.exchange in takers]
    staying = {market: owner for market, owner in strays.items() if market.exchange not in takers}
    placed = _placed([*free, *going], {**owned, **staying}, replicas)
    moving = _worth_moving(placed, owned, replicas) if owned else ()
    given = [market for market in moving if owned[market] == me]
    for market, claim in claims.items():
        if claim.owner == me and market not in owned and market.exchange in takers.intersection(unable):
            given.append(market)
    return Sharing(
        take=tuple(sorted(market for market in free if placed[market] == me)),
        give=tuple(sorted(given)),
    )


class _Replicas:
    """Who is able to do what, and how much that is."""

    def __init__(self, able: Able, loads: Mapping[Market, float]) -> None:
        self._able = {exchange: tuple(sorted(names)) for exchange, names in able.items()}
        self.live = sorted({name for names in self._able.values() for name in names})
        self.loads = loads

    def of(self, market: Market) -> tuple[str, ...]:
        """Those that are able to work on it, in order."""
        return self._able.get(market.exchange, ())

    def totals(self, owners: Owners) -> dict[str, float]:
        totals = dict.fromkeys(self.live, 0.0)
        for market, name in owners.items():
            totals[name] += self.loads[market]
        return totals

    def counts(self, owners: Owners) -> dict[str, int]:
        counts = dict.fromkeys(self.live, 0)
        for name in owners.values():
            counts[name] += 1
        return counts

    def least(self, totals: Mapping[str, float]) -> dict[str, str]:
        """Of each exchange, the least loaded of those that are able."""
        found = ((exchange, names) for exchange, names in self._able.items() if names)
        return {exchange: min(names, key=lambda name: totals[name]) for exchange, names in found}


def _placed(free: Iterable[Market], owners: Owners, replicas: _Replicas) -> Owners:
    """The owners with the free markets placed among those that are able, heaviest first, each where least is.

    Before them those that fewer can take.
    """
    placed, loads = dict(owners), replicas.loads
    totals, counts = replicas.totals(owners), replicas.counts(owners)
    for market in sorted(free, key=lambda market: (len(replicas.of(market)), -loads[market], market)):
        name = min(replicas.of(market), key=lambda name: (totals[name], counts[name]))
        placed[market] = name
        totals[name] += loads[market]
        counts[name] += 1
    return placed


def _worth_moving(placed: Owners, owned: Owners, replicas: _Replicas) -> Collection[Market]:
    """The owned markets that should get another owner; none where that would help too little.

    They will be free when they are given, and placed as free ones are. So one that would come back to its owner stays.
    """
    moving = _levelled(placed, owned, replicas)
    outcome: Owners = placed
    while moving:
        staying = {market: name for market, name in placed.items() if market not in moving}
        outcome = _placed(moving, staying, replicas)
        back = {market for market in moving if outcome[market] == owned[market]}
        if not back:
            break
        moving -= back
    before, after = (sorted(replicas.totals(at).values(), reverse=True) for at in (placed, outcome))
    worth = WORTH_A_MOVE * sum(before) / len(replicas.live)
    # The squares fall with every move, so with steady loads the moves come to an end.
    is_leveller = sum(load * load for load in after) < sum(load * load for load in before)
    helps = any(old - new > worth for old, new in zip(before, after, strict=True))
    return moving if helps and is_leveller else ()


def _levelled(placed: Owners, owned: Owners, replicas: _Replicas) -> set[Market]:
    """The owned markets to move, one by one, to whoever has least then, until no move is worth mentioning."""
    totals, loads = replicas.totals(placed), replicas.loads
    fine = FINE * sum(totals.values()) / len(replicas.live)
    held: dict[str, set[Market]] = {name: set() for name in replicas.live}
    for market, name in owned.items():
        held[name].add(market)
    moving: set[Market] = set()
    while True:
        least = replicas.least(totals)
        by_load = sorted(replicas.live, key=lambda name: (-totals[name], name))
        to = {exchange: totals[name] for exchange, name in least.items()}
        moves = ((most, _best_move(held[most], totals[most], to, fine, loads)) for most in by_load)
        found = next(((most, market) for most, market in moves if market is not None), None)
        if found is None:
            return moving
        most, market = found
        held[most].discard(market)
        moving.add(market)
        totals[most] -= loads[market]
        totals[least[market.exchange]] += loads[market]


def _best_move(
    markets: Iterable[Market], total: float, least: Mapping[str, float], fine: float, loads: Mapping[Market, float]
) -> Market | None:
    """The market whose move lowers the larger of two loads most, if it does so by enough.

    `total` is the owner's, `least` of each exchange the total of the replica to which its markets would go.
    """
    rooms = ((market, total - least[market.exchange]) for market in markets)
    gains = [(min(loads[market], room - loads[market]), market) for market, room in rooms if room > 2 * fine]
    if not gains:
        return None
    gain, market = max(gains)
    # A tenth of the mean may consist of many small markets, none of which gains much by itself.
    return market if gain > min(fine, loads[market] / 2) else None
