"""The featurizer's group was removed, as `daedalus streams remove-group` does, and is made again with the market."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from daedalus_common.batches import decode_batch
from daedalus_common.broker import keys
from daedalus_common.broker.errors import Conflict
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.events import Genesis
from daedalus_common.markets import Market
from support.market_events import market_events, payloads
from support.streamed_rows import streamed

BTC = Market("binanceus", "BTC/USDT")
Publish = Callable[[list[tuple[int, bytes]]], Awaitable[None]]


async def is_at_the_end(market_log: MarketLog) -> bool:
    try:
        cursor = await market_log.cursor(BTC, keys.RAW, "featurizer")
    except Conflict:
        return False
    return cursor.id != BEGINNING and not await market_log.read(BTC, keys.RAW, cursor.id, 1)


@pytest.mark.parametrize("trimmed", [False, True], ids=["its entries are still there", "what it missed is trimmed"])
async def test_features_begin_anew_behind_what_is_there(
    trimmed: bool, client: Redis, market_log: MarketLog, publish: Publish, replicas
) -> None:
    """Neither are rows made twice, nor does an old state go on behind entries that it never saw."""
    raw, events = keys.stream(BTC, keys.RAW), payloads(market_events(8, 1800))
    async with replicas.running():
        await replicas.caught_up()
        await publish(events[:600])
        await replicas.caught_up()
    before = {name: len(times) for name, (times, *_) in (await streamed(market_log)).items()}
    assert await client.xgroup_destroy(raw, "featurizer")
    await publish(events[600:1200])
    if trimmed:
        await client.xtrim(raw, maxlen=0, approximate=False)
    async with replicas.running():
        async with asyncio.timeout(20):
            while not await is_at_the_end(market_log):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await publish(events[1200:])
        async with asyncio.timeout(20):
            while not await is_at_the_end(market_log):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    batch = decode_batch(await market_log.read(BTC, keys.RAW, BEGINNING, 10_000))
    *_, genesis = [event for _, event in batch.packed if isinstance(event, Genesis)]
    stored = await market_log.stored_state(BTC)
    assert stored.genesis == genesis.id
    for name, (times, *_) in (await streamed(market_log)).items():
        assert min(times[before.get(name, 0) :]) >= events[1199][0], name
        assert times == sorted(times), name
