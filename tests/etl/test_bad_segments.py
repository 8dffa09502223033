"""A segment that cannot be read is named, its rows are a hole, and the run goes on."""

import io
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daedalus.etl.bronze_reader import read_events
from daedalus.etl.chunks import BadSegment, Chunk
from daedalus.etl.segments import Footer, read_footer
from daedalus_common.events import Gap, Genesis, Heartbeat, Ticker, Trade
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from daedalus_common.tables import VERSION
from daedalus_features import Kind
from support.bronze import BronzeBuilder, as_published, keys_by_table, told, varied_events
from support.market_events import START

MINUTE = 60 * 1_000_000_000
Damage = Callable[[bytes], bytes]


def trades(count: int, start: int) -> list[Trade]:
    return [Trade(start + i, None, f"{start}-{i}", 100.0 + i, 1.0, "buy") for i in range(count)]


def rewritten(change: Callable[[pa.Table], pa.Table], **said: str) -> Damage:
    """Writes the rows again after a change, with what the footer then says."""

    def damage(content: bytes) -> bytes:
        file = pq.ParquetFile(io.BytesIO(content))
        metadata = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
        metadata |= {f"daedalus.{name}": value for name, value in said.items()}
        sink = io.BytesIO()
        table = change(file.read())
        with pq.ParquetWriter(sink, table.schema, store_schema=False) as writer:
            writer.add_key_value_metadata(metadata)
            writer.write_table(table)
        return sink.getvalue()

    return damage


