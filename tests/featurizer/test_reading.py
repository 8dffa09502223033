"""Of markets that are behind, the next entries are asked for while steps are computed; each comes once, in order."""

import asyncio
import time

import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_features import FeatureConfig
from daedalus_featurizer.featurizer import PASSES_TO_SEND
from daedalus_featurizer.market_work import MarketWork
from daedalus_featurizer.reading import Reader, read_count
from support.market_events import market_events, payloads

BTC = Market("binanceus", "BTC/USDT")
PARAMS = FeatureConfig(rolling_windows=(5, 60), depth_levels=5, bar_durations=(60,), kyle_window=60, regime_window=60)
EVENTS = payloads(market_events(7, 300))
MOST = 20
"""Entries that wait, and that one reply brings."""


@pytest.fixture
def reader(market_log: MarketLog) -> Reader:
    return Reader(market_log, MOST, lambda: 0.0)


def work_on(market: Market = BTC, cursor: str = BEGINNING) -> MarketWork:
    return MarketWork(Lease(market, 1, "token"), PARAMS, cursor, None)


def do_all(work: MarketWork) -> int:
    """Takes every step there is, as if it were committed; the entries done."""
    done = 0
    while count := work.due(0.0, commit_after=0.0, max_entries=MOST, max_rows=50):
        work.committed(work.step(count), 0.0)
        done += count
    return done


async def reads(client: Redis) -> int:
    """XRANGEs that the server has answered."""
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_xrange", {}).get("calls", 0))


async def test_every_entry_comes_once_and_in_order(client: Redis, market_log: MarketLog, publish, reader) -> None:
    await publish(EVENTS)
    ids = [id_.decode() for id_, _ in await market_log.read(BTC, keys.RAW, BEGINNING, len(EVENTS))]
    work, seen = work_on(), []
    more = True
    while more:
        more = await reader.read([work])
        reader.ask_ahead()
        first = len(seen)
        seen += ids[first : first + work.waiting]
        assert work.read_after == seen[-1]
        assert do_all(work) == len(seen) - first
    assert seen == ids
    assert work.at_end


async def test_what_was_asked_ahead_is_not_asked_for_again(client: Redis, publish, reader) -> None:
    await publish(EVENTS)
    work = work_on()
    assert await reader.read([work])
    before = await reads(client)
    reader.ask_ahead()
    do_all(work)
    assert await reader.read([work])
    assert work.waiting == MOST
    assert await reads(client) == before + 1


async def test_what_is_asked_leaves_before_the_next_step_is_computed(redis_url, publish, reader) -> None:
    await publish(EVENTS)
    assert await reader.read([work_on()])
    with redis.Redis.from_url(redis_url) as other:
        before = other.info("commandstats")["cmdstat_xrange"]["calls"]
        reader.ask_ahead()
        for _ in range(PASSES_TO_SEND):
            await asyncio.sleep(0)
        until = time.monotonic() + 2.0  # the loop stands still, as it does while a step is computed
        while other.info("commandstats")["cmdstat_xrange"]["calls"] == before and time.monotonic() < until:
            time.sleep(0.01)  # noqa: ASYNC251
        assert other.info("commandstats")["cmdstat_xrange"]["calls"] == before + 1
    await reader.close()


async def test_a_market_that_is_not_behind_is_read_when_its_turn_comes(client: Redis, publish, reader) -> None:
    await publish(EVENTS[: MOST - 1])
    work = work_on()
    assert not await reader.read([work])
    assert work.at_end
    before = await reads(client)
    reader.ask_ahead()
    await asyncio.sleep(0.05)
    assert await reads(client) == before


async def test_the_end_of_a_stream_is_known_by_a_read_of_now_alone(publish, reader) -> None:
    await publish(EVENTS[: MOST + 3])
    work = work_on()
    assert await reader.read([work])
    reader.ask_ahead()
    do_all(work)
    await asyncio.sleep(0.05)  # the three are on their way
    await publish(EVENTS[MOST + 3 : MOST + 8])
    assert not await reader.read([work])
    assert work.waiting == 8
    assert work.at_end


async def test_a_market_that_was_opened_again_gets_nothing_asked_for_before(publish, reader) -> None:
    await publish(EVENTS)
    former = work_on()
    assert await reader.read([former])
    reader.ask_ahead()
    anew = work_on()
    assert await reader.read([anew])
    assert anew.waiting == MOST
    assert do_all(anew) == do_all(former) == MOST
    assert anew.cursor == former.cursor


async def test_a_market_whose_steps_are_refused_does_not_grow(client: Redis, publish, reader) -> None:
    await publish(EVENTS)
    work = work_on()
    for _ in range(10):
        await reader.read([work])
        reader.ask_ahead()
        await asyncio.sleep(0.01)
    assert work.waiting <= 2 * MOST
    before = await reads(client)
    await reader.read([work])
    reader.ask_ahead()
    await asyncio.sleep(0.05)
    assert await reads(client) == before, "and nothing is asked for in vain"


async def test_an_error_is_told_by_the_next_read_and_the_one_after_goes_on(client: Redis, publish, reader) -> None:
    await publish(EVENTS)
    work = work_on()
    assert await reader.read([work])
    stream = keys.stream(BTC, keys.RAW)
    await client.rename(stream, "{binanceus:BTC-USDT}:aside")
    await client.set(stream, "no stream")
    reader.ask_ahead()
    do_all(work)
    with pytest.raises(ResponseError):
        await reader.read([work])
    await client.delete(stream)
    await client.rename("{binanceus:BTC-USDT}:aside", stream)
    assert await reader.read([work])
    assert do_all(work) == MOST


async def test_a_reader_may_be_closed_with_an_answer_on_its_way(publish, reader) -> None:
    await publish(EVENTS)
    assert await reader.read([work_on()])
    reader.ask_ahead()
    await reader.close()
    await reader.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@pytest.mark.parametrize(("markets", "count"), [(0, 500), (1, 500), (10, 390), (100, 39), (10_000, 10)])
def test_a_reply_for_all_markets_stays_within_8_mb(markets: int, count: int) -> None:
    assert read_count(markets, 500) == count
