"""What the front door reads from the server: the display's numbers, and whether everything has been read."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import numpy as np
import pytest
from redis.asyncio import Redis

from daedalus.display.sampling import Sampler
from daedalus.embedded.draining import unread, wait_until_near, wait_until_quiet
from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.markets import Market
from daedalus_common.rows import Column, RowSchema, pack_rows

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("binanceus", "ETH/USDT")
RAW = keys.stream(BTC, keys.RAW)
SILVER = keys.stream(BTC, keys.SILVER)
SCHEMA = RowSchema("silver", "orderbook", (Column("mid_price"), Column("spread"), Column("ofi")))
LONG, SHORT = timedelta(seconds=10), timedelta(seconds=0.4)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    found = connect(redis_url)
    yield found
    await found.aclose()


async def add(client: Redis, stream: str, count: int) -> list[bytes | str]:
    return [await client.xadd(stream, {"e": "x"}) for _ in range(count)]


async def declare(client: Redis) -> None:
    await client.hset(keys.schemas(BTC), SCHEMA.id.hex(), msgspec.json.encode(SCHEMA))


async def add_row(client: Redis, table: str, mid: float, spread: float) -> None:
    (payload,) = pack_rows(SCHEMA, np.array([10**18]), np.array([[mid, spread, np.nan]]))
    await client.xadd(SILVER, {"s": "1", "c": table, "p": payload})


async def test_a_sample_tells_sequence_lags_and_the_last_row_of_the_book(client):
    await MarketLog(client).open_market(BTC)
    await client.hset(keys.sequence(BTC), "seq", "42")
    ids = await add(client, RAW, 5)
    await client.xgroup_setid(RAW, "featurizer", ids[3], entries_read=4)
    await client.xadd(keys.dead_letters(BTC), {"reason": "r"})
    await declare(client)
    await add_row(client, "orderbook", 100.0, 0.25)
    await add_row(client, "orderbook", 101.5, 0.5)
    await client.xadd(SILVER, {"s": "2", "c": "trades", "p": b"a row of another table"})
    sample = await Sampler(client, [BTC, ETH]).sample(7.0)
    btc, eth = sample.markets
    assert sample.at == 7.0
    assert (btc.seq, btc.writer_lag, btc.featurizer_lag, btc.dead_letters) == (42, 5, 1, 1)
    assert (btc.mid, btc.spread) == (101.5, 0.5)
    assert (eth.seq, eth.writer_lag, eth.featurizer_lag, eth.mid) == (0, None, None, None)


async def test_the_book_is_found_behind_the_trades_of_a_busy_market(client):
    await declare(client)
    await add_row(client, "orderbook", 100.0, 0.25)
    for _ in range(400):
        await client.xadd(SILVER, {"s": "2", "c": "trades", "p": b"a row of another table"})
    (btc,) = (await Sampler(client, [BTC]).sample(0.0)).markets
    assert (btc.mid, btc.spread) == (100.0, 0.25)


@pytest.mark.parametrize("payload", [b"", b"short", b"x" * 100], ids=["empty", "short", "unknown schema"])
async def test_a_row_that_is_not_ours_shows_no_price(client, payload):
    await declare(client)
    await client.xadd(SILVER, {"s": "1", "c": "orderbook", "p": payload})
    await client.xadd(SILVER, {"something": "else"})
    (btc,) = (await Sampler(client, [BTC]).sample(0.0)).markets
    assert (btc.mid, btc.spread) == (None, None)


async def test_a_schema_that_is_declared_later_is_found(client):
    sampler = Sampler(client, [BTC])
    await add_row(client, "orderbook", 100.0, 0.25)
    assert (await sampler.sample(0.0)).markets[0].mid is None
    await declare(client)
    assert (await sampler.sample(1.0)).markets[0].mid == 100.0


async def test_a_server_that_is_away_is_a_problem_not_an_error():
    client = connect("redis://127.0.0.1:1/0")
    sample = await Sampler(client, [BTC]).sample(0.0)
    await client.aclose()
    assert sample.markets == ()
    assert sample.problem is not None
    assert "does not answer" in sample.problem


async def test_unread_entries_are_counted_over_streams_and_markets(client):
    assert await unread(client, [BTC], [keys.RAW], "writer") == 0  # there is no stream
    log = MarketLog(client)
    await log.open_market(BTC)
    await log.open_market(ETH)
    assert await unread(client, [BTC, ETH], keys.STREAMS, "writer") == 0
    ids = await add(client, RAW, 5)
    await add(client, keys.stream(ETH, keys.GOLD), 2)
    assert await unread(client, [BTC, ETH], keys.STREAMS, "writer") == 7
    await client.xgroup_setid(RAW, "writer", ids[-1], entries_read=5)
    assert await unread(client, [BTC, ETH], keys.STREAMS, "writer") == 2
    await client.xtrim(RAW, minid=ids[-1], approximate=False)
    assert await unread(client, [BTC], [keys.RAW], "writer") == 0
    assert await unread(client, [BTC], [keys.RAW], "nobody") == 1  # a group that never was has read nothing


async def test_a_group_whose_lag_the_server_does_not_know_is_not_taken_for_done(client):
    await MarketLog(client).open_market(BTC)
    ids = await add(client, RAW, 3)
    await client.xdel(RAW, ids[1])  # a hole: the server no longer counts
    await client.xgroup_setid(RAW, "writer", ids[0])
    assert await unread(client, [BTC], [keys.RAW], "writer") >= 1
    await client.xgroup_setid(RAW, "writer", ids[2])
    assert await unread(client, [BTC], [keys.RAW], "writer") == 0


async def test_waiting_for_a_reader_ends_when_it_is_near_or_given_up(client):
    await MarketLog(client).open_market(BTC)
    ids = await add(client, RAW, 5)
    arguments = (client, [BTC], [keys.RAW], "writer")

    async def took(near: int, give_up: bool, timeout: timedelta) -> float:
        before = time.monotonic()
        await wait_until_near(*arguments, near, lambda: give_up, timeout)
        return time.monotonic() - before

    assert await took(near=5, give_up=False, timeout=LONG) < 5
    assert await took(near=4, give_up=True, timeout=LONG) < 5
    assert SHORT.total_seconds() <= await took(near=4, give_up=False, timeout=SHORT) < 10
    waiting = asyncio.create_task(took(near=0, give_up=False, timeout=LONG))
    await asyncio.sleep(0.2)
    await client.xgroup_setid(RAW, "writer", ids[-1], entries_read=5)
    assert 0.2 <= await waiting < 5


async def test_a_market_is_quiet_between_two_heartbeats_and_not_while_events_come(client):
    async def beat(every: float) -> None:
        while True:
            await client.hincrby(keys.sequence(BTC), "seq", 1)
            await asyncio.sleep(every)

    heartbeats = asyncio.create_task(beat(1.0))
    assert await wait_until_quiet(client, [BTC, ETH], lambda: False, LONG)
    heartbeats.cancel()
    events = asyncio.create_task(beat(0.1))
    assert not await wait_until_quiet(client, [BTC, ETH], lambda: False, timedelta(seconds=1.5))
    events.cancel()
    assert not await wait_until_quiet(client, [BTC], lambda: True, LONG)
