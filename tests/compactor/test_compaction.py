"""Real partitions on a disk and on S3: the same rows in fewer objects, for every reader, before and after the grace."""

import asyncio
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.etl.input_end import input_end
from daedalus.etl.young_hours import SETTLED_AFTER, ReadableHours
from daedalus.quality.audit import Stores, audit_market
from daedalus.quality.gap_views import read_gaps
from daedalus.quality.quality_tables import read_table
from daedalus.quality.report import MarketAudit
from daedalus_common.events import Gap, Heartbeat
from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.parquet.objects import Identity
from daedalus_common.stores import LocalDisk, ObjectStore
from daedalus_writer.newest_objects import newest_objects
from support.bronze import BronzeBuilder, varied_events
from support.compaction import RULES, Compaction, age, keys_of, rows_of, said, write_quality

BTC = Market("binanceus", "BTC/USDT")
LATER = timedelta(hours=6)


def written(store: ObjectStore, count: int = 1_200, flush: timedelta = timedelta(seconds=6)) -> list[str]:
    """Bronze and quality of a minute."""
    builder = BronzeBuilder(store, BTC, flush)
    builder.write(varied_events(1, count))
    return [*builder.keys, *write_quality(store, BTC, builder.keys, 6)]


def folder_of(disk: LocalDisk) -> Path:
    return Path(disk.describe().removeprefix("local disk "))


def table_of(key: str) -> str:
    return key.partition("/exchange=")[0]


def read_all(store: ObjectStore, keys: list[str]) -> dict[str, pa.Table]:
    """The rows of each table, object by object as given."""
    tables: dict[str, list[pa.Table]] = {}
    for key in keys:
        tables.setdefault(table_of(key), []).append(rows_of(store, key))
    return {name: pa.concat_tables(rows).combine_chunks() for name, rows in tables.items()}


def counted(store: ObjectStore) -> list[str]:
    return [info.key for info in current(store, store.list()).objects]


def test_few_objects_hold_the_same_rows_in_the_same_order(store: ObjectStore) -> None:
    keys = written(store)
    before = read_all(store, counted(store))
    assert counted(store) == sorted(keys)
    compaction = Compaction(store)
    assert compaction.run() == 0
    merged = counted(store)
    assert len(merged) == 5, "one of each table"
    assert set(keys) < set(keys_of(store)), "within the grace everything is there"
    assert all(read_all(store, merged)[name].equals(rows) for name, rows in before.items())
    assert compaction.run(LATER) == 0
    assert keys_of(store) == sorted(merged)
    assert all(read_all(store, keys_of(store))[name].equals(rows) for name, rows in before.items())
    assert compaction.run(LATER) == 0
    assert keys_of(store) == sorted(merged), "and there it ends"


def test_the_merged_object_says_what_any_other_says(disk: LocalDisk) -> None:
    keys = [key for key in written(disk) if "/trades/" in key]
    Compaction(disk).run()
    [merged] = [key for key in counted(disk) if "/trades/" in key]
    first, last, found = said(disk, keys[0]), said(disk, keys[-1]), said(disk, merged)
    rows = rows_of(disk, merged)
    identity = Identity.of(rows.select(["stream_ms", "stream_seq", "seq"]).to_pandas().to_numpy())
    assert Identity(found["first_id"], found["last_id"], int(found["rows"]), found["key_hash"]) == identity
    for name in ("exchange", "symbol", "layer", "table", "schema", "stream", "first_id", "first_seq", "writer_version"):
        assert found[name] == first[name]
    assert (found["last_id"], found["last_seq"]) == (last["last_id"], last["last_seq"])
    assert "origin" not in found
    written_as, made_as = (pq.read_metadata(pa.BufferReader(disk.read(key))).row_group(0) for key in (keys[0], merged))
    for number in range(made_as.num_columns):
        old, new = written_as.column(number), made_as.column(number)
        assert (new.encodings, new.is_stats_set, new.compression) == (old.encodings, old.is_stats_set, old.compression)


def audit_of(store: ObjectStore) -> MarketAudit:
    with ThreadPoolExecutor(2) as pool:
        return audit_market(Stores(store, store), BTC, FilterSpec(), None, datetime.now(UTC), pool)


def plain(found: MarketAudit) -> dict[str, Any]:
    """Everything but how many objects there are."""
    values = dataclasses.asdict(found)
    del values["objects"], values["feature_parts"]
    return values


def seqs_of_gaps(store: ObjectStore) -> list[Any]:
    tables = list(read_table(store, "gaps", BTC, ("seq",), FilterSpec()))
    assert not [each for each in tables if isinstance(each, BadSegment)]
    return [table["seq"].to_pylist() for table in tables if not isinstance(table, BadSegment)]


