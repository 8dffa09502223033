"""What users read with: Polars, DuckDB, pandas and PyArrow see one table with its hive partitions."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from daedalus_common.batches import RawEntry
from daedalus_common.entries import encode
from daedalus_common.events import Book, Trade
from daedalus_common.markets import Market
from daedalus_common.rows import Column, RowSchema, pack_rows
from daedalus_common.stores import LocalDisk
from support.gathered import encoded, gather

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("kraken", "ETH/USD:ETH")
START = 1_770_127_190_000_000_000  # ten seconds before 2026-02-03T14
SILVER = RowSchema(
    "silver",
    "orderbook",
    (Column("mid_price"), Column("gap", "bool"), Column("spread_regime", "category", labels=("tight", "wide"))),
)
BARS = RowSchema("gold", "bars", (Column("close"), Column("bar_duration_sec", "int64")))


@pytest.fixture
def lake(folder: Path, disk: LocalDisk) -> Path:
    """Two markets over the turn of an hour: 20 books, 20 trades and 20 silver rows each, and bars of two durations."""
    for market in (BTC, ETH):
        books = [Book(START, i, i, ((100.0, float(i)),), ()) for i in range(20)]
        trades = [Trade(START, None, str(i), 100.0, 1.0, ("buy", "sell", None)[i % 3]) for i in range(20)]
        raw = [encode(event) for pair in zip(books, trades, strict=True) for event in pair]
        store(disk, market, "raw", [(START + i // 2 * 10**9, {b"e": payload}) for i, payload in enumerate(raw)])
        rows = [[100.0 + i, i % 2, i % 2] if i % 5 else [np.nan] * 3 for i in range(20)]
        store(disk, market, "silver", feature_entries(SILVER, rows))
        store(disk, market, "gold", feature_entries(BARS, [[100.0, 60.0], [100.0, 300.0], [101.0, 60.0]]))
    return folder


def feature_entries(schema: RowSchema, rows: list[list[float]]) -> list[tuple[int, dict[bytes, bytes]]]:
    times = START + np.arange(len(rows)) * 10**9
    packed = pack_rows(schema, times, np.array(rows))
    return [(0, {b"c": schema.table.encode(), b"p": payload}) for payload in packed]


def store(disk: LocalDisk, market: Market, stream: str, entries: list[tuple[int, dict[bytes, bytes]]]) -> None:
    run: list[RawEntry] = [
        (b"%d-0" % i, {b"g": b"0", b"s": b"%d" % i, b"t": b"%019d" % ts} | fields)
        for i, (ts, fields) in enumerate(entries, start=1)
    ]
    gathered = gather(market, stream, [run], {SILVER.id: SILVER, BARS.id: BARS})
    assert not gathered.dead
    for place, content in encoded(gathered, market, stream).items():
        disk.create(f"{place.table}/{place.partition}/part_{place.stamp}.parquet", content, {})


def test_polars_scans_bronze(lake: Path) -> None:
    frame = pl.scan_parquet(lake / "bronze/ccxt/orderbook", hive_partitioning=True)
    found = frame.filter(pl.col("symbol") == "BTC-USDT", pl.col("hour") == 14).sort("seq").collect()
    assert found["exchange"].unique().to_list() == ["binanceus"]
    assert found["seq"].to_list() == list(range(21, 41, 2))
    assert found["bid_size"].to_list() == [[float(i)] for i in range(10, 20)]
    assert found["ask_price"].to_list() == [[]] * 10
    assert found.schema["ts"] == pl.Datetime("ns", "UTC")
    trades = pl.scan_parquet(lake / "bronze/ccxt/trades", hive_partitioning=True).collect()
    assert trades.height == 40
    assert trades["side"].null_count() == 12


def test_polars_scans_silver_and_gold(lake: Path) -> None:
    silver = pl.scan_parquet(lake / "silver/orderbook", hive_partitioning=True).collect()
    assert silver.height == 40
    assert silver.schema["timestamp"] == pl.Datetime("ns", "UTC")
    assert silver.schema["gap"] == pl.Boolean
    assert set(silver["spread_regime"].drop_nulls().unique()) == {"tight", "wide"}
    assert silver["mid_price"].null_count() == silver["spread_regime"].null_count() == 8
    bars = pl.scan_parquet(lake / "gold/bars", hive_partitioning=True)
    assert bars.filter(pl.col("duration") == 60).collect().height == 4


def test_duckdb_reads_every_layer(lake: Path) -> None:
    def query(text: str, table: str) -> list[tuple[object, ...]]:
        source = f"read_parquet('{lake / table}/**/*.parquet', hive_partitioning=true)"
        with duckdb.connect() as connection:
            return connection.execute(text.format(t=source)).fetchall()

    assert query(
        "select exchange, symbol, hour, count(*), min(seq), epoch_ns(max(ts)) from {t} group by all order by all",
        "bronze/ccxt/orderbook",
    )[0] == ("binanceus", "BTC-USDT", 13, 10, 1, START + 9 * 10**9)
    assert query("select sum(list_sum(bid_size)) from {t} where symbol = 'BTC-USDT'", "bronze/ccxt/orderbook") == [
        (190.0,)
    ]
    assert query("select side, count(*) from {t} group by all order by all", "bronze/ccxt/trades") == [
        ("buy", 14), ("sell", 14), (None, 12),
    ]  # fmt: skip
    assert query("select count(*) from {t} where not gap", "silver/orderbook") == [(16,)]
    assert query("select duration, max(close) from {t} group by all order by all", "gold/bars") == [
        (60, 101.0), (300, 100.0),
    ]  # fmt: skip


def test_pandas_reads_a_whole_table(lake: Path) -> None:
    books = pd.read_parquet(lake / "bronze/ccxt/orderbook")
    assert len(books) == 40
    assert sorted(books["symbol"].unique()) == ["BTC-USDT", "ETH-USD_ETH"]
    assert sorted(books["hour"].unique()) == [13, 14]
    assert str(books["ts"].dtype) == "datetime64[ns, UTC]"
    silver = pd.read_parquet(lake / "silver/orderbook", filters=[("exchange", "==", "kraken")])
    assert len(silver) == 20
    assert silver["spread_regime"].notna().sum() == 16


def test_pyarrow_reads_a_table_as_one_dataset(lake: Path) -> None:
    table = ds.dataset(lake / "bronze/ccxt/trades", partitioning="hive").to_table(
        filter=ds.field("symbol") == "BTC-USDT"
    )
    assert table.num_rows == 20
    assert table.schema.field("side").type == "string"
