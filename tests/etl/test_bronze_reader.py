"""Bronze segments give back the sequence that was published."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from daedalus.etl.bronze_reader import read_events
from daedalus.etl.chunks import Chunk, Position
from daedalus.etl.segment_feed import SMALL_BYTES
from daedalus_common.events import Book, Heartbeat, Ticker, Trade
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk, ObjectMissing, ObjectStore, StoreUnavailable
from daedalus_features import Kind
from support.bronze import BronzeBuilder, Told, as_published, keys_by_table, told, varied_events
from support.market_events import START

BTC = Market("binanceus", "BTC/USDT")

SECOND = 1_000_000_000
LEVELS = ((100.0, 1.0), (99.0, 2.0)), ((101.0, 3.0), (102.0, 4.0))


def read(bronze: BronzeBuilder, **options: Any) -> list[Chunk]:
    return list(read_events(bronze.store, keys_by_table(bronze.keys), **options))


def contents(chunks: Sequence[Chunk]) -> list[Told]:
    return told(*(chunk.events for chunk in chunks))


def beats(count: int, start: int = START) -> list[Heartbeat]:
    return [Heartbeat(start + i * SECOND) for i in range(count)]


@pytest.mark.parametrize("flush", [None, timedelta(seconds=5), timedelta(seconds=60)])
@pytest.mark.parametrize("chunk_rows", [1, 100, 100_000])
def test_every_event_comes_back_in_its_place(bronze: BronzeBuilder, flush: timedelta | None, chunk_rows: int) -> None:
    bronze.flush = flush
    events = varied_events(1, 500, rate_per_second=0.05)  # some hours
    bronze.write(events)
    chunks = read(bronze, chunk_rows=chunk_rows)
    assert contents(chunks) == as_published(events)
    assert all(0 < len(chunk.events) <= chunk_rows for chunk in chunks)
    assert all((chunk.missing, chunk.doubled, chunk.bad) == (0, 0, ()) for chunk in chunks)
    assert [chunk.end.seq for chunk in chunks if chunk.end] == np.cumsum([chunk.recorded for chunk in chunks]).tolist()


def test_positions_within_a_chunk_ascend_and_tell_the_kind(bronze: BronzeBuilder) -> None:
    bronze.write(varied_events(2, 800))
    for chunk in read(bronze, chunk_rows=300):
        events = chunk.events
        for kind, columns in ((Kind.BOOK, events.books), (Kind.TRADE, events.trades), (Kind.TICKER, events.tickers)):
            assert columns.position.tolist() == np.flatnonzero(events.kind == kind).tolist()


def test_a_run_goes_on_where_another_one_ended(bronze: BronzeBuilder) -> None:
    bronze.flush = timedelta(seconds=5)
    events = varied_events(3, 600)
    bronze.write(events)
    for chunk in read(bronze, chunk_rows=130):
        assert chunk.end is not None
        rest = read(bronze, after=chunk.end, chunk_rows=50)
        assert contents(rest) == as_published(events)[chunk.end.seq :]
        assert all(part.doubled == part.missing == 0 for part in rest)


@pytest.mark.parametrize("limit", [0, 1, 99, 100, 101, 599, 600, 10_000])
def test_a_limit_counts_recorded_events(bronze: BronzeBuilder, limit: int) -> None:
    events = varied_events(4, 600)
    bronze.write(events)
    chunks = read(bronze, limit=limit, chunk_rows=100)
    assert contents(chunks) == as_published(events)[:limit]
    assert sum(chunk.recorded for chunk in chunks) == min(limit, 600)


def test_of_tables_that_are_not_needed_only_kind_and_time_are_read(bronze: BronzeBuilder) -> None:
    events = varied_events(5, 400)
    bronze.write(events)
    (whole,) = read(bronze)
    (trades,) = read(bronze, tables_needed=frozenset({"trades"}))
    assert trades.events.kind.tolist() == whole.events.kind.tolist()
    assert trades.events.ts.tolist() == whole.events.ts.tolist()
    assert trades.events.trades.price.tolist() == whole.events.trades.price.tolist()
    assert len(trades.events.books) == len(trades.events.tickers) == 0
    assert trades.events.geneses == whole.events.geneses
    assert len(whole.events.geneses) == 1


def test_lost_events_are_counted_and_marked_by_a_gap_before_the_next_one(bronze: BronzeBuilder) -> None:
    bronze.write(beats(3))
    bronze.skip(7)
    bronze.write([Book(START + 5 * SECOND, None, None, *LEVELS), Trade(START + 5 * SECOND, None, "1", 9.0, 1.0, "buy")])
    bronze.skip(1)
    bronze.write(beats(2, START + 9 * SECOND))
    for chunk_rows in (1, 2, 100):
        chunks = read(bronze, chunk_rows=chunk_rows)
        assert [(event[0], (event[1] - START) // SECOND) for event in contents(chunks)] == [
            (Kind.HEARTBEAT, 0), (Kind.HEARTBEAT, 1), (Kind.HEARTBEAT, 2),
            (Kind.GAP, 5), (Kind.BOOK, 5), (Kind.TRADE, 5),
            (Kind.GAP, 9), (Kind.HEARTBEAT, 9), (Kind.HEARTBEAT, 10),
        ]  # fmt: skip
        assert sum(chunk.missing for chunk in chunks) == 8
        assert sum(chunk.recorded for chunk in chunks) == 7
    assert [event[2:] for event in contents(chunks)[4:6]] == [LEVELS, (9.0, 1.0, 1)]


def test_a_hole_between_two_runs_belongs_to_the_second(bronze: BronzeBuilder) -> None:
    bronze.write(beats(3))
    (first,) = read(bronze)
    bronze.skip(2)
    bronze.write(beats(1, START + 60 * SECOND))
    (second,) = read(bronze, after=first.end)
    assert [kind for kind, *_ in contents([second])] == [Kind.GAP, Kind.HEARTBEAT]
    assert (first.missing, second.missing, second.recorded) == (0, 2, 1)


def test_a_limit_never_parts_a_gap_from_the_event_after_it(bronze: BronzeBuilder) -> None:
    bronze.write(beats(2))
    bronze.skip(1)
    bronze.write(beats(2, START + 10 * SECOND))
    (first,) = read(bronze, limit=2)
    (second,) = read(bronze, after=first.end)
    assert [kind for kind, *_ in contents([first])] == [Kind.HEARTBEAT] * 2
    assert [kind for kind, *_ in contents([second])] == [Kind.GAP, Kind.HEARTBEAT, Kind.HEARTBEAT]


def test_a_sequence_whose_beginning_is_no_longer_kept_begins_without_a_gap(bronze: BronzeBuilder) -> None:
    bronze.skip(1_000)
    bronze.write(beats(3))
    (chunk,) = read(bronze)
    assert (chunk.missing, len(chunk.events)) == (0, 3)


def test_a_new_generation_follows_the_old_one_and_is_no_hole(bronze: BronzeBuilder) -> None:
    bronze.write(beats(3))
    bronze.generation, bronze.seq = 1, 50
    bronze.write(beats(3, START + 10 * SECOND))
    chunks = read(bronze)
    assert [chunk.missing for chunk in chunks] == [0, 0]
    assert [len(chunk.events) for chunk in chunks] == [3, 3]
    ends = [chunk.end for chunk in chunks]
    assert [(end.generation, end.seq) for end in ends if end] == [(0, 3), (1, 53)]
    assert [len(chunk.events) for chunk in read(bronze, after=ends[0])] == [3]


def test_rows_that_two_segments_have_count_once(bronze: BronzeBuilder, disk: LocalDisk) -> None:
    events = varied_events(6, 200)
    bronze.write(events[:120])
    again = replace(bronze, keys=[], _counters={}, _id=(0, 0), seq=60, ts=0)
    again.store = LocalDisk(disk._base.parent / "again", fsync=False)
    bronze.write(events[120:])
    again.write(events[60:150])
    tables = keys_by_table(bronze.keys)
    for key in again.keys:  # between the two segments of the first hour
        other = key.replace("_00001.", "_10001.")
        disk.create(other, again.store.read(key), {})
        tables[key.split("/")[2]].insert(1, other)
    chunks = list(read_events(disk, tables))
    assert contents(chunks) == as_published(events)
    assert sum(chunk.doubled for chunk in chunks) == 90
    assert sum(chunk.missing for chunk in chunks) == 0


def test_books_deeper_than_needed_are_cut(bronze: BronzeBuilder) -> None:
    bronze.write(varied_events(7, 300, levels=20))
    deep, cut = (read(bronze, book_levels=levels)[0].events.books for levels in (None, 3))
    assert (deep.bid_price.shape[1], cut.bid_price.shape[1]) == (20, 3)
    np.testing.assert_array_equal(cut.ask_size, deep.ask_size[:, :3])
    assert cut.bid_levels.tolist() == np.minimum(deep.bid_levels, 3).tolist()
    uniform = deep.bid_levels == 20
    assert 0 < uniform.sum() < len(deep)


def test_thin_and_empty_sides_are_filled_up_with_nan(bronze: BronzeBuilder) -> None:
    bids, asks = LEVELS
    bronze.write([Book(START, None, None, bids, ()), Book(START + 1, None, None, bids[:1], asks)])
    books = read(bronze)[0].events.books
    np.testing.assert_array_equal(books.bid_price, [[100.0, 99.0], [100.0, np.nan]])
    np.testing.assert_array_equal(books.ask_size, [[np.nan, np.nan], [3.0, 4.0]])
    assert (books.bid_levels.tolist(), books.ask_levels.tolist()) == ([2, 1], [0, 2])


def test_books_without_any_level_are_books(bronze: BronzeBuilder) -> None:
    bronze.write([Book(START + i, None, None, (), ()) for i in range(3)])
    books = read(bronze)[0].events.books
    assert (len(books), books.bid_price.shape) == (3, (3, 0))


def test_sides_and_nulls_are_read(bronze: BronzeBuilder) -> None:
    sides = ["buy", None, "sell", "buy"]
    bronze.write([Trade(START + i, None, str(i), 1.0, 1.0, side) for i, side in enumerate(sides)])
    bronze.write([Ticker(START + 9, None, 1.0, None, 2.0, None, *[None] * 7)])
    (chunk,) = read(bronze)
    assert chunk.events.trades.side.tolist() == [1, 0, -1, 1]
    np.testing.assert_array_equal(chunk.events.tickers.values[:, 0], [1.0, np.nan, 2.0, *[np.nan] * 8])


def test_a_market_with_one_table_is_read(bronze: BronzeBuilder) -> None:
    bronze.write([Trade(START, None, "1", 5.0, 1.0, None)])
    assert contents(read(bronze)) == [(Kind.TRADE, START, 5.0, 1.0, 0)]


def test_no_segments_are_no_chunks(disk: LocalDisk) -> None:
    assert list(read_events(disk, {})) == []
    assert list(read_events(disk, {"trades": []}, after=Position(0, 1, 2, 3))) == []


def regroup(folder: Path, keys: Sequence[str], rows: int) -> None:
    """Writes the segments again, in row groups of so many rows."""
    for key in keys:
        table = pq.ParquetFile(folder / key)
        metadata, rows_of_key = table.metadata.metadata, table.read()
        with pq.ParquetWriter(folder / key, rows_of_key.schema) as writer:
            writer.add_key_value_metadata({k.decode(): v.decode() for k, v in metadata.items() if b"daedalus" in k})
            writer.write_table(rows_of_key, rows)


@pytest.mark.parametrize("size_bytes", [None, 1, SMALL_BYTES + 1])
def test_large_segments_are_read_by_row_groups(bronze: BronzeBuilder, tmp_path: Path, size_bytes: int | None) -> None:
    events = varied_events(8, 500)
    bronze.write(events)
    regroup(tmp_path / "lake", bronze.keys, 40)
    sizes = None if size_bytes is None else dict.fromkeys(bronze.keys, size_bytes)
    assert contents(read(bronze, chunk_rows=64, sizes=sizes)) == as_published(events)


class Watched(LocalDisk):
    """Knows which objects were read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fsync=False)
        self.seen: list[str] = []

    def read(self, key: str) -> bytes:
        self.seen.append(key)
        return super().read(key)


