"""Entries of real streams become objects, once and in order, whatever lies in the streams."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.broker.steps import Row, Step
from daedalus_common.entries import encode
from daedalus_common.events import Book, Genesis, Trade
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.rows import Column, RowSchema, pack_rows
from daedalus_common.stores import LocalDisk
from daedalus_writer import metrics
from support.lake import all_seqs, metadata, objects, seqs_in, stored
from support.market_events import market_events, payloads
from support.writers import (
    QUICK,
    all_written,
    build_writer,
    entries_in,
    is_owned,
    publish,
    reading_has_begun,
    running,
    until,
    until_written,
)

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("binanceus", "ETH/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]
HOUR_NS = 3_600_000_000_000


def anomalies(market: Market = BTC, stream: str = "raw", kind: str = "object_differs") -> float:
    counter = metrics.ANOMALIES.labels(exchange=market.exchange, symbol=market.symbol, stream=stream, kind=kind)
    return float(counter._value.get())


# Bronze


async def test_every_event_is_stored_once_and_in_order_and_equal_to_what_was_published(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    events = market_events(1, 3000)
    published = payloads(events)
    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, published[:1000])
    async with running(build_writer(client, disk, [BTC])) as task:
        for start in range(1000, 3000, 100):
            await publish(market_log, lease, published[start : start + 100], start + 1)
            await asyncio.sleep(0.01)
        await until_written(task, market_log, BTC)
    assert all_seqs(folder, "bronze") == list(range(1, 3001))
    books = stored(folder, "bronze/ccxt/orderbook")
    originals = [event for event in events if isinstance(event, Book)]
    assert books["seq"].to_pylist() == sorted(books["seq"].to_pylist())
    assert books["bid_price"].to_pylist() == [[price for price, _ in book.bids] for book in originals]
    assert books["ask_size"].to_pylist() == [[size for _, size in book.asks] for book in originals]
    trades = stored(folder, "bronze/ccxt/trades")
    original_trades = [event for event in events if isinstance(event, Trade)]
    assert trades["id"].to_pylist() == [trade.id for trade in original_trades]
    assert trades["side"].to_pylist() == [trade.side for trade in original_trades]
    assert anomalies() == 0


async def test_names_follow_the_layout_and_count_within_the_hour(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    lease = await lease_of(Role.INGESTOR)
    hour = 1_770_127_200_000_000_000  # 2026-02-03T14
    async with running(build_writer(client, disk, [BTC])) as task:
        for number, ts in enumerate((hour, hour + HOUR_NS - 1, hour + HOUR_NS), start=1):
            await publish(market_log, lease, [(ts, encode(Genesis(ts, "g", b"{}")))], number)
            await until_written(task, market_log, BTC)
    day = "bronze/ccxt/control/exchange=binanceus/symbol=BTC-USDT/year=2026/month=2/day=3"
    assert objects(folder) == [
        f"{day}/hour=14/segment_20260203T14_00001.parquet",
        f"{day}/hour=14/segment_20260203T14_00002.parquet",
        f"{day}/hour=15/segment_20260203T15_00001.parquet",
    ]


async def test_a_clean_stop_writes_what_the_streams_still_hold_and_frees_the_markets_at_once(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    await publish(market_log, await lease_of(Role.INGESTOR), payloads(market_events(2, 3000)))
    patient = replace(QUICK, interval=timedelta(hours=1))
    async with running(build_writer(client, disk, [BTC], limits=patient)) as task:
        await until(reading_has_begun, task)
        assert await is_owned(client, BTC)
    assert all_seqs(folder, "bronze") == list(range(1, 3001))
    assert await all_written(market_log, BTC)
    assert not await is_owned(client, BTC)
    assert len(objects(folder)) == 4, "one object a table, quality/gaps included: nothing was due before the stop"


async def test_a_stop_right_after_the_lease_was_taken_still_writes_what_is_there(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    await publish(market_log, await lease_of(Role.INGESTOR), payloads(market_events(2, 500)))
    async with running(build_writer(client, disk, [BTC])) as task:
        await until(lambda: is_owned(client, BTC), task)
    assert all_seqs(folder, "bronze") == list(range(1, 501))


async def test_a_long_backlog_is_cut_into_runs_of_bounded_size(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    await publish(market_log, await lease_of(Role.INGESTOR), payloads(market_events(3, 4000)))
    small = replace(QUICK, interval=timedelta(hours=1), size_bytes=400_000)
    async with running(build_writer(client, disk, [BTC], limits=small)) as task:
        await until(lambda: objects_are(folder, 3), task)
    books = [metadata(folder / key) for key in objects(folder) if "orderbook" in key]
    assert len(books) > 3
    assert all_seqs(folder, "bronze") == list(range(1, 4001))


async def test_a_run_is_gathered_and_encoded_while_it_is_read(
    client: Redis,
    market_log: MarketLog,
    lease_of: LeaseOf,
    disk: LocalDisk,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daedalus_common.parquet.objects.ROW_GROUP_SIZE_BYTES", 200_000)
    lease = await lease_of(Role.INGESTOR)
    patient = replace(QUICK, interval=timedelta(hours=1))
    async with running(build_writer(client, disk, [BTC], limits=patient)) as task:
        for batch in range(16):
            await publish(market_log, lease, payloads(market_events(batch, 500)), batch * 500 + 1)
        await until(reading_has_begun, task)
    assert all_seqs(folder, "bronze") == list(range(1, 8001))
    [books] = [folder / key for key in objects(folder) if "orderbook" in key]
    assert pq.read_metadata(books).num_row_groups > 1, "all at once they would be one"
    assert seqs_in(books) == sorted(seqs_in(books))


async def objects_are(folder: Path, at_least: int) -> bool:
    return len(objects(folder)) >= at_least


async def test_the_memory_budget_holds_back_reading_and_loses_nothing(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    await publish(market_log, await lease_of(Role.INGESTOR), payloads(market_events(4, 4000)))
    tight = replace(QUICK, interval=timedelta(hours=1), memory_bytes=300_000)
    writer = build_writer(client, disk, [BTC], limits=tight)
    highest = 0.0
    async with running(writer) as task:

        async def most_is_written() -> bool:
            nonlocal highest
            highest = max(highest, metrics.HELD_BYTES._value.get())
            lag = (await market_log.cursor(BTC, keys.RAW, "writer")).lag
            return lag is not None and lag < 300

        await until(most_is_written, task)
    assert all_seqs(folder, "bronze") == list(range(1, 4001))
    assert 0 < highest < 1.25 * tight.memory_bytes, "the size of the next entries is a guess"


# dead letters


async def test_a_foreign_entry_goes_to_the_dead_letters_and_the_rest_is_stored(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    counted = metrics.DEAD_LETTERS.labels(exchange="binanceus", symbol="BTC/USDT", stream="raw", reason="missing_field")
    before = counted._value.get()
    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, payloads(market_events(5, 10)))
    raw = keys.stream(BTC, keys.RAW)
    id_ = await client.xadd(raw, {"hello": "world", "blob": b"\xfe\xff"})
    await publish(market_log, lease, payloads(market_events(6, 10)), 11)
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC)
        # Alone in its run, too.
        alone = await client.xadd(raw, {"hello": "again"})
        await until_written(task, market_log, BTC)
    assert all_seqs(folder, "bronze") == list(range(1, 21))
    letters = [fields for _, fields in await entries_in(client, keys.dead_letters(BTC))]
    assert [letter[b"id"] for letter in letters] == [id_, alone]
    assert letters[0][b"stream"] == b"raw"
    assert letters[0][b"reason"] == b"field b'e' is missing"
    assert json.loads(letters[0][b"fields"]) == {"hello": "world", "blob": "base64:/v8="}
    assert counted._value.get() == before + 2


async def test_an_entry_with_an_id_beyond_int64_does_not_stop_the_stream(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    await publish(market_log, await lease_of(Role.INGESTOR), payloads(market_events(7, 5)))
    await client.xadd(keys.stream(BTC, keys.RAW), {"e": b"x"}, id=f"{2**64 - 1}-1")
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC)
    assert all_seqs(folder, "bronze") == [1, 2, 3, 4, 5]
    assert await client.xlen(keys.dead_letters(BTC)) == 1


# Silver and Gold


SILVER = RowSchema("silver", "orderbook", (Column("mid_price", unit="quote"), Column("spread", unit="quote")))
BARS = RowSchema("gold", "bars", (Column("close", unit="quote"), Column("bar_duration_sec", "int64", "s")))


class Feed:
    """Commits steps as the featurizer would, one raw event each."""

    def __init__(self, market_log: MarketLog, publisher: Lease, featurizer: Lease) -> None:
        self._log = market_log
        self._publisher = publisher
        self._featurizer = featurizer
        self._cursor = BEGINNING
        self.steps = 0

    async def declare(self, genesis: str, *schemas: RowSchema) -> None:
        await self._log.add_genesis(self._featurizer, genesis, 5, encode(Genesis(5, genesis, b"{}")), schemas)

    async def step(self, *rows: tuple[RowSchema, int, list[float]]) -> None:
        self.steps += 1
        await publish(self._log, self._publisher, [(self.steps, encode(Genesis(self.steps, "x", b"")))], self.steps)
        entries = await self._log.read(BTC, keys.RAW, self._cursor, 100)
        packed = [
            Row(schema.layer, schema.table, pack_rows(schema, np.array([ts]), np.array([values]))[0])
            for schema, ts, values in rows
        ]
        to_id = entries[-1][0].decode()
        await self._log.commit_step(self._featurizer, Step(self._cursor, to_id, len(entries), b"hot", [], 0, packed))
        self._cursor = to_id


@pytest.fixture
async def feed(market_log: MarketLog, lease_of: LeaseOf) -> Feed:
    return Feed(market_log, await lease_of(Role.INGESTOR), await lease_of(Role.FEATURIZER))


async def test_feature_rows_reach_silver_and_gold_once_with_their_schema(
    client: Redis, market_log: MarketLog, disk: LocalDisk, folder: Path, feed: Feed, tmp_path: Path
) -> None:
    start = 1_770_127_200_000_000_000
    await feed.declare("g-1", SILVER, BARS)
    async with running(build_writer(client, LocalDisk(tmp_path / "bronze"), [BTC], feature_store=disk)) as task:
        for i in range(1, 61):
            rows = [(SILVER, start + i * 1_000_000_000, [100.0 + i, float("nan") if i % 2 else 0.5])]
            if i % 20 == 0:
                rows += [(BARS, start + i * 1_000_000_000, [100.0 + i, duration]) for duration in (60.0, 300.0)]
            await feed.step(*rows)
        await until_written(task, market_log, BTC, keys.STREAMS)
    silver = stored(folder, "silver/orderbook")
    assert silver["seq"].to_pylist() == list(range(1, 61))
    assert silver["mid_price"].to_pylist() == [100.0 + i for i in range(1, 61)]
    assert silver["spread"].to_pylist() == [None if i % 2 else 0.5 for i in range(1, 61)]
    assert silver["timestamp"].cast(pa.int64()).to_pylist() == [start + i * 1_000_000_000 for i in range(1, 61)]
    for duration in (60, 300):
        bars = stored(folder, f"gold/bars/duration={duration}")
        assert bars["close"].to_pylist() == [120.0, 140.0, 160.0]
        assert bars["bar_duration_sec"].to_pylist() == [duration] * 3
    assert not list((folder / "bronze").rglob("*"))
    assert objects(tmp_path / "bronze")


async def test_rows_of_a_schema_declared_later_are_stored_and_of_none_declared_are_refused(
    client: Redis, market_log: MarketLog, disk: LocalDisk, folder: Path, feed: Feed
) -> None:
    wider = RowSchema("silver", "orderbook", (*SILVER.columns, Column("imbalance_L1")))
    undeclared = RowSchema("silver", "orderbook", (Column("other"),))
    ts = 1_770_127_200_000_000_000
    await feed.declare("g-1", SILVER)
    async with running(build_writer(client, disk, [BTC])) as task:
        await feed.step((SILVER, ts, [1.0, 2.0]))
        await until_written(task, market_log, BTC, (keys.SILVER,))
        await feed.step((undeclared, ts, [1.0]))
        await feed.declare("g-2", wider)
        await feed.step((wider, ts, [1.0, 2.0, 3.0]))
        await until_written(task, market_log, BTC, (keys.SILVER,))
    parts = {metadata(folder / key)["schema"]: key for key in objects(folder) if key.startswith("silver")}
    assert parts.keys() == {SILVER.id.hex(), wider.id.hex()}
    [(_, letter)] = await entries_in(client, keys.dead_letters(BTC))
    assert letter[b"reason"] == f"unknown schema {undeclared.id.hex()}".encode()


async def test_silver_keeps_recent_rows_for_live_readers(
    client: Redis, market_log: MarketLog, disk: LocalDisk, feed: Feed
) -> None:
    await feed.declare("g-1", SILVER)
    for i in range(300):
        await feed.step((SILVER, 1_770_127_200_000_000_000 + i, [1.0, 2.0]))
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC, (keys.SILVER,))
    assert await client.xlen(keys.stream(BTC, keys.SILVER)) == 300
    async with running(build_writer(client, disk, [BTC], keep_rows=timedelta(0))) as task:
        await feed.step((SILVER, 1_770_127_300_000_000_000, [1.0, 2.0]))
        await until_written(task, market_log, BTC, (keys.SILVER,))
    assert await client.xlen(keys.stream(BTC, keys.SILVER)) < 150


async def test_events_stay_a_while_for_the_ingestor_that_takes_the_market_over(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk
) -> None:
    at = 1_770_127_200_000_000_000
    lease = await lease_of(Role.INGESTOR)
    raw = keys.stream(BTC, keys.RAW)
    for number, keep, left in ((1, timedelta(minutes=1), range(300, 301)), (301, timedelta(0), range(150))):
        events = [(at + i, encode(Genesis(at + i, "g", b"{}"))) for i in range(300 if number == 1 else 1)]
        await publish(market_log, lease, events, number)
        await client.xgroup_setid(raw, "featurizer", "$")
        async with running(build_writer(client, disk, [BTC], keep_raw=keep)) as task:
            await until_written(task, market_log, BTC)
        assert await client.xlen(raw) in left


# objects that are there already


async def test_an_object_of_somebody_else_under_a_planned_name_is_left_alone_and_counted(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    hour = 1_770_127_200_000_000_000
    place = "bronze/ccxt/control/exchange=binanceus/symbol=BTC-USDT/year=2026/month=2/day=3/hour=14"
    name = f"{place}/segment_20260203T14_00001.parquet"
    disk.create(name, b"somebody else's", {})
    before = anomalies()
    lease = await lease_of(Role.INGESTOR)
    async with running(build_writer(client, disk, [BTC])) as task:
        for number in (1, 2):
            await publish(market_log, lease, [(hour, encode(Genesis(hour, "g", b"{}")))], number)
            await until_written(task, market_log, BTC)
    assert disk.read(name) == b"somebody else's"
    mine = [key for key in objects(folder) if key != name]
    assert [key.rpartition("_")[2] for key in mine] == ["00002.parquet", "00003.parquet"]
    assert [metadata(folder / key)["first_seq"] for key in mine] == ["1", "2"]
    assert anomalies() == before + 1
