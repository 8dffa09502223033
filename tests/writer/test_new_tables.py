"""Rows of every table that the features give are stored: each where its table belongs, as they were."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.broker.steps import Row, Step
from daedalus_common.entries import encode
from daedalus_common.events import Genesis, Heartbeat
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.rows import RowSchema, pack_rows
from daedalus_common.stores import LocalDisk
from daedalus_features import FeatureConfig
from daedalus_featurizer.row_schemas import row_schemas
from support.lake import objects, stored
from support.writers import build_writer, entries_in, publish, running, until_written

BTC = Market("binanceus", "BTC/USDT")
HERE = "exchange=binanceus/symbol=BTC-USDT"
SCHEMAS = {schema.table: schema for schema in row_schemas(FeatureConfig())}
NIGHT = 1_769_903_999_000_000_000
"""2026-01-31 23:59:59: a second before another hour, day and month."""
SECOND = 1_000_000_000
LeaseOf = Callable[..., Awaitable[Lease]]


async def commit(market_log: MarketLog, lease_of: LeaseOf, rows: list[Row]) -> None:
    """One step with these rows, as the featurizer commits it."""
    featurizer = await lease_of(Role.FEATURIZER)
    genesis = Genesis(5, "g", b"{}")
    await market_log.add_genesis(featurizer, genesis.id, 5, encode(genesis), SCHEMAS.values())
    await publish(market_log, await lease_of(Role.INGESTOR), [(6, encode(Heartbeat(6)))])
    entries = await market_log.read(BTC, keys.RAW, BEGINNING, 10)
    step = Step(BEGINNING, entries[-1][0].decode(), len(entries), b"hot", [], 0, rows)
    await market_log.commit_step(featurizer, step)


def packed(schema: RowSchema, timestamp: list[int], values: np.ndarray) -> list[Row]:
    return [Row(schema.layer, schema.table, each) for each in pack_rows(schema, np.array(timestamp), values)]


def made_up(schema: RowSchema, count: int, duration: float = 60.0) -> np.ndarray:
    """Numbers that differ by row and column and fit the columns, the last row with as many nulls as may be."""
    values = np.arange(count)[:, None] * 1000.0 + np.arange(len(schema.columns))
    for place, column in enumerate(schema.columns):
        if column.dtype in ("bool", "category"):
            values[:, place] = 1.0
        if column.name == "bar_duration_sec":
            values[:, place] = duration
        else:
            values[-1, place] = np.nan
    return values


@pytest.mark.parametrize("table", SCHEMAS)
async def test_rows_of_every_table_are_stored_in_order_by_day_or_month(
    table: str, client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    schema = SCHEMAS[table]
    # Two before midnight, of one timestamp as bars of trades may have, and two after it.
    timestamp = [NIGHT, NIGHT, NIGHT + SECOND, NIGHT + 2 * SECOND]
    values = made_up(schema, 4)
    await commit(market_log, lease_of, packed(schema, timestamp, values))
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC, keys.STREAMS)
    timed = "bar_duration_sec" in [column.name for column in schema.columns]
    place = f"{schema.layer}/{table}/{'duration=60/' if timed else ''}{HERE}"
    days = ("day=31/", "day=1/") if schema.layer == "silver" else ("", "")
    assert [key for key in objects(folder) if not key.startswith("bronze/")] == sorted(
        (
            f"{place}/year=2026/month=1/{days[0]}part_20260131T23_00001.parquet",
            f"{place}/year=2026/month=2/{days[1]}part_20260201T00_00001.parquet",
        )
    )
    found = stored(folder, f"{schema.layer}/{table}")
    assert found["seq"].to_pylist() == [1, 2, 3, 4]
    assert found["timestamp"].cast(pa.int64()).to_pylist() == timestamp
    for number, column in enumerate(schema.columns):
        expected = [None if np.isnan(value) else value for value in values[:, number]]
        cells = found[column.name].to_pylist()
        assert cells == ([v and column.labels[1] for v in expected] if column.dtype == "category" else expected)
    assert await entries_in(client, keys.dead_letters(BTC)) == []


async def test_the_tables_of_one_step_part_ways_and_keep_their_order(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    trades, bars, ticks = (SCHEMAS[name] for name in ("trades", "trade_bars", "tick_bars"))
    rows = packed(trades, [NIGHT] * 500, made_up(trades, 500))
    for duration in (60.0, 300.0, 3600.0):
        rows += packed(bars, [NIGHT + SECOND], made_up(bars, 1, duration))
    rows += packed(ticks, [NIGHT] * 5, made_up(ticks, 5))
    await commit(market_log, lease_of, rows)
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC, keys.STREAMS)
    assert stored(folder, "silver/trades")["seq"].to_pylist() == list(range(1, 501))
    assert [stored(folder, f"gold/trade_bars/duration={d}")["seq"].to_pylist() for d in (60, 300, 3600)] == [
        [1], [2], [3]
    ]  # fmt: skip
    assert stored(folder, "gold/tick_bars")["seq"].to_pylist() == [4, 5, 6, 7, 8]
