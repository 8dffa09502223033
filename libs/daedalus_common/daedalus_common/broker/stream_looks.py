"""One stream as it is now: its length, its memory, and how far each consumer group has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from daedalus_common.broker.client import Client


@dataclass(frozen=True, slots=True)
class GroupLook:
    """A consumer group, ours or a stranger's; `oldest_unread_ms` is when its first unread entry was added."""

    name: str
    cursor: str
    lag: int
    oldest_unread_ms: int | None


@dataclass(frozen=True, slots=True)
class StreamLook:
    """`memory_bytes` is the server's estimate; None where it does not tell."""

    stream: str
    length: int
    memory_bytes: int | None
    groups: tuple[GroupLook, ...]


async def look_at(client: Client, stream: str, key: str) -> StreamLook:
    """Two round trips. A stream that does not exist is empty. Raises redis errors."""
    async with client.pipeline(transaction=False) as pipe:
        pipe.xlen(key)  # type: ignore[unused-awaitable]
        # Of five nodes, which is its default: 0.1 ms for a stream of 300,000 entries, where all nodes take 19 ms.
        pipe.memory_usage(key)  # type: ignore[unused-awaitable]
        pipe.xinfo_groups(key)  # type: ignore[unused-awaitable]
        pipe.xrange(key, count=1)  # type: ignore[unused-awaitable]
        pipe.xrevrange(key, count=1)  # type: ignore[unused-awaitable]
        length, memory_bytes, infos, first, last = await pipe.execute(raise_on_error=False)
    if isinstance(infos, ResponseError) and "no such key" in str(infos):
        return StreamLook(stream, 0, None, ())
    for reply in (length, infos, first, last):
        if isinstance(reply, Exception):
            raise reply
    unread = await _oldest_unread(client, key, [info["last-delivered-id"].decode() for info in infos])
    ends = (_ms(first), _ms(last))
    groups = tuple(_group(info, oldest, length, ends) for info, oldest in zip(infos, unread, strict=True))
    return StreamLook(stream, length, memory_bytes if isinstance(memory_bytes, int) else None, groups)


def estimated_lag(length: int, first_ms: int, last_ms: int, unread_ms: int) -> int:
    """Entries from `unread_ms` on in a stream, as if they were spread evenly over its time; at least one."""
    share = (last_ms - unread_ms) / (last_ms - first_ms) if last_ms > first_ms else 1.0
    return max(1, round(length * min(1.0, max(0.0, share))))


def _group(info: Mapping[str, Any], oldest: int | None, length: int, ends: tuple[int | None, int | None]) -> GroupLook:
    first_ms, last_ms = ends
    lag = info.get("lag")
    if oldest is None:
        lag = 0
    elif lag is None:
        # After XDEL, or XGROUP SETID without ENTRIESREAD, the server cannot tell.
        lag = estimated_lag(length, first_ms or oldest, last_ms or oldest, oldest)
    return GroupLook(info["name"].decode(errors="replace"), info["last-delivered-id"].decode(), int(lag), oldest)


async def _oldest_unread(client: Client, key: str, cursors: Sequence[str]) -> list[int | None]:
    if not cursors:
        return []
    async with client.pipeline(transaction=False) as pipe:
        for cursor in cursors:
            pipe.xrange(key, f"({cursor}", "+", 1)  # type: ignore[unused-awaitable]
        return [_ms(reply) for reply in await pipe.execute()]


def _ms(entries: Sequence[tuple[bytes, Any]]) -> int | None:
    return int(entries[0][0].partition(b"-")[0]) if entries else None
