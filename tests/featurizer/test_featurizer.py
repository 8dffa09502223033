"""The featurizer's rows are those of one pure computation over the whole sequence, whatever happens to it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from daedalus_common.batches import decode_batch
from daedalus_common.broker import keys
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.entries import encode
from daedalus_common.events import Book, Genesis
from daedalus_common.markets import Market
from daedalus_features import FeatureConfig
from support.market_events import START, market_events, payloads
from support.streamed_rows import assert_same, computed_at_once, streamed

BTC = Market("binanceus", "BTC/USDT")
Publish = Callable[[list[tuple[int, bytes]]], Awaitable[None]]
PARAMS = FeatureConfig(rolling_windows=(5, 60), depth_levels=5, bar_durations=(60,), kyle_window=60, regime_window=60)


async def test_rows_in_the_streams_equal_one_computation_over_the_whole_sequence(
    market_log: MarketLog, publish: Publish, replicas
) -> None:
    async with replicas.running():
        await replicas.caught_up()
        await publish(payloads(market_events(1, 4000)))
        await replicas.caught_up()
    live = await streamed(market_log)
    assert len(live["silver", "orderbook"][0]) > 150
    assert len(live["gold", "bars"][0]) >= 3
    assert_same(live, await computed_at_once(market_log))


@pytest.mark.parametrize("seed", [2, 3])
async def test_crashes_between_steps_change_no_row(
    seed: int, market_log: MarketLog, publish: Publish, replicas
) -> None:
    events = payloads(market_events(seed, 2400))
    async with replicas.running():
        await replicas.caught_up()
    await publish(events[:1200])
    rng = np.random.default_rng(seed)
    for start in range(1200, len(events), 200):
        await replicas.crash({BTC: PARAMS}, turns=int(rng.integers(1, 4)), max_entries=int(rng.integers(5, 80)))
        await publish(events[start : start + 200])
    async with replicas.running():
        await replicas.caught_up()
    assert_same(await streamed(market_log), await computed_at_once(market_log))


async def test_a_parameter_change_begins_anew_where_it_was_made(
    market_log: MarketLog, publish: Publish, replicas
) -> None:
    other = FeatureConfig(rolling_windows=(5, 60), depth_levels=5, bar_durations=(60,), ofi_decay_alpha=0.9)
    events = payloads(market_events(4, 900))
    async with replicas.running():
        await replicas.caught_up()
        await publish(events[:300])
        await replicas.caught_up()
    await publish(events[300:600])  # nobody is there; these belong to the old parameters
    async with replicas.running("b", {BTC: other}):
        await replicas.caught_up()
        await publish(events[600:])
        await replicas.caught_up()
    batch = decode_batch(await market_log.read(BTC, keys.RAW, BEGINNING, 10_000))
    geneses = [(position, event) for position, event in batch.packed if isinstance(event, Genesis)]
    assert [event.params for _, event in geneses] == [PARAMS.to_json(), other.to_json()]
    assert [position for position, _ in geneses] == [0, 601]
    assert_same(await streamed(market_log), await computed_at_once(market_log))


async def test_a_foreign_entry_is_passed_over_and_counted_nowhere_else(
    client: Redis, market_log: MarketLog, publish: Publish, replicas
) -> None:
    events = payloads(market_events(5, 400))
    async with replicas.running():
        await replicas.caught_up()
        await publish(events[:200])
        await client.xadd(keys.stream(BTC, keys.RAW), {"what": "is this"})
        await client.xadd(keys.stream(BTC, keys.RAW), {"g": "0", "s": "7", "t": "8", "e": b"\xff\xff"})
        await publish(events[200:])
        await replicas.caught_up()
    assert_same(await streamed(market_log), await computed_at_once(market_log))


async def test_a_state_of_an_unknown_schema_is_refused_and_left_alone(
    client: Redis, market_log: MarketLog, publish: Publish, replicas
) -> None:
    await client.hset(keys.state(BTC), mapping={"genesis": "0-0", "hot": b"of another version"})
    await publish(payloads(market_events(6, 50)))
    async with replicas.running() as (keeper, health):
        async with asyncio.timeout(20):
            while "state of binanceus:BTC-USDT" not in health.readiness().problems:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert keeper.held
    assert await client.hget(keys.state(BTC), "hot") == b"of another version"
    assert (await market_log.cursor(BTC, keys.RAW, "featurizer")).id == BEGINNING


async def test_a_replica_that_has_let_go_of_a_refused_market_is_ready(
    client: Redis, publish: Publish, replicas
) -> None:
    await client.hset(keys.state(BTC), mapping={"genesis": "0-0", "hot": b"of another version"})
    await publish(payloads(market_events(6, 50)))
    async with replicas.running() as (keeper, health), asyncio.timeout(20):
        while "state of binanceus:BTC-USDT" not in health.readiness().problems:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert keeper.let_go(BTC)
        while "state of binanceus:BTC-USDT" in health.readiness().problems:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_lag_of_a_market_that_is_given_during_a_commit_is_told_no_more(
    market_log: MarketLog, publish: Publish, replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    featurizer, keeper, _ = replicas.make("a", {BTC: PARAMS}, commit_seconds=0.0)
    await keeper.renew()
    await featurizer.turn()
    commit = market_log.commit_step

    async def given_meanwhile(*step: Any) -> None:
        await commit(*step)
        assert await featurizer.release(BTC)

    monkeypatch.setattr(market_log, "commit_step", given_meanwhile)
    await publish(payloads(market_events(6, 50)))
    await featurizer.turn()
    await keeper.leave()
    assert (await market_log.cursor(BTC, keys.RAW, "featurizer")).lag == 0
    labels = {"exchange": BTC.exchange, "symbol": BTC.symbol}
    assert REGISTRY.get_sample_value("daedalus_featurizer_lag_seconds", labels) is None


async def test_a_refused_state_that_is_taken_away_begins_anew(
    client: Redis, market_log: MarketLog, publish: Publish, replicas
) -> None:
    """As the log says, and docs/extending.md."""
    await client.hset(keys.state(BTC), mapping={"genesis": PARAMS.hash, "hot": b"of other transforms"})
    await client.rpush(keys.history(BTC), *[b"of other transforms"] * 9)
    await publish(payloads(market_events(6, 50)))
    async with replicas.running("a") as (_, health):
        async with asyncio.timeout(20):
            while "state of binanceus:BTC-USDT" not in health.readiness().problems:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    await client.hdel(keys.state(BTC), "genesis", "hot")
    async with replicas.running("b"):
        await replicas.caught_up()
        await publish(payloads(market_events(7, 600)))
        await replicas.caught_up()
    live = await streamed(market_log)
    assert len(live["silver", "orderbook"][0]) > 20
    assert_same(live, await computed_at_once(market_log))
    assert await client.lrange(keys.history(BTC), 0, 0) != [b"of other transforms"]


async def test_a_genesis_of_an_unknown_version_stops_its_market_and_no_other(
    market_log: MarketLog, publish: Publish, replicas
) -> None:
    other = Market("binanceus", "ETH/USDT")
    async with replicas.running(params={BTC: PARAMS, other: PARAMS}) as (_, health):
        await replicas.caught_up()
        cursor = await market_log.cursor(BTC, keys.RAW, "featurizer")
        await publish([(START, encode(Genesis(START, "of-tomorrow", b'{"not": "known"}')))])
        async with asyncio.timeout(20):
            while "state of binanceus:BTC-USDT" not in health.readiness().problems:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert "of-tomorrow" in health.readiness().problems["state of binanceus:BTC-USDT"]
        await replicas.caught_up(other)
    assert await market_log.cursor(BTC, keys.RAW, "featurizer") == msgspec.structs.replace(cursor, lag=1)


async def test_a_stop_before_the_first_lease_still_processes_what_is_there(
    market_log: MarketLog, publish: Publish, replicas
) -> None:
    async with replicas.running():
        await replicas.caught_up()
    await publish(payloads(market_events(9, 1500)))
    featurizer, keeper, _ = replicas.make("late", {BTC: PARAMS}, max_entries=100)
    stop = asyncio.Event()
    stop.set()
    await featurizer.run(stop)
    assert not keeper.held
    assert (await market_log.cursor(BTC, keys.RAW, "featurizer")).lag == 0
    live = await streamed(market_log)
    assert len(live["silver", "orderbook"][0]) > 50
    assert_same(live, await computed_at_once(market_log))


async def test_two_featurizers_own_every_market_once_and_a_crashed_ones_markets_move(client: Redis, replicas) -> None:
    markets = {Market("binanceus", f"C{i}/USDT"): PARAMS for i in range(5)}
    _, its_keeper, _ = replicas.make("crashed", markets)
    await its_keeper.renew()
    assert len(its_keeper.held) == 5
    async with replicas.running("b", markets) as (b, _), replicas.running("c", markets) as (c, _):
        async with asyncio.timeout(20):
            while {len(b.held), len(c.held)} != {2, 3} or {*b.held, *c.held} != set(markets):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_zombie_changes_nothing_after_a_take_over(market_log: MarketLog, publish: Publish, replicas) -> None:
    zombie, zombies_keeper, _ = replicas.make("zombie", {BTC: PARAMS})
    await zombies_keeper.renew()
    await zombie.turn()
    await publish(payloads(market_events(7, 600)))
    await asyncio.sleep(1.2)  # past the ttl
    async with replicas.running("heir"):
        await replicas.caught_up()
        before = await streamed(market_log)
        await zombie.turn()
        await zombie.turn()
        assert not zombies_keeper.held
        assert_same(await streamed(market_log), before)
    assert_same(await streamed(market_log), await computed_at_once(market_log))


async def test_an_event_older_than_the_genesis_has_no_features(
    market_log: MarketLog, publish: Publish, replicas
) -> None:
    events = market_events(8, 500)
    await publish(payloads(events[:100]))
    async with replicas.running():
        await replicas.caught_up()
        await publish(payloads(events[100:]))
        await replicas.caught_up()
    first_book_after = next(event for event in events[100:] if isinstance(event, Book))
    live = await streamed(market_log)
    assert live["silver", "orderbook"][0][0] >= first_book_after.capture_ts
