"""Who owns a market, and who should take or give one: values and the sharing rule, without any I/O.

Replicas of a role share out its markets. A lease is (epoch, token): the epoch never expires and only grows, the token
is random, the expiry is checked against the server's clock alone. Every state-changing script checks both first.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from daedalus_common.markets import Market


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
    """What the server says of a market's lease; `owner` is "" when it is free or its expiry has passed."""

    owner: str
    epoch: int


class Sharing(msgspec.Struct, frozen=True):
    """What one replica should do now."""

    take: tuple[Market, ...]
    give: tuple[Market, ...]


def share_out(claims: Mapping[Market, Claim], replicas: Collection[str], me: str) -> Sharing:
    """Even shares by count: take free markets up to the share, give back what is above it.

    With `n` live replicas a share is ceil(markets / n). Only replicas above the ceiling give, so two replicas never
    pass a market back and forth.
    """
    live = max(1, len({*replicas, me}))
    share = -(-len(claims) // live)
    mine = sorted(market for market, claim in claims.items() if claim.owner == me)
    free = sorted(market for market, claim in claims.items() if not claim.owner)
    return Sharing(take=tuple(free[: max(0, share - len(mine))]), give=tuple(mine[share:]))
