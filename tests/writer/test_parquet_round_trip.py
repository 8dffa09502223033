"""What goes into an object comes out of it, of every kind and however odd, and the footer tells what it is."""

import hashlib
import io
import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daedalus_common.batches import RawEntry
from daedalus_common.entries import encode
from daedalus_common.events import Book, Event, Gap, Genesis, Heartbeat, Ticker, Trade
from daedalus_common.markets import Market
from daedalus_common.parquet import objects
from daedalus_common.parquet.arrow_tables import Compression, arrow_schema
from daedalus_common.parquet.objects import Identity, read_identity
from daedalus_common.rows import Column, RowSchema, pack_rows
from daedalus_common.tables import BRONZE, rows_table
from daedalus_writer.gathering import Gathering
from support.gathered import ZSTD, encoded, gather

BTC = Market("binanceus", "BTC/USDT")
T = 1_770_127_200_123_456_789
MS = 1_770_127_200_120


def entries(*events: Event, first: int = 1) -> list[RawEntry]:
    return [
        (b"%d-%d" % (5000 + i, i % 3), {b"g": b"2", b"s": b"%d" % (first + i), b"t": b"%019d" % T, b"e": encode(event)})
        for i, event in enumerate(events)
    ]


def object_of(*events: Event, compression: Compression = ZSTD) -> io.BytesIO:
    gathered = gather(BTC, "raw", [entries(*events)], compression=compression)
    [content] = encoded(gathered, BTC, "raw").values()
    return io.BytesIO(content)


def read(*events: Event, compression: Compression = ZSTD) -> pa.Table:
    return pq.ParquetFile(object_of(*events, compression=compression)).read()


def test_every_bronze_row_begins_with_its_place_in_the_sequence() -> None:
    table = read(Heartbeat(T - 5), Heartbeat(T - 3))
    assert table.select(["stream_ms", "stream_seq", "generation", "seq"]).to_pylist() == [
        {"stream_ms": 5000, "stream_seq": 0, "generation": 2, "seq": 1},
        {"stream_ms": 5001, "stream_seq": 1, "generation": 2, "seq": 2},
    ]
    assert table["ts"].cast(pa.int64()).to_pylist() == [T, T]
    assert table["capture_ts"].cast(pa.int64()).to_pylist() == [T - 5, T - 3]
    assert table.schema.field("ts").type == table.schema.field("capture_ts").type == pa.timestamp("ns", "UTC")


def test_books_of_any_shape_keep_their_levels() -> None:
    books = [
        Book(T, MS, 42, ((100.5, 1.0), (100.4, 2.5)), ((100.6, 0.25), (100.7, 1.0))),
        Book(T, None, None, ((100.5, 1.0), (100.4, 2.5), (100.3, 7.0)), ((100.6, 0.25),)),
        Book(T, None, 0, (), ((100.6, 0.25),)),
        Book(T, None, 2**62, ((1e-9, 1e15),), ()),
        Book(T, None, -1, (), ()),
    ]
    table = read(*books)
    for name, side, part in (
        ("bid_price", "bids", 0),
        ("bid_size", "bids", 1),
        ("ask_price", "asks", 0),
        ("ask_size", "asks", 1),
    ):
        assert table[name].to_pylist() == [[level[part] for level in getattr(book, side)] for book in books]
    assert table["nonce"].to_pylist() == [42, None, 0, 2**62, -1]
    assert table["exchange_ts"].to_pylist() == [datetime(2026, 2, 3, 14, 0, 0, 120_000, UTC), None, None, None, None]


def test_books_of_one_shape_keep_their_levels() -> None:
    books = [Book(T, MS, i, tuple((100.0 - j, i + j / 8) for j in range(5)), ((101.0, float(i)),)) for i in range(9)]
    table = read(*books)
    assert table["bid_price"].to_pylist() == [[100.0, 99.0, 98.0, 97.0, 96.0]] * 9
    assert table["bid_size"].to_pylist() == [[i + j / 8 for j in range(5)] for i in range(9)]
    assert table["ask_size"].to_pylist() == [[float(i)] for i in range(9)]


def test_a_price_that_is_no_number_is_kept_as_it_came_and_is_not_null() -> None:
    table = read(Book(T, None, None, ((math.nan, 1.0),), ((math.inf, -0.0),)))
    [price] = table["bid_price"].to_pylist()[0]
    assert math.isnan(price)
    assert table["ask_price"].to_pylist() == [[math.inf]]
    assert math.copysign(1.0, table["ask_size"].to_pylist()[0][0]) == -1.0
    trade = read(Trade(T, None, "1", math.nan, math.inf, "buy"))
    assert math.isnan(trade["price"][0].as_py())
    assert trade["price"].null_count == 0


