"""How long a market's streams are, who reads them, and how old is what nobody has read."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from daedalus.operations.leases import is_live
from daedalus.operations.server import GROUP_ROLES, age_seconds, answer, ask_time, groups_or_none, id_ms, milliseconds
from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.scripts import Scripts
from daedalus_common.config.schema import nearest
from daedalus_common.leases import Role
from daedalus_common.markets import Market


class Moved(StrEnum):
    """Who moves a consumer group's cursor."""

    BY_OWNER = "owner"
    BY_NOBODY = "nobody"
    """A group of ours whose role has no owner now: it holds the stream back until somebody takes it."""
    BY_STRANGER = "stranger"
    """No group of ours: only whoever created it moves it."""


class GroupView(msgspec.Struct, frozen=True):
    """One consumer group; `lag` is in entries, None where the server cannot tell."""

    name: str
    moved: Moved
    owner: str | None
    cursor: str
    lag: int | None
    oldest_unread_id: str | None
    oldest_unread_age_seconds: float | None


class StreamView(msgspec.Struct, frozen=True):
    """One stream; the ids and ages are None when it is empty. Ages are by the server's clock."""

    market: str
    stream: str
    length: int
    first_id: str | None
    first_age_seconds: float | None
    last_id: str | None
    last_age_seconds: float | None
    groups: tuple[GroupView, ...]


class NoSuchGroup(Exception):
    """The stream has no such group; the text names the nearest."""


class GroupInUse(Exception):
    """A replica of ours holds the lease of the role that moves the group."""


async def read_streams(client: Client, markets: Sequence[Market]) -> list[StreamView]:
    """A view per market and stream that exists, in this order."""
    views = [await _stream(client, market, name) for market in markets for name in keys.STREAMS]
    return [view for view in views if view is not None]


async def _stream(client: Client, market: Market, name: str) -> StreamView | None:
    stream = keys.stream(market, name)
    async with client.pipeline(transaction=False) as pipe:
        ask_time(pipe, stream)
        pipe.xlen(stream)  # type: ignore[unused-awaitable]
        pipe.xrange(stream, count=1)  # type: ignore[unused-awaitable]
        pipe.xrevrange(stream, count=1)  # type: ignore[unused-awaitable]
        pipe.xinfo_groups(stream)  # type: ignore[unused-awaitable]
        for role in Role:
            pipe.hmget(keys.lease(market, role), ["owner", "token", "expires_ms"])  # type: ignore[unused-awaitable]
        time, length, first, last, infos, *leases = await pipe.execute(raise_on_error=False)
    groups = groups_or_none(infos)
    if groups is None:
        return None
    now_ms = milliseconds(answer(time))
    owners = {role: _owner(answer(fields), now_ms) for role, fields in zip(Role, leases, strict=True)}
    unread = await _oldest_unread(client, stream, [info["last-delivered-id"] for info in groups])
    first_id, last_id = _id(answer(first)), _id(answer(last))
    return StreamView(
        market=market.name,
        stream=name,
        length=int(answer(length)),
        first_id=first_id,
        first_age_seconds=_age(now_ms, first_id),
        last_id=last_id,
        last_age_seconds=_age(now_ms, last_id),
        groups=tuple(_group(name, info, oldest, owners, now_ms) for info, oldest in zip(groups, unread, strict=True)),
    )


async def _oldest_unread(client: Client, stream: str, cursors: Sequence[bytes]) -> list[str | None]:
    async with client.pipeline(transaction=False) as pipe:
        for cursor in cursors:
            pipe.xrange(stream, f"({cursor.decode()}", "+", 1)  # type: ignore[unused-awaitable]
        return [_id(reply) for reply in await pipe.execute()]


def _group(
    stream: str, info: Mapping[str, Any], oldest: str | None, owners: Mapping[Role, str | None], now_ms: int
) -> GroupView:
    name = info["name"].decode(errors="replace")
    role = role_of(stream, name)
    owner = None if role is None else owners[role]
    return GroupView(
        name=name,
        moved=Moved.BY_STRANGER if role is None else Moved.BY_NOBODY if owner is None else Moved.BY_OWNER,
        owner=owner,
        cursor=info["last-delivered-id"].decode(),
        lag=0 if oldest is None else info.get("lag"),
        oldest_unread_id=oldest,
        oldest_unread_age_seconds=_age(now_ms, oldest),
    )


def role_of(stream: str, group: str) -> Role | None:
    """The role of ours that moves this group; None where it is a stranger's."""
    return GROUP_ROLES[group] if group in keys.groups(features=True)[stream] else None


async def find_group(client: Client, market: Market, stream: str, group: str) -> GroupView:
    """Raises NoSuchGroup."""
    view = await _stream(client, market, stream)
    groups = () if view is None else view.groups
    for found in groups:
        if found.name == group:
            return found
    names = [found.name for found in groups]
    near = nearest(group, names)
    hint = f"did you mean {near}?" if near else f"it has {', '.join(names)}" if names else "it has none"
    raise NoSuchGroup(f"{market.name}: {stream} has no consumer group {group}; {hint}")


def refuse_in_use(market: Market, stream: str, group: GroupView) -> None:
    """Raises GroupInUse where an owner of ours was at work when the group was looked at."""
    if group.owner is not None:
        raise _in_use(market, stream, group.name, group.owner)


async def remove_group(client: Client, market: Market, stream: str, group: str, *, force: bool = False) -> None:
    """Removes the group, in one step with the look at its lease. Raises GroupInUse (unless `force`) or NoSuchGroup."""
    role = role_of(stream, group)
    lease = keys.lease(market, role or Role.WRITER)
    removed, owner = await Scripts(client).call(
        "remove_group", [keys.stream(market, stream), lease], [group, int(role is not None and not force)]
    )
    if owner:
        raise _in_use(market, stream, group, owner.decode(errors="replace"))
    if not removed:
        raise NoSuchGroup(f"{market.name}: {stream} has no consumer group {group}")


def consequences(market: Market, stream: str, group: GroupView) -> list[str]:
    """What removing the group means, in lines, for the operator to confirm."""
    count = "an unknown number of entries" if group.lag is None else f"{group.lag:,} entries"
    lines = [
        f"{market.name}: group {group.name} of {stream} has not read {count}.",
        "Once it is gone, they no longer wait for it: the writer trims them as soon as every other group has passed.",
    ]
    role = role_of(stream, group.name)
    if role is not None:
        begins = _beginning(role, stream)
        lines.append(f"This group is the {role}'s own cursor. If a {role} of this market runs again, {begins}.")
    return lines


def _beginning(role: Role, stream: str) -> str:
    """Where an owner goes on whose group was removed."""
    if role is Role.FEATURIZER:
        return "features begin anew behind the newest entry, and none are computed for what was not read"
    if stream == keys.LATE:
        return "it begins at the oldest entry left in the stream, and stores twice what it had stored of these"
    return "it begins at the oldest entry left in the stream, and leaves out what the store has of these"


def _in_use(market: Market, stream: str, group: str, owner: str) -> GroupInUse:
    return GroupInUse(
        f"{market.name}: {owner} works with group {group} of {stream} now; stop it first, or insist with --force"
    )


def _owner(fields: Sequence[bytes | None], now_ms: int) -> str | None:
    owner, token, expires_ms = fields
    return (owner or b"").decode(errors="replace") if is_live(token, expires_ms, now_ms) else None


def _id(entries: Sequence[tuple[bytes, Any]]) -> str | None:
    return entries[0][0].decode() if entries else None


def _age(now_ms: int, id_: str | None) -> float | None:
    return None if id_ is None else age_seconds(now_ms, id_ms(id_))