def test_what_is_read_ahead_does_not_grow_with_the_history(bronze: BronzeBuilder, tmp_path: Path) -> None:
    bronze.flush = timedelta(seconds=1)
    bronze.write(varied_events(9, 2_000, rate_per_second=5.0, levels=1))
    store = Watched(tmp_path / "lake")
    chunks = read_events(store, keys_by_table(bronze.keys), chunk_rows=100)
    first = next(chunks)
    assert first.end is not None
    assert len(store.seen) < len(bronze.keys) / 3
    assert sum(len(chunk.events) for chunk in chain([first], chunks)) == 2_000
    assert sorted(store.seen) == sorted(bronze.keys)


def test_an_object_that_is_gone_is_no_damaged_segment(bronze: BronzeBuilder, tmp_path: Path) -> None:
    keys = bronze.write(varied_events(10, 50))
    (tmp_path / "lake" / keys[0]).unlink()
    with pytest.raises(ObjectMissing, match="no object"):
        read(bronze)


class Failing(LocalDisk):
    """A store that is away."""

    def read(self, key: str) -> bytes:
        raise StoreUnavailable(f"no answer for {key}")


def test_an_outage_of_the_store_is_raised(bronze: BronzeBuilder, tmp_path: Path) -> None:
    bronze.write(varied_events(11, 50))
    for sizes in (None, dict.fromkeys(bronze.keys, 100)):
        with pytest.raises(StoreUnavailable, match="no answer"):
            list(read_events(Failing(tmp_path / "lake"), keys_by_table(bronze.keys), sizes=sizes))


def test_reading_imports_no_pandas(bronze: BronzeBuilder, tmp_path: Path) -> None:
    bronze.write(varied_events(12, 100))
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from daedalus.etl.bronze_reader import read_events\nfrom daedalus_common.stores import LocalDisk\n"
        f"chunks = list(read_events(LocalDisk(Path({str(tmp_path / 'lake')!r})), {keys_by_table(bronze.keys)!r}))\n"
        "print(sum(len(chunk.events) for chunk in chunks), 'pandas' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["100", "False"]


@pytest.mark.parametrize("size_bytes", [None, 1, SMALL_BYTES + 1])
def test_segments_in_a_bucket_are_read(open_bucket: Callable[[], ObjectStore], size_bytes: int | None) -> None:
    bronze = BronzeBuilder(open_bucket(), BTC, timedelta(seconds=5))
    events = varied_events(13, 400)
    bronze.write(events)
    sizes = None if size_bytes is None else dict.fromkeys(bronze.keys, size_bytes)
    assert contents(read(bronze, chunk_rows=64, sizes=sizes)) == as_published(events)