def test_an_audit_finds_the_same_before_and_after(store: ObjectStore) -> None:
    written(store)
    with ThreadPoolExecutor(2) as pool:
        gaps = read_gaps(store, BTC, None, None, pool)
        rows = seqs_of_gaps(store)
        before = audit_of(store)
        assert not before.problems
        assert before.published == 1_200
        compaction = Compaction(store)
        for later in (timedelta(hours=3), LATER):
            compaction.run(later)
            assert plain(audit_of(store)) == plain(before)
            assert read_gaps(store, BTC, None, None, pool) == gaps
            assert seqs_of_gaps(store) == [[seq for of_object in rows for seq in of_object]]
    assert audit_of(store).objects == 4


@pytest.mark.parametrize("declared", [True, False])
def test_an_audit_finds_the_same_losses_in_merged_objects(disk: LocalDisk, declared: bool) -> None:
    """A server that lost its newest entries forgives holes in the object that holds the last row, not those before."""
    builder = BronzeBuilder(disk, BTC, flush=timedelta(seconds=1))
    start = 1_770_000_000_000_000_000

    def beats(first: int, count: int) -> list[Heartbeat]:
        return [Heartbeat(start + number * 200_000_000) for number in range(first, first + count)]

    builder.write(beats(0, 30))
    builder.skip(4)
    builder.write(beats(40, 30))
    if declared:
        builder.generation, builder.seq = 1, 19
        builder.write([Gap(start + 80 * 200_000_000, "control", "server_lost", None, None, 3), *beats(81, 20)])
    before = audit_of(disk)
    assert before.problems
    Compaction(disk).run()
    Compaction(disk).run(LATER)
    assert len(keys_of(disk)) < len(builder.keys) / 3
    after = audit_of(disk)
    assert [plain(after)[name] for name in ("published", "days")] == [
        plain(before)[name] for name in ("published", "days")
    ]
    assert len(after.problems) == len(before.problems)


def test_a_segment_that_is_missing_before_is_missing_after(disk: LocalDisk) -> None:
    keys = [key for key in written(disk) if "/trades/" in key]
    disk.delete(keys[3])
    before = audit_of(disk)
    assert any(keys[3] in problem for problem in before.problems)
    Compaction(disk).run()
    Compaction(disk).run(LATER)
    after = audit_of(disk)
    assert plain(after)["days"] == plain(before)["days"]
    assert any(keys[3] in problem for problem in after.problems), "its name lies between those that were merged"


def test_the_writer_sees_the_same_end_and_gives_no_name_twice(disk: LocalDisk) -> None:
    written(disk)
    before = newest_objects(disk, BTC, "raw")
    compaction = Compaction(disk)
    for later in (timedelta(hours=3), LATER):
        compaction.run(later)
        now = newest_objects(disk, BTC, "raw")
        assert now.ends == before.ends
        assert now.objects.keys() == before.objects.keys()
        for table, newest in now.objects.items():
            assert (newest.stamp, newest.counter) == (before.objects[table].stamp, before.objects[table].counter + 1)