def test_trades_keep_their_fields_and_what_is_unknown_is_null() -> None:
    trades = [
        Trade(T, MS, "a-1", 100.5, 0.1, "buy"),
        Trade(T, None, "", 100.5, 0.1, "sell"),
        Trade(T, None, "naïve ✓ 交易", 1e-15, 1e15, None),
    ]
    table = read(*trades)
    assert table["id"].to_pylist() == [trade.id for trade in trades]
    assert table["side"].to_pylist() == ["buy", "sell", None]
    assert table["price"].to_pylist() == [trade.price for trade in trades]
    assert table["amount"].to_pylist() == [trade.amount for trade in trades]
    assert [value is None for value in table["exchange_ts"].to_pylist()] == [False, True, True]


def test_trades_of_unknown_side_alone_have_a_side_column_of_nulls() -> None:
    assert read(Trade(T, None, "1", 1.0, 1.0, None))["side"].to_pylist() == [None]


def test_tickers_keep_the_exchanges_fields() -> None:
    tickers = [
        Ticker(T, MS, 1.0, None, 2.0, 0.0, 1.5, None, None, None, None, -1.0, None),
        Ticker(T, None, None, None, None, None, math.nan, None, None, None, None, None, None),
    ]
    table = read(*tickers)
    for name in ("bid", "bid_size", "ask", "ask_size", "open", "base_volume", "quote_volume"):
        assert table[name].to_pylist() == [getattr(ticker, name) for ticker in tickers]
    assert math.isnan(table["last"][1].as_py())
    assert table["last"].null_count == 0


def test_control_events_share_a_table_and_leave_null_what_is_not_theirs() -> None:
    events: list[Event] = [
        Gap(T, "orderbook", "resync", last_nonce=7, last_id="9", lost=3),
        Gap(T, "trades", "start"),
        Heartbeat(T),
        Genesis(T, "abc-1", b'{"depth_levels":20}'),
    ]
    table = read(*events)
    assert table["kind"].to_pylist() == ["gap", "gap", "heartbeat", "genesis"]
    assert table["channel"].to_pylist() == ["orderbook", "trades", None, None]
    assert table["reason"].to_pylist() == ["resync", "start", None, None]
    assert table["last_nonce"].to_pylist() == [7, None, None, None]
    assert table["last_id"].to_pylist() == ["9", None, None, None]
    assert table["lost"].to_pylist() == [3, None, None, None]
    assert table["genesis_id"].to_pylist() == [None, None, None, "abc-1"]
    assert table["params"].to_pylist() == [None, None, None, b'{"depth_levels":20}']


SILVER = RowSchema(
    "silver",
    "orderbook",
    (
        Column("mid_price", unit="quote"),
        Column("count", "int64"),
        Column("gap", "bool"),
        Column("regime", "category", labels=("tight", "normal", "wide")),
    ),
)


def silver(values: list[list[float]]) -> pa.Table:
    payloads = pack_rows(SILVER, np.arange(T, T + len(values)), np.array(values))
    run: list[RawEntry] = [
        (b"%d-0" % i, {b"s": b"%d" % i, b"c": b"orderbook", b"p": p}) for i, p in enumerate(payloads, start=1)
    ]
    [content] = encoded(gather(BTC, "silver", [run], {SILVER.id: SILVER}), BTC, "silver").values()
    return pq.ParquetFile(io.BytesIO(content)).read()


def test_feature_rows_come_out_typed_with_nulls_where_the_bitmap_says() -> None:
    nan = math.nan
    table = silver([[1.5, 3, 1, 0], [nan, nan, nan, nan], [2.5, -(2.0**53), 0, 2]])
    assert table.column_names == ["timestamp", "seq", "mid_price", "count", "gap", "regime"]
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [T, T + 1, T + 2]
    assert table["seq"].to_pylist() == [1, 2, 3]
    assert table["mid_price"].to_pylist() == [1.5, None, 2.5]
    assert table["count"].to_pylist() == [3, None, -(2**53)]
    assert table["gap"].to_pylist() == [True, None, False]
    assert table["regime"].to_pylist() == ["tight", None, "wide"]
    assert table.schema.field("count").type == pa.int64()
    assert table.schema.field("gap").type == pa.bool_()