def with_column(name: str, convert: Callable[[pa.ChunkedArray], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.schema.get_field_index(name), name, convert(table[name]))

    return change


def overwritten(content: bytes) -> bytes:
    """Nonsense where the pages are; the footer stays."""
    length = int.from_bytes(content[-8:-4], "little")
    return content[:4] + b"\xa5" * (len(content) - 12 - length) + content[-8 - length :]


def with_broken_footer(content: bytes) -> bytes:
    length = int.from_bytes(content[-8:-4], "little")
    return content[: -8 - length] + b"\xff" * length + content[-8:]


def with_a_null(column: pa.ChunkedArray) -> pa.Array:
    values = column.to_pylist()
    return pa.array([None, *values[1:]], column.type)


def not_utf8(column: pa.ChunkedArray) -> pa.Array:
    offsets = pa.array(range(len(column) + 1), pa.int32())
    return pa.StringArray.from_buffers(len(column), offsets.buffers()[1], pa.py_buffer(b"\xac" * len(column)))


NEWER = str(VERSION + 1)
DAMAGES: dict[str, tuple[Damage, str]] = {
    "empty": (lambda _: b"", "it is empty"),
    "text": (lambda _: b"<html>not here</html>", "it is not a Parquet file"),
    "short": (lambda content: content[:3], "it is not a Parquet file"),
    "start only": (lambda content: content[:8], "truncated"),
    "half": (lambda content: content[: len(content) // 2], "truncated"),
    "footer": (with_broken_footer, "its footer is damaged"),
    "pages": (overwritten, "cannot be decoded"),
    "no seq": (rewritten(lambda table: table.drop_columns(["seq"])), "it has no column seq"),
    "no price": (rewritten(lambda table: table.drop_columns(["price"])), "it has no column price"),
    "whole prices": (
        rewritten(with_column("price", lambda column: column.cast(pa.int64(), safe=False))),
        "its column price is int64 instead of double",
    ),
    "other times": (
        rewritten(with_column("ts", lambda column: column.cast(pa.timestamp("ms", "UTC"), safe=False))),
        r"its column ts is timestamp\[ms, tz=UTC\] instead of timestamp\[ns, tz=UTC\]",
    ),
    "null": (rewritten(with_column("seq", with_a_null)), "its column seq has 1 nulls"),
    "backward": (
        rewritten(lambda table: table.take(list(range(len(table)))[::-1])),
        "not in the order of the sequence",
    ),
    "newer": (rewritten(lambda table: table, tables_version=NEWER), f"newer version \\('{NEWER}'.* version {VERSION}"),
    "no version": (rewritten(lambda table: table, tables_version="?"), "newer version"),
}


@pytest.fixture
def three(bronze: BronzeBuilder) -> BronzeBuilder:
    """Three segments of 5 trades each, and one of heartbeats at the beginning."""
    bronze.write([Heartbeat(START)])
    for minute in (1, 2, 3):
        bronze.write(trades(5, START + minute * MINUTE))
    return bronze


def damage(folder: Path, key: str, how: Damage) -> None:
    path = folder / "lake" / key
    path.write_bytes(how(path.read_bytes()))


def read(bronze: BronzeBuilder, chunk_rows: int = 1_000) -> list[Chunk]:
    return list(read_events(bronze.store, keys_by_table(bronze.keys), chunk_rows=chunk_rows))


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("chunk_rows", [1, 1_000])
def test_a_damaged_segment_is_named_and_its_rows_are_a_hole(
    three: BronzeBuilder, tmp_path: Path, name: str, chunk_rows: int
) -> None:
    how, reason = DAMAGES[name]
    damage(tmp_path, three.keys[2], how)
    chunks = read(three, chunk_rows=chunk_rows)
    (bad,) = [bad for chunk in chunks for bad in chunk.bad]
    assert bad.key == three.keys[2]
    assert bad.reason.startswith(f"{three.keys[2]}: ")
    assert re.search(reason, bad.reason)
    found = told(*(chunk.events for chunk in chunks))
    assert [kind for kind, *_ in found] == [Kind.HEARTBEAT, *[Kind.TRADE] * 5, Kind.GAP, *[Kind.TRADE] * 5]
    assert found[6] == (Kind.GAP, found[7][1])
    assert sum(chunk.missing for chunk in chunks) == 5


def test_a_damaged_last_segment_is_a_hole_for_the_run_after(three: BronzeBuilder, tmp_path: Path) -> None:
    damage(tmp_path, three.keys[3], overwritten)
    chunks = read(three)
    assert [bad.key for chunk in chunks for bad in chunk.bad] == [three.keys[3]]
    assert sum(chunk.missing for chunk in chunks) == 0
    new = three.write(trades(2, START + 4 * MINUTE))
    (later,) = read_events(three.store, keys_by_table(new), after=chunks[-1].end)
    assert (later.missing, later.recorded, later.events.kind[0]) == (5, 2, Kind.GAP)


def test_where_nothing_can_be_read_the_damage_is_still_told(three: BronzeBuilder, tmp_path: Path) -> None:
    for key in three.keys:
        damage(tmp_path, key, overwritten)
    (chunk,) = read(three)
    assert {bad.key for bad in chunk.bad} == set(three.keys)
    assert (len(chunk.events), chunk.end, chunk.recorded) == (0, None, 0)


def test_damage_in_tables_that_are_not_needed_shows_too(three: BronzeBuilder, tmp_path: Path) -> None:
    damage(tmp_path, three.keys[1], overwritten)
    chunks = list(read_events(three.store, keys_by_table(three.keys), tables_needed=frozenset({"orderbook"})))
    assert [bad.key for chunk in chunks for bad in chunk.bad] == [three.keys[1]]
    assert sum(chunk.missing for chunk in chunks) == 5


def test_row_groups_before_the_damaged_one_are_read(bronze: BronzeBuilder, tmp_path: Path) -> None:
    (key,) = bronze.write(trades(100, START))
    path = tmp_path / "lake" / key
    rows = pq.ParquetFile(path).read()
    pq.write_table(rows, path, row_group_size=20, store_schema=False)
    start = pq.read_metadata(path).row_group(3).column(0).data_page_offset
    end = pq.read_metadata(path).row_group(4).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start:end] = b"\xa5" * (end - start)
    path.write_bytes(content)
    chunks = read(bronze)
    assert sum(chunk.recorded for chunk in chunks) == 60
    (bad,) = [bad for chunk in chunks for bad in chunk.bad]
    assert "row group 3" in bad.reason


@pytest.mark.parametrize("column", ["id", "capture_ts", "exchange_ts", "side"])
def test_columns_that_nobody_needs_or_that_may_be_null_may_be_missing(
    three: BronzeBuilder, tmp_path: Path, column: str
) -> None:
    damage(tmp_path, three.keys[2], rewritten(lambda table: table.drop_columns([column]), tables_version="0"))
    chunks = read(three)
    assert sum(chunk.missing + len(chunk.bad) for chunk in chunks) == 0
    sides = [side for chunk in chunks for side in chunk.events.trades.side.tolist()]
    assert sides == [*[1] * 5, *[0 if column == "side" else 1] * 5, *[1] * 5]


def test_missing_ticker_columns_are_null(bronze: BronzeBuilder, tmp_path: Path) -> None:
    bronze.write([Ticker(START + i, None, *[float(n) for n in range(11)]) for i in range(3)])
    damage(tmp_path, bronze.keys[0], rewritten(lambda table: table.drop_columns(["vwap", "ask_size"])))
    (chunk,) = read(bronze)
    expected = [0.0, 1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0, np.nan, 9.0, 10.0]
    np.testing.assert_array_equal(chunk.events.tickers.values, np.array([expected] * 3).T)


def test_further_columns_do_not_disturb(three: BronzeBuilder, tmp_path: Path) -> None:
    damage(tmp_path, three.keys[2], rewritten(lambda table: table.append_column("more", table["price"])))
    assert sum(chunk.recorded for chunk in read(three)) == 16


def test_categories_may_be_stored_as_such(bronze: BronzeBuilder, tmp_path: Path) -> None:
    events = varied_events(1, 200)
    bronze.write(events)
    for key in bronze.keys:
        table = pq.ParquetFile(tmp_path / "lake" / key).read()
        for name in {"side", "kind"} & set(table.column_names):
            table = with_column(name, lambda column: column.dictionary_encode())(table)
        pq.write_table(table, tmp_path / "lake" / key)
    assert told(*(chunk.events for chunk in read(bronze))) == as_published(events)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_column("kind", lambda column: pa.array(["surprise"] * len(column))), "its column kind holds surprise"),
        (with_column("kind", lambda column: not_utf8(column)), "a text in it is not UTF-8: "),
        (lambda table: table.drop_columns(["params"]), "a genesis in it has no genesis_id or no params"),
    ],
)
def test_control_events_that_make_no_sense_are_a_damage(
    bronze: BronzeBuilder, tmp_path: Path, change: Callable[[pa.Table], pa.Table], reason: str
) -> None:
    bronze.write([Gap(START, "trades", "resync"), Genesis(START + 1, "g", b"{}")])
    damage(tmp_path, bronze.keys[0], rewritten(change))
    (chunk,) = read(bronze)
    assert [bad.key for bad in chunk.bad] == bronze.keys
    assert chunk.bad[0].reason.startswith(f"{bronze.keys[0]}: {reason}")