def test_the_writer_finds_the_newest_rows_though_a_merged_object_has_a_newer_name(disk: LocalDisk) -> None:
    """As after a kill between two merged objects of one partition."""
    keys = [key for key in written(disk) if "/orderbook/" in key]
    before = newest_objects(disk, BTC, "raw").ends
    size = sum(info.size_bytes for info in disk.list("bronze/ccxt/orderbook/"))
    rules = dataclasses.replace(RULES, target_size_bytes=size // 2)
    stopping = Compaction(disk, rules, layers=("bronze",))
    work = stopping.passes._work
    now = datetime.now(UTC) + timedelta(hours=3)
    found = work.look("bronze", keys[0].rpartition("hour=")[0], now)
    work._merge(found, found.due[0].runs[0])
    there = newest_objects(disk, BTC, "raw")
    assert there.ends == before
    assert there.objects["bronze/ccxt/orderbook"].counter == len(keys) + 1


def test_a_merged_hour_is_read_at_once_though_it_was_just_made(disk: LocalDisk) -> None:
    """A hole in a young hour may still close, so that batch waits for it; one that was merged is not young."""
    builder = BronzeBuilder(disk, BTC, flush=timedelta(seconds=2))
    builder.write(varied_events(1, 300))
    builder.skip(5)
    builder.write(varied_events(1, 600)[300:])
    age(folder_of(disk))
    now = datetime.now(UTC)
    before = input_end(disk, BTC, FilterSpec(), now - SETTLED_AFTER)
    Compaction(disk).run(timedelta(0))
    found = list(ReadableHours(disk, now).readable(BronzeCatalog(disk).hours(BTC), {}, 1))
    assert [(len(hour.keys), hour.held_back) for hour in found] == [(4, 0)]
    assert input_end(disk, BTC, FilterSpec(), now - SETTLED_AFTER) == before > 0


def test_what_is_damaged_is_neither_merged_nor_deleted_and_the_others_keep_their_order(disk: LocalDisk) -> None:
    keys = [key for key in written(disk, flush=timedelta(seconds=3)) if "/trades/" in key]
    folder = folder_of(disk)
    footer, rows = keys[5], keys[11]
    (folder / footer).write_bytes((folder / footer).read_bytes()[:-9])
    content = bytearray((folder / rows).read_bytes())
    content[60] ^= 0xFF
    (folder / rows).write_bytes(content)
    good = [key for key in keys if key not in (footer, rows)]
    before = read_all(disk, good)["bronze/ccxt/trades"]
    compaction = Compaction(disk, layers=("bronze",))
    assert compaction.run() == 2, "each is told of"
    for later in (timedelta(hours=4), LATER, timedelta(hours=8)):
        assert compaction.run(later) == 0, "and once"
    left = [key for key in counted(disk) if "/trades/" in key]
    assert len(left) == 5
    assert [left.index(footer), left.index(rows)] == [1, 3], "where they were"
    assert read_all(disk, [key for key in left if key not in (footer, rows)])["bronze/ccxt/trades"].equals(before)
    assert set(left) == {key for key in keys_of(disk) if "/trades/" in key}


def test_a_target_size_gives_several_objects_in_order(store: ObjectStore) -> None:
    written(store)
    before = read_all(store, counted(store))
    size = sum(info.size_bytes for info in store.list("bronze/ccxt/orderbook/"))
    compaction = Compaction(store, dataclasses.replace(RULES, target_size_bytes=size // 3))
    assert compaction.run() == 0
    assert compaction.run(LATER) == 0
    books = [key for key in counted(store) if "/orderbook/" in key]
    assert 3 <= len(books) <= 5
    assert all(read_all(store, counted(store))[name].equals(rows) for name, rows in before.items())
    [hour] = BronzeCatalog(store).hours(BTC)
    assert [info.key for info in hour.segments["orderbook"]] == books
    assert not audit_of(store).problems


def test_an_open_partition_and_one_with_young_objects_wait(disk: LocalDisk) -> None:
    keys = written(disk)
    assert Compaction(disk).run(timedelta(minutes=9)) == 0
    assert keys_of(disk) == sorted(keys)
    rules = dataclasses.replace(RULES, closed_after=timedelta(days=20_000))
    assert Compaction(disk, rules).run() == 0
    assert keys_of(disk) == sorted(keys)


def test_late_events_are_left_as_they_are(disk: LocalDisk) -> None:
    keys = [key for key in written(disk) if "/trades/" in key]
    late = [key.replace("/ccxt/trades/", "/ccxt/late/trades/") for key in keys]
    for key, other in zip(keys, late, strict=True):
        disk.create(other, disk.read(key), {})
    Compaction(disk).run()
    Compaction(disk).run(LATER)
    assert [key for key in keys_of(disk) if "/late/" in key] == sorted(late)


def test_two_compactors_at_once_do_not_double_a_row(disk: LocalDisk) -> None:
    written(disk)
    before = read_all(disk, counted(disk))

    async def both() -> None:
        await asyncio.gather(*(asyncio.to_thread(Compaction(disk).run) for _ in range(2)))

    asyncio.run(both())
    Compaction(disk).run(timedelta(hours=3))
    Compaction(disk).run(timedelta(hours=3))
    assert all(read_all(disk, counted(disk))[name].equals(rows) for name, rows in before.items())
    Compaction(disk).run(LATER)
    assert all(read_all(disk, keys_of(disk))[name].equals(rows) for name, rows in before.items())


def test_a_merged_object_that_was_harmed_is_taken_back_while_everything_it_covers_is_there(disk: LocalDisk) -> None:
    written(disk)
    before = read_all(disk, counted(disk))
    Compaction(disk).run()
    folder = folder_of(disk)
    [merged] = [key for key in counted(disk) if "/orderbook/" in key]
    content = bytearray((folder / merged).read_bytes())
    content[2_000] ^= 0xFF
    (folder / merged).write_bytes(content)
    again = Compaction(disk)
    assert again.run(LATER) == 1, "found when it was to be trusted alone"
    assert not (folder / merged).exists()
    again.run(LATER)
    again.run(timedelta(hours=12))
    assert all(read_all(disk, keys_of(disk))[name].equals(rows) for name, rows in before.items())
