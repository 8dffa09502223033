"""What Redis holds of a market that is not stored yet. To be read before the objects are listed.

The writer moves its cursor when every object of a run is durable. So all before the first entry behind the cursor is
there when objects are listed later, and what a writer at work stores meanwhile is only more.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from redis.exceptions import RedisError

from daedalus.operations.server import groups_or_none
from daedalus.quality.ledger import LOSS, Waiting
from daedalus_common.batches import RawEntry
from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.cluster import ClusterClient
from daedalus_common.entries import ForeignEntry, decode
from daedalus_common.events import Gap
from daedalus_common.gap_tracking import GapEvent
from daedalus_common.markets import Market

_LOOKED_AT = 100
"""Entries: strangers' ones at the head of the stream have no number."""


async def read_waiting(
    client: Client, markets: Iterable[Market]
) -> tuple[dict[Market, Waiting], dict[Market, Exception]]:
    """Of the markets that the server knows; and of a cluster, why others are unknown: their node may be away.

    Raises the redis errors of a single server.
    """
    found: dict[Market, Waiting] = {}
    unknown: dict[Market, Exception] = {}
    for market in markets:
        try:
            waiting = await _of_market(client, market)
        except (RedisError, OSError) as error:
            if not isinstance(client, ClusterClient):
                raise
            unknown[market] = error
        else:
            if waiting is not None:
                found[market] = waiting
    return found, unknown


async def _of_market(client: Client, market: Market) -> Waiting | None:
    raw = keys.stream(market, keys.RAW)
    if not await client.exists(raw):
        return None
    # In this order: what was given a number before is stored, or behind the cursor, whatever comes and goes meanwhile.
    generation, seq = await client.hmget(keys.sequence(market), ["generation", "seq"])
    groups = groups_or_none(await client.xinfo_groups(raw)) or ()
    writer = next((info for info in groups if info["name"] == b"writer"), None)
    cursor = "0-0" if writer is None else writer["last-delivered-id"].decode()
    entries = cast(list[RawEntry], await client.xrange(raw, f"({cursor}", "+", _LOOKED_AT))
    return _waiting((int(generation or 0), int(seq or 0)), entries)


def _waiting(newest: tuple[int, int], entries: Iterable[RawEntry]) -> Waiting:
    for id_, fields in entries:
        generation, seq = _number(fields.get(b"g")), _number(fields.get(b"s"))
        if generation is not None and seq is not None:
            return Waiting(newest, (generation, seq), _loss(id_, fields, generation, seq))
    return Waiting(newest, None)


def _loss(id_: bytes, fields: Mapping[bytes, bytes], generation: int, seq: int) -> GapEvent | None:
    try:
        event = decode(fields.get(b"e", b""))
    except ForeignEntry:
        return None
    if not isinstance(event, Gap) or event.reason != LOSS:
        return None
    ms, sub = map(int, id_.split(b"-"))
    ts = _number(fields.get(b"t")) or 0
    return GapEvent(generation, ms, sub, seq, ts, event.capture_ts, event.channel, event.reason, lost=event.lost)


def _number(text: bytes | None) -> int | None:
    return int(text) if text is not None and text.isdigit() and len(text) < 20 else None
