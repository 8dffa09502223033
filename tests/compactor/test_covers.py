"""What a footer says of the objects that its own stands for, and which objects of a listing count."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from daedalus_common.lake import covered_by, current
from daedalus_common.markets import Market
from daedalus_common.parquet.covers import Covers, covers_said, handed_on, name_of, read_covers
from daedalus_common.stores import LocalDisk
from daedalus_common.tables import BRONZE
from support.bronze import BronzeBuilder, varied_events
from support.compaction import Compaction, keys_of, said

FOLDER = "bronze/ccxt/trades/exchange=x/symbol=A-B/year=2026/month=2/day=3/hour=14"
BTC = Market("binanceus", "BTC/USDT")


def segment(counter: int, stamp: str = "20260203T14") -> str:
    return f"{FOLDER}/segment_{stamp}_{counter:05d}.parquet"


def digest(number: int) -> str:
    return f"{number:016x}" + 48 * "0"


def read_back(pairs: list[tuple[str, str]]):
    return read_covers({f"daedalus.{name}".encode(): text.encode() for name, text in covers_said(pairs).items()})


def test_neighbours_take_the_place_of_one_and_every_key_is_found_again() -> None:
    keys = [segment(number) for number in (*range(1, 721), 730, *range(99_998, 100_003))]
    pairs = [(key, digest(number)) for number, key in enumerate(keys)]
    assert len(covers_said(pairs)["covers"]) < 600, "of 726 keys of 100 characters"
    covers = read_back(pairs)
    assert dict(covers.items()) == {key: value[:16] for key, value in pairs}
    assert all(key in covers for key in keys)
    assert not any(segment(number) in covers for number in (721, 729, 731, 100_003))
    assert covers.first == ("20260203T14", 1)
    assert covers.last_counter("20260203T14") == 100_002


def test_what_etl_says_is_understood_too() -> None:
    covers = read_covers({b"daedalus.covers": f'["{segment(1)}", "elsewhere/odd name.parquet"]'.encode()})
    assert sorted(key for key, _ in covers.items()) == [segment(1), "elsewhere/odd name.parquet"]
    assert covers.holds(segment(1), digest(7)), "its hash is unknown: the name decides"
    assert not read_covers({}), "nothing is covered by most objects"
    with pytest.raises(ValueError, match="no list"):
        read_covers({b"daedalus.covers": b'{"a": 1}'})


def test_a_name_that_came_to_hold_other_rows_is_told_by_its_hash() -> None:
    covers = read_back([(segment(1), digest(1)), (segment(2), digest(2)), (segment(1), digest(9))])
    assert covers.holds(segment(1), digest(1))
    assert covers.holds(segment(1), digest(9))
    assert not covers.holds(segment(1), digest(3))
    assert not covers.holds(segment(3), digest(1))
    assert covers.holds(segment(1), digest(2)), "a plan carried out again under the name that it had first"


@pytest.mark.parametrize(
    ("one", "other", "overlaps", "includes"),
    [
        ([(1, 1), (2, 2)], [(2, 2)], True, True),
        ([(1, 1), (2, 2)], [(2, 2), (3, 3)], True, False),
        ([(1, 1), (2, 2)], [(2, 7), (3, 3)], False, False),
        ([(1, 1), (2, 2), (2, 7)], [(2, 7)], True, True),
        ([(1, 1)], [(3, 3)], False, False),
        ([(1, 1), (2, None)], [(2, 7)], True, True),
        ([(1, 1), (2, 2)], [(2, None)], True, True),
    ],
)
def test_two_cover_the_same_rows_where_they_share_a_key_with_its_hash(
    one: list[tuple[int, int | None]], other: list[tuple[int, int | None]], overlaps: bool, includes: bool
) -> None:
    def covers(of: list[tuple[int, int | None]]) -> Covers:
        return read_back([(segment(name), "-" * 16 if rows is None else digest(rows)) for name, rows in of])

    assert covers(one).overlaps(covers(other)) is overlaps
    assert covers(other).overlaps(covers(one)) is overlaps
    assert covers(one).includes(covers(other)) is includes


def test_who_takes_over_covers_tells_since_when_they_are_there() -> None:
    times = [datetime(2026, 2, 3, hour, tzinfo=UTC) for hour in (15, 16, 17, 18)]
    old = replace(read_back([(segment(1), digest(1))]), made=times[0])
    young = read_back([(segment(2), digest(2))])

    def said_of(*members: tuple[int, datetime, Covers]) -> Covers:
        said = handed_on((segment(key), digest(key), modified, covers) for key, modified, covers in members)
        return read_covers({f"daedalus.{name}".encode(): text.encode() for name, text in said.items()})

    plain = said_of((8, times[1], Covers()), (9, times[2], Covers()))
    assert plain.made is None
    assert said_of((7, times[1], Covers()), (8, times[2], young)).made == times[2]
    both = said_of((8, times[2], young), (9, times[3], old))
    assert both.made == times[0], "the first of all, however often it was handed on"
    assert sorted(key for key, _ in both.items()) == [segment(name) for name in (1, 2, 8, 9)]


@pytest.mark.parametrize(
    ("key", "end"),
    [
        (segment(1), "2026-02-03T15:00:00+00:00"),
        ("silver/trades/exchange=x/day=3/part_20260203T14_00001.parquet", "2026-02-04T00:00:00+00:00"),
    ],
)
def test_a_name_tells_until_when_rows_of_its_time_may_come(key: str, end: str) -> None:
    name = name_of(key)
    assert name is not None
    assert name.key == key
    assert name.end.isoformat() == end


def recorded(disk: LocalDisk) -> list[str]:
    builder = BronzeBuilder(disk, BTC, flush=timedelta(seconds=2))
    builder.write(varied_events(3, 500))
    return [key for key in builder.keys if "/trades/" in key]


def test_a_covered_name_stays_skipped_when_it_is_made_again_and_the_next_pass_deletes_it(disk: LocalDisk) -> None:
    keys = recorded(disk)
    again = {key: disk.read(key) for key in keys}
    compaction = Compaction(disk)
    assert compaction.run() == 0
    assert compaction.run(timedelta(hours=5)) == 0
    [merged] = keys_of(disk, "bronze/ccxt/trades/")
    disk.create(keys[1], again[keys[1]], {})
    now = current(disk, disk.list("bronze/ccxt/trades/"))
    assert [info.key for info in now.objects] == [merged]
    assert [info.key for info in now.covered] == [keys[1]]
    assert covered_by(disk, merged) == [keys[1]]
    assert Compaction(disk).run(timedelta(hours=5)) == 0
    assert keys_of(disk, "bronze/ccxt/trades/") == [merged]


def test_other_rows_under_a_name_that_became_free_count_and_are_never_deleted(disk: LocalDisk, tmp_path: Path) -> None:
    keys = recorded(disk)
    compaction = Compaction(disk)
    compaction.run()
    compaction.run(timedelta(hours=5))
    [merged] = keys_of(disk, "bronze/ccxt/trades/")
    other = BronzeBuilder(LocalDisk(tmp_path / "other"), BTC, seq=100_000, ts=1_770_000_400_000_000_000)
    other.write(varied_events(4, 60))
    [rows] = [LocalDisk(tmp_path / "other").read(key) for key in other.keys if "/trades/" in key]
    disk.create(keys[0], rows, {})
    assert [info.key for info in current(disk, disk.list("bronze/ccxt/trades/")).objects] == [merged, keys[0]]
    for hours in (5, 40):
        assert Compaction(disk).run(timedelta(hours=hours)) == 0
    assert keys_of(disk, "bronze/ccxt/trades/") == sorted([merged, keys[0]])


def test_an_object_made_within_its_hour_is_known_to_cover_nothing_without_a_look(disk: LocalDisk) -> None:
    class Listing(LocalDisk):
        opened = 0

        def open_input(self, key: str):
            Listing.opened += 1
            return super().open_input(key)

    key = segment(1, "20990203T14")
    disk.create(key, b"nobody looks", {})
    folder = Path(disk.describe().removeprefix("local disk "))
    store = Listing(folder)
    assert [info.key for info in current(store, store.list()).objects] == [key]
    assert Listing.opened == 0
    disk.create(segment(2), b"made long after its hour: somebody must look", {})
    assert len(current(store, store.list()).objects) == 2
    assert Listing.opened == 1


def test_who_is_merged_again_hands_on_whom_it_covers(disk: LocalDisk) -> None:
    keys = recorded(disk)
    Compaction(disk).run()
    [first] = [key for key in keys_of(disk, "bronze/ccxt/trades/") if key not in keys]
    builder = BronzeBuilder(disk, BTC, flush=timedelta(seconds=2), seq=50_000)
    # As a writer goes on: behind the names that are there.
    builder._counters |= {f"bronze/ccxt/{table}": "20260202T02 100" for table in BRONZE}
    builder.write(varied_events(5, 1_500)[1_000:])
    late = [key for key in builder.keys if "/trades/" in key]
    assert len(late) >= 3
    Compaction(disk).run(timedelta(hours=8))
    [last] = [info.key for info in current(disk, disk.list("bronze/ccxt/trades/")).objects]
    with disk.open_input(last) as file:
        covers = read_covers(pq.read_metadata(file).metadata)
    assert {key for key, _ in covers.items()} == {*keys, first, *late}
    assert said(disk, last)["last_seq"] == said(disk, late[-1])["last_seq"]
    assert said(disk, last)["merged_rows"].count(",") == len(keys) + len(late) - 1
