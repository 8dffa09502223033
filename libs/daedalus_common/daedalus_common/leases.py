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


class Sharing(msgspec.Struct, frozen=True):
    """What one replica should do now."""

    take: tuple[Market, ...]
    give: tuple[Market, ...]


def share_out(claims: Mapping[Market, Claim], replicas: Collection[str], me: str) -> Sharing:
    """Free markets go to the least loaded live replica; owned ones move where that clearly helps.

    Every replica computes the same for all of them and does its own part. A replica that is not live (any more) gets
    nothing; what it owns stays its own until it gives that or its lease runs out.
    """
    live = sorted({*replicas, me})
    loads = {market: MARKET_LOAD + max(0.0, claim.load) for market, claim in claims.items()}
    owned = {market: claim.owner for market, claim in claims.items() if claim.owner in live}
    free = [market for market, claim in claims.items() if not claim.owner]
    placed = _placed(free, owned, live, loads)
    moving = _worth_moving(placed, owned, live, loads)
    return Sharing(
        take=tuple(sorted(market for market in free if placed[market] == me)),
        give=tuple(sorted(market for market in moving if owned[market] == me)),
    )


Owners = Mapping[Market, str]


def _placed(free: Iterable[Market], owners: Owners, live: list[str], loads: Mapping[Market, float]) -> Owners:
    """The owners with the free markets placed among the live replicas, heaviest first, each where least is."""
    placed = dict(owners)
    totals = _totals(owners, live, loads)
    counts = _totals(owners, live, dict.fromkeys(loads, 1.0))
    for market in sorted(free, key=lambda market: (-loads[market], market)):
        name = min(live, key=lambda name: (totals[name], counts[name], name))
        placed[market] = name
        totals[name] += loads[market]
        counts[name] += 1.0
    return placed


def _worth_moving(placed: Owners, owned: Owners, live: list[str], loads: Mapping[Market, float]) -> Collection[Market]:
    """The owned markets that should get another owner; none where that would help too little.

    They will be free when they are given, and placed as free ones are. So one that would come back to its owner stays.
    """
    moving = _levelled(placed, owned, live, loads)
    outcome: Owners = placed
    while moving:
        staying = {market: name for market, name in placed.items() if market not in moving}
        outcome = _placed(moving, staying, live, loads)
        back = {market for market in moving if outcome[market] == owned[market]}
        if not back:
            break
        moving -= back
    before, after = (sorted(_totals(at, live, loads).values(), reverse=True) for at in (placed, outcome))
    worth = WORTH_A_MOVE * sum(before) / len(live)
    # The squares fall with every move, so with steady loads the moves come to an end.
    is_leveller = sum(load * load for load in after) < sum(load * load for load in before)
    helps = any(old - new > worth for old, new in zip(before, after, strict=True))
    return moving if helps and is_leveller else ()


def _levelled(placed: Owners, owned: Owners, live: list[str], loads: Mapping[Market, float]) -> set[Market]:
    """The owned markets to move, one by one, to whoever has least then, until no move is worth mentioning."""
    totals = _totals(placed, live, loads)
    mean = sum(totals.values()) / len(live)
    held: dict[str, set[Market]] = {name: set() for name in live}
    for market, name in owned.items():
        held[name].add(market)
    moving: set[Market] = set()
    while True:
        least = min(live, key=lambda name: (totals[name], name))
        by_load = sorted(live, key=lambda name: (-totals[name], name))
        moves = ((most, _best_move(held[most], totals[most] - totals[least], mean, loads)) for most in by_load)
        found = next(((most, market) for most, market in moves if market is not None), None)
        if found is None:
            return moving
        most, market = found
        held[most].discard(market)
        moving.add(market)
        totals[most] -= loads[market]
        totals[least] += loads[market]


def _best_move(
    markets: Collection[Market], difference: float, mean: float, loads: Mapping[Market, float]
) -> Market | None:
    """The market whose move lowers the larger of two loads most, if it does so by enough."""
    if difference <= 2 * FINE * mean or not markets:
        return None
    gain, market = max((min(loads[market], difference - loads[market]), market) for market in markets)
    # A tenth of the mean may consist of many small markets, none of which gains much by itself.
    return market if gain > min(FINE * mean, loads[market] / 2) else None


def _totals(owners: Owners, live: list[str], loads: Mapping[Market, float]) -> dict[str, float]:
    totals = dict.fromkeys(live, 0.0)
    for market, name in owners.items():
        totals[name] += loads[market]
    return totals