@pytest.mark.parametrize("codec", [("zstd", 9), ("gzip", 1), ("snappy", None), ("lz4", None), ("none", None)])
def test_every_codec_of_the_configuration_works(codec: tuple[str, int | None]) -> None:
    table = read(Trade(T, None, "1", 1.0, 1.0, "buy"), compression=Compression(*codec))
    assert table["id"].to_pylist() == ["1"]


def test_rows_are_encoded_group_by_group_while_more_come(monkeypatch: pytest.MonkeyPatch) -> None:
    gathering = Gathering(BTC, "raw", ZSTD)
    run = entries(*[Heartbeat(T)] * 100)
    gathering.take([run[:40]], {})
    [draft] = gathering.drafts.values()
    monkeypatch.setattr(objects, "ROW_GROUP_SIZE_BYTES", 2000)
    before = draft.memory_bytes
    gathering.encode()
    assert draft.memory_bytes < before, "encoded they take less"
    monkeypatch.setattr(objects, "ROW_GROUP_SIZE_BYTES", 10**9)
    gathering.take([run[40:80]], {})
    gathering.encode()  # not enough for another group
    gathering.take([run[80:]], {})
    assert draft.rows == 100
    file = pq.ParquetFile(io.BytesIO(draft.finished(BTC, {"stream": "raw"})[0]))
    assert [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)] == [40, 60]
    assert file.read()["seq"].to_pylist() == list(range(1, 101))


def test_the_footer_tells_what_the_object_is() -> None:
    footer = pq.read_metadata(object_of(*[Heartbeat(T)] * 3)).metadata
    found = {key.decode(): value.decode() for key, value in footer.items()}
    keys = np.array([[5000, 0, 1], [5001, 1, 2], [5002, 2, 3]], dtype="<i8")
    assert found == {
        "daedalus.exchange": "binanceus",
        "daedalus.symbol": "BTC/USDT",
        "daedalus.layer": "bronze",
        "daedalus.table": "control",
        "daedalus.schema": "",
        "daedalus.stream": "raw",
        "daedalus.first_id": "5000-0",
        "daedalus.last_id": "5002-2",
        "daedalus.first_seq": "1",
        "daedalus.last_seq": "3",
        "daedalus.rows": "3",
        "daedalus.key_hash": hashlib.sha256(keys.tobytes()).hexdigest(),
        "daedalus.writer_version": "0.1.0",
        "daedalus.tables_version": "2",
    }


def test_an_object_is_recognised_by_its_footer_and_another_is_not() -> None:
    keys = np.array([[5000, 0, 1], [5001, 1, 2], [5002, 2, 3]])
    assert read_identity(object_of(*[Heartbeat(T)] * 3)) == Identity.of(keys)
    assert read_identity(object_of(*[Heartbeat(T)] * 2)) != Identity.of(keys)
    changed = keys.copy()
    changed[1, 2] += 1
    assert Identity.of(changed) != Identity.of(keys)


@pytest.mark.parametrize("content", [b"", b"not parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_object_of_ours_has_no_identity(content: bytes) -> None:
    assert read_identity(io.BytesIO(content)) is None


def test_parquet_of_somebody_else_has_no_identity() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), file)
    assert read_identity(file) is None


def test_what_is_not_nullable_is_declared_so_in_the_file() -> None:
    schema = pq.read_schema(object_of(Book(T, None, None, ((1.0, 1.0),), ())))
    assert [field.name for field in schema if field.nullable] == ["exchange_ts", "nonce"]
    assert not schema.field("bid_price").type.value_field.nullable


def test_no_table_has_a_column_that_is_also_a_partition() -> None:
    partitions = {"exchange", "symbol", "year", "month", "day", "hour", "duration"}
    for table in (*BRONZE.values(), rows_table(SILVER)):
        names = [column.name for column in table.columns]
        assert not partitions & set(names)
        assert len(set(names)) == len(names)
        assert arrow_schema(table).names == names


def test_integers_are_stored_by_their_differences_and_books_without_a_dictionary() -> None:
    metadata = pq.read_metadata(object_of(Book(T, MS, 1, ((1.0, 1.0),), ((2.0, 1.0),))))
    columns = {c.path_in_schema: c for c in (metadata.row_group(0).column(i) for i in range(metadata.num_columns))}
    assert "DELTA_BINARY_PACKED" in columns["seq"].encodings
    assert columns["seq"].is_stats_set
    prices = columns["bid_price.list.element"]
    assert "PLAIN" in prices.encodings
    assert not prices.is_stats_set
    assert {column.compression for column in columns.values()} == {"ZSTD"}
