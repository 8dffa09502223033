"""Who owns which market, since when, for how much longer by the server's clock, and how far behind."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from daedalus.operations.server import GROUP_ROLES, age_seconds, answer, ask_time, groups_or_none, milliseconds
from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.leases import Role
from daedalus_common.markets import Market

_FIELDS = ("owner", "epoch", "token", "since_ms", "expires_ms", "load")


class LeaseView(msgspec.Struct, frozen=True):
    """One market's lease of one role; `owner` is None when it is free: given back, or run out."""

    market: str
    role: Role
    owner: str | None
    epoch: int
    since_ms: int | None
    held_seconds: float | None
    left_seconds: float | None
    load: float | None
    """Events a second that an owner last told, also where there is none now; None where nobody did."""
    lag: dict[str, int | None]
    """Entries per stream that the role has not committed; None where the server cannot tell."""
    newest_age_seconds: float | None = None
    """Since the market's newest event, which is how far an ingestor is behind; None for the other roles."""


async def read_leases(client: Client, markets: Sequence[Market]) -> list[LeaseView]:
    """A view per market and role, in this order."""
    return [view for market in markets for view in await _leases_of(client, market)]


async def _leases_of(client: Client, market: Market) -> list[LeaseView]:
    # One market a pipeline: in a cluster, each has a slot of its own.
    async with client.pipeline(transaction=False) as pipe:
        ask_time(pipe, keys.lease(market, Role.WRITER))
        for role in Role:
            pipe.hmget(keys.lease(market, role), _FIELDS)  # type: ignore[unused-awaitable]
        pipe.hget(keys.sequence(market), "ts")  # type: ignore[unused-awaitable]
        for stream in keys.STREAMS:
            pipe.xinfo_groups(keys.stream(market, stream))  # type: ignore[unused-awaitable]
        time, *replies = await pipe.execute(raise_on_error=False)
    now_ms = milliseconds(answer(time))
    held, newest_ns, groups = replies[: len(Role)], answer(replies[len(Role)]), replies[len(Role) + 1 :]
    lags = lags_by_role(dict(zip(keys.STREAMS, map(groups_or_none, groups), strict=True)))
    ages = {} if newest_ns is None else {Role.INGESTOR: age_seconds(now_ms, int(newest_ns) // 1_000_000)}
    return [
        _view(market, role, answer(fields), now_ms, lags[role], ages.get(role))
        for role, fields in zip(Role, held, strict=True)
    ]


def lags_by_role(
    groups: Mapping[str, Sequence[Mapping[str, Any]] | None],
) -> dict[Role, dict[str, int | None]]:
    """Per role the lag of its group in each stream that has one; `groups` are the replies of XINFO GROUPS."""
    lags: dict[Role, dict[str, int | None]] = {role: {} for role in Role}
    for stream, infos in groups.items():
        for info in infos or ():
            role = GROUP_ROLES.get(info["name"].decode(errors="replace"))
            if role is not None:
                lags[role][stream] = info.get("lag")
    return lags


def is_live(token: bytes | None, expires_ms: bytes | None, now_ms: int) -> bool:
    """Whether a lease with these fields has an owner at this time of the server."""
    return bool(token) and int(expires_ms or 0) > now_ms


def _view(
    market: Market,
    role: Role,
    fields: Sequence[bytes | None],
    now_ms: int,
    lag: dict[str, int | None],
    newest_age_seconds: float | None,
) -> LeaseView:
    owner, epoch, token, since_ms, expires_ms, told = fields
    load = None if told is None else float(told)
    if not is_live(token, expires_ms, now_ms):
        return LeaseView(market.name, role, None, int(epoch or 0), None, None, None, load, lag, newest_age_seconds)
    since = None if since_ms is None else int(since_ms)
    return LeaseView(
        market=market.name,
        role=role,
        owner=(owner or b"").decode(errors="replace"),
        epoch=int(epoch or 0),
        since_ms=since,
        held_seconds=None if since is None else age_seconds(now_ms, since),
        left_seconds=(int(expires_ms or 0) - now_ms) / 1000,
        load=load,
        lag=lag,
        newest_age_seconds=newest_age_seconds,
    )
