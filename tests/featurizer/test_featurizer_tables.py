"""Every channel becomes its tables, live as in one computation, and a channel that is not enabled becomes none."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from redis.asyncio import Redis

from daedalus_common.batches import decode_batch
from daedalus_common.broker import keys
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.entries import encode
from daedalus_common.events import Event, Genesis, Ticker, Trade
from daedalus_common.leases import Lease, Role
from daedalus_common.rows import schema_id
from daedalus_features import Channel, FeatureConfig, Tickers, tables
from daedalus_featurizer.decoding import events_of
from daedalus_featurizer.market_work import MarketWork
from daedalus_featurizer.row_schemas import row_schemas
from support.market_events import START, market_events, payloads
from support.streamed_rows import BTC, assert_same, computed_at_once, streamed

Publish = Callable[[list[tuple[int, bytes]]], Awaitable[None]]
LeaseOf = Callable[..., Awaitable[Lease]]
PARAMS = FeatureConfig(
    rolling_windows=(5, 60), depth_levels=5, bar_durations=(5, 60), kyle_window=60, regime_window=60,
    tick_bar_size=7, volume_bar_size=2.0, dollar_bar_size=500.0,
    imbalance_bar_ticks=10, imbalance_bar_min_ticks=3, imbalance_bar_max_ticks=40,
)  # fmt: skip
OF_CHANNEL = {
    "orderbook": {("silver", "orderbook"), ("gold", "bars")},
    "trades": {
        ("silver", "trades"),
        *(("gold", kind) for kind in ("trade_bars", "tick_bars", "volume_bars", "dollar_bars")),
        *(("gold", f"{kind}_imbalance_bars") for kind in ("tick", "volume", "dollar")),
    },
    "ticker": {("silver", "ticker")},
}


def with_tickers(events: list[Event]) -> list[Event]:
    """One after every fifteenth event, some of them with fields missing or not usable."""
    found: list[Event] = []
    for number, event in enumerate(events):
        found.append(event)
        if number % 15 == 0:
            bid = None if number % 60 == 0 else 99.0 + number % 7
            ask = float("nan") if number % 45 == 0 else 101.0
            rest = (None, None, None, None, 12.0, float("inf"))
            found.append(Ticker(event.capture_ts, None, bid, None, ask, 2.0, 100.5, *rest))
    return found


def only(*channels: Channel) -> FeatureConfig:
    return replace(PARAMS, channels=channels)


async def test_every_table_of_every_channel_is_streamed(market_log: MarketLog, publish: Publish, replicas) -> None:
    async with replicas.running(params={BTC: PARAMS}):
        await replicas.caught_up()
        await publish(payloads(with_tickers(market_events(1, 3000))))
        await replicas.caught_up()
    live = await streamed(market_log)
    assert live.keys() == set().union(*OF_CHANNEL.values())
    counts = {table: len(timestamp) for (_, table), (timestamp, _) in live.items()}
    assert counts["trades"] > 600
    assert counts["ticker"] > 150
    assert min(counts.values()) >= 3, counts
    assert_same(live, await computed_at_once(market_log))


@pytest.mark.parametrize("channels", [("trades",), ("ticker",), ("orderbook", "ticker"), ("trades", "ticker")])
async def test_only_the_tables_of_enabled_channels_are_streamed(
    channels: tuple[Channel, ...], client: Redis, market_log: MarketLog, publish: Publish, replicas
) -> None:
    events = payloads(with_tickers(market_events(2, 1600)))
    for start in range(0, len(events), 400):  # each time by another process: state and history come back from Redis
        async with replicas.running(params={BTC: only(*channels)}):
            await replicas.caught_up()
            await publish(events[start : start + 400])
            await replicas.caught_up()
    live = await streamed(market_log)
    assert live.keys() == set().union(*(OF_CHANNEL[channel] for channel in channels))
    assert_same(live, await computed_at_once(market_log))
    assert (await client.llen(keys.history(BTC)) > 0) == ("orderbook" in channels)


async def test_the_order_book_switched_off_leaves_no_history_of_it(
    client: Redis, market_log: MarketLog, publish: Publish, replicas
) -> None:
    events = payloads(with_tickers(market_events(3, 800)))
    for params, part in ((PARAMS, events[:400]), (only("trades"), events[400:])):
        async with replicas.running(params={BTC: params}):
            await replicas.caught_up()
            await publish(part)
            await replicas.caught_up()
    assert await client.llen(keys.history(BTC)) == 0
    assert_same(await streamed(market_log), await computed_at_once(market_log))


async def test_tickers_reach_the_features_with_every_field(market_log: MarketLog, publish: Publish) -> None:
    fields = {name: 1.0 + place for place, name in enumerate(Tickers.FIELDS)}
    await publish(
        payloads(
            [
                Ticker(START, None, **fields),
                Trade(START, None, "1", 100.0, 1.0, "buy"),
                Ticker(START + 1, 5, **dict.fromkeys(Tickers.FIELDS)),
            ]
        )
    )
    tickers = events_of(decode_batch(await market_log.read(BTC, keys.RAW, BEGINNING, 10))).tickers
    assert tickers.position.tolist() == [0, 2]
    assert [tickers.column(name)[0] for name in Tickers.FIELDS] == list(fields.values())
    assert np.isnan(tickers.values[:, 1]).all()


def trades(count: int) -> list[tuple[int, bytes]]:
    """So many in one second, then an event of the next one."""
    step = 900_000_000 // count
    sides = ("buy", "sell", None)
    found = [Trade(START + i * step, None, str(i), 100.0 + i % 5, 0.5 + i % 3, sides[i % 3]) for i in range(count - 1)]
    return payloads([*found, Trade(START + 2_000_000_000, None, "last", 100.0, 1.0, "buy")])


SMALLEST_BARS = replace(PARAMS, tick_bar_size=1, volume_bar_size=0.1, dollar_bar_size=1.0)


@pytest.mark.parametrize("params", [PARAMS, SMALLEST_BARS], ids=["usual bars", "a bar a trade"])
async def test_a_step_of_500_trades_is_committed_at_once(
    params: FeatureConfig, market_log: MarketLog, publish: Publish, lease_of: LeaseOf
) -> None:
    lease = await lease_of(Role.FEATURIZER)
    genesis = Genesis(START, f"{params.hash}-test", params.to_json())
    await market_log.add_genesis(lease, genesis.id, START, encode(genesis), row_schemas(params))
    await publish(trades(499))
    work = MarketWork(lease, params, BEGINNING, None)
    work.accept(await market_log.read(BTC, keys.RAW, BEGINNING, 500), 0.0)
    assert work.waiting == 500
    taken = work.step(work.due(0.0, commit_after=60.0, max_entries=500, max_rows=50))
    assert taken.events == 500
    await market_log.commit_step(lease, taken.step)
    live = await streamed(market_log)
    assert len(live["silver", "trades"][0]) == 499
    if params == SMALLEST_BARS:
        assert len(live["gold", "tick_bars"][0]) == len(live["gold", "dollar_bars"][0]) == 499
    assert_same(live, await computed_at_once(market_log))


async def test_a_column_that_nobody_declared_begins_anew_with_its_schema(
    client: Redis, market_log: MarketLog, publish: Publish, replicas
) -> None:
    events = payloads(with_tickers(market_events(5, 600)))
    async with replicas.running(params={BTC: PARAMS}):
        await replicas.caught_up()
        await publish(events[:300])
        await replicas.caught_up()
    [orderbook] = [schema for schema in row_schemas(PARAMS) if schema.table == "orderbook"]
    await client.hdel(keys.schemas(BTC), orderbook.id.hex())  # as if the version before had had other columns
    async with replicas.running(params={BTC: PARAMS}):
        async with asyncio.timeout(30):
            while orderbook.id not in await market_log.schemas(BTC):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await publish(events[300:])
        await replicas.caught_up()
    batch = decode_batch(await market_log.read(BTC, keys.RAW, BEGINNING, 10_000))
    assert [position for position, event in batch.packed if isinstance(event, Genesis)] == [0, 301]
    assert_same(await streamed(market_log), await computed_at_once(market_log))


async def test_the_schema_of_every_table_is_declared_before_its_first_row(market_log: MarketLog, replicas) -> None:
    async with replicas.running(params={BTC: PARAMS}):
        await replicas.caught_up()
    declared = await market_log.schemas(BTC)
    assert {(schema.layer, schema.table) for schema in declared.values()} == {
        (table.layer, table.name) for table in tables(PARAMS)
    }
    assert {schema_id(id_ + bytes(8)) for id_ in declared} == {schema.id for schema in row_schemas(PARAMS)}