def test_a_footer_tells_what_a_segment_holds(three: BronzeBuilder, disk: LocalDisk) -> None:
    footer = read_footer(disk, three.keys[2])
    assert isinstance(footer, Footer)
    assert footer.market == Market("binanceus", "BTC/USDT")
    assert (footer.first_seq, footer.last_seq, footer.rows) == (7, 11, 5)
    assert footer.first_id < footer.last_id


@pytest.mark.parametrize(
    ("name", "reason"), [("half", "truncated"), ("newer", "newer version"), ("footer", "its footer is damaged")]
)
def test_a_damaged_footer_is_named(
    three: BronzeBuilder, disk: LocalDisk, tmp_path: Path, name: str, reason: str
) -> None:
    damage(tmp_path, three.keys[0], DAMAGES[name][0] if name != "newer" else rewritten(lambda t: t, tables_version="9"))
    bad = read_footer(disk, three.keys[0])
    assert isinstance(bad, BadSegment)
    assert reason in bad.reason


def test_the_footer_of_a_foreign_file_is_none_of_ours(three: BronzeBuilder, disk: LocalDisk, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "lake" / three.keys[0])
    bad = read_footer(disk, three.keys[0])
    assert isinstance(bad, BadSegment)
    assert "does not say daedalus.exchange" in bad.reason


def test_any_damage_to_any_byte_is_survived(bronze: BronzeBuilder, tmp_path: Path) -> None:
    bronze.write(varied_events(2, 100))
    chance = random.Random(3)
    whole = {key: (tmp_path / "lake" / key).read_bytes() for key in bronze.keys}
    found = 0
    for _ in range(150):
        key = chance.choice(bronze.keys)
        content = bytearray(whole[key])
        for _ in range(chance.choice([1, 3, 20])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / "lake" / key).write_bytes(content)
        bad = {each.key for chunk in read(bronze) for each in chunk.bad}
        assert bad <= {key}
        found += len(bad)
        (tmp_path / "lake" / key).write_bytes(whole[key])
    assert found > 40
