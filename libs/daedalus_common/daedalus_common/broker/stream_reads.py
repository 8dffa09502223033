"""Reads of many streams at once: one round trip a node."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import ClusterError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from daedalus_common.batches import RawEntry
from daedalus_common.broker.client import Client
from daedalus_common.broker.cluster import ClusterClient

_AWAY: Final = (RedisConnectionError, RedisTimeoutError, ClusterError, TryAgainError)
"""A node, or a slot that is just moving, does not answer; any other error is of the stream itself."""


class Read(msgspec.Struct, frozen=True):
    """Up to `count` entries of the stream at `key` after the id `after`."""

    key: str
    after: str
    count: int


Reply = list[RawEntry] | RedisError


async def read_streams(client: Client, reads: Sequence[Read]) -> list[Reply]:
    """The entries of each, or why its node did not give them; changes nothing on the server.

    Raises where nobody answered, and what is wrong with a stream itself.
    """
    if not isinstance(client, ClusterClient):
        return await _pipelined(client, reads, raise_on_error=True)
    replies: list[Reply] = [[]] * len(reads)
    shares: dict[ClusterNode | None, list[int]] = {}
    for place, node in enumerate(await client.nodes_of([read.key for read in reads])):
        shares.setdefault(node, []).append(place)
    outcomes = await asyncio.gather(
        *(_of_node(client, node, [reads[place] for place in places]) for node, places in shares.items())
    )
    for places, outcome in zip(shares.values(), outcomes, strict=True):
        for place, reply in zip(places, outcome, strict=True):
            replies[place] = reply
    errors = [reply for reply in replies if isinstance(reply, RedisError)]
    for error in errors:
        if len(errors) == len(replies) or not isinstance(error, _AWAY):
            raise error
    return replies


async def _of_node(client: ClusterClient, node: ClusterNode | None, reads: Sequence[Read]) -> list[Reply]:
    if node is None:
        return [RedisConnectionError("no node of the cluster serves this slot")] * len(reads)
    try:
        client.refuse_hanging(node)
        replies = await _pipelined(client, reads, raise_on_error=False)
    except RedisError as error:
        replies = [error] * len(reads)
    for reply in replies:
        if isinstance(reply, RedisConnectionError | RedisTimeoutError):
            client.suspect(node, reply)
            break
    return replies


async def _pipelined(client: Client, reads: Sequence[Read], *, raise_on_error: bool) -> list[Reply]:
    pipe: Any = client.pipeline(transaction=False)
    async with pipe:
        for read in reads:
            pipe.xrange(read.key, f"({read.after}", "+", read.count)
        return cast(list[Reply], await pipe.execute(raise_on_error=raise_on_error))
