"""Tells when everything captured has been published, and everything published has been read."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from redis.exceptions import RedisError, ResponseError

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.markets import Market

# A market in silence gets a heartbeat every second, so a pause of this length shows that nothing was waiting.
QUIET = timedelta(milliseconds=700)
_POLL_SECONDS = 0.05


async def wait_until_quiet(
    client: Client, markets: Sequence[Market], give_up: Callable[[], bool], timeout: timedelta
) -> bool:
    """Waits until each market's sequence has stood still for `QUIET` once; False on timeout or when told to give up."""
    log = MarketLog(client)
    deadline = time.monotonic() + timeout.total_seconds()
    last: dict[Market, tuple[int, float]] = {}
    waiting = set(markets)
    while waiting:
        now = time.monotonic()
        if now > deadline or give_up():
            return False
        for market in tuple(waiting):
            try:
                seq, _ = await log.sequence(market)
            except (RedisError, OSError):
                continue
            before, since = last.get(market, (-1, now))
            if seq != before:
                last[market] = (seq, now)
            elif now - since >= QUIET.total_seconds():
                waiting.discard(market)
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def wait_until_near(
    client: Client,
    markets: Sequence[Market],
    streams: Sequence[str],
    group: str,
    near: int,
    give_up: Callable[[], bool],
    timeout: timedelta,
) -> None:
    """Waits until the group has at most `near` entries to commit; returns on timeout too."""
    deadline = time.monotonic() + timeout.total_seconds()
    while not give_up() and time.monotonic() < deadline:
        try:
            if await unread(client, markets, streams, group) <= near:
                return
        except (RedisError, OSError):
            pass  # a server that is being restarted
        await asyncio.sleep(_POLL_SECONDS)


async def unread(client: Client, markets: Sequence[Market], streams: Sequence[str], group: str) -> int:
    """Entries that the group has not committed, over all markets; 0 where there is no stream. Raises redis' errors."""
    counts = [await _unread(client, keys.stream(market, name), group) for market in markets for name in streams]
    return sum(counts)


async def _unread(client: Client, stream: str, group: str) -> int:
    try:
        groups: Sequence[Mapping[str, Any]] = await client.xinfo_groups(stream)
        info: Mapping[str, Any] = await client.xinfo_stream(stream)
    except ResponseError:  # no such key
        return 0
    for found in groups:
        if found["name"] == group.encode():
            if found["last-delivered-id"] == info["last-generated-id"]:
                return 0
            lag = found.get("lag")
            return 1 if lag is None else max(1, int(lag))
    return int(info["length"])
