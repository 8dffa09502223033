"""Names that became free and hold other rows: they count, block nothing and are never deleted for their name."""

import os
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from daedalus.etl.filters import FilterSpec
from daedalus.etl.foreign_parts import survey
from daedalus.quality.feature_parts import check_parts
from daedalus_common.lake import covered_by, current
from daedalus_common.markets import Market
from daedalus_common.stores import CreateResult, LocalDisk
from daedalus_compactor.policy import Rules
from support.compaction import Compaction, keys_of, said
from support.small_objects import part, put, seen, segment

RULES = Rules(timedelta(hours=2), timedelta(hours=1), 2, 128 * 1024 * 1024)


def passes(disk: LocalDisk, *hours: int) -> list[int]:
    """Each by a new process; how often something failed."""
    return [Compaction(disk, RULES).run(timedelta(hours=each)) for each in hours]


class Interrupted(LocalDisk):
    """Something happens before its next create."""

    before: Callable[[], None] | None = None

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        before, self.before = self.before, None
        if before is not None:
            before()
        return super().create(key, data, metadata)


def test_other_rows_under_merged_names_are_merged_too_and_neither_object_goes(disk: LocalDisk) -> None:
    """As `daedalus dlq retry` makes them of a day that was merged, each hour counted from 1 again."""
    for key, first in ((part(1, 1), 10), (part(2, 1), 20), (part(1, 2), 30)):
        put(disk, key, first)
    assert passes(disk, 3, 5) == [0, 0]
    for number in (1, 2):
        put(disk, part(number, 1), 100 * number, schema="other")
    assert passes(disk, 6) == [0]
    assert seen(disk) == [10, 20, 30, 100, 200]
    assert passes(disk, 9, 12) == [0, 0]
    assert seen(disk) == [10, 20, 30, 100, 200]
    assert len(keys_of(disk)) == 2, "merged, and nothing is in the way of the deletes"
    put(disk, part(1, 2), 300, schema="third")
    assert passes(disk, 15, 18) == [0, 0]
    assert seen(disk) == [10, 20, 30, 100, 200, 300]


def test_rows_that_come_under_a_handed_on_name_during_a_merge_are_seen_and_stay(tmp_path: Path) -> None:
    disk = Interrupted(tmp_path, fsync=False)
    for number in (1, 2, 3):
        put(disk, segment(number), 10 * number)
    assert passes(disk, 3, 5) == [0, 0]
    for number in (5, 6):
        put(disk, segment(number), 10 * number)
    [first] = [info for info in disk.list() if info.key == segment(4)]

    def late() -> None:
        time.sleep(0.02)  # so that its time is between those of the two merged objects
        put(disk, segment(1), 900)
        time.sleep(0.02)

    disk.before = late
    assert passes(disk, 6) == [0]
    assert said(disk, segment(7))["covers_made"] == first.modified.isoformat()
    assert seen(disk) == [10, 20, 30, 50, 60, 900]
    assert passes(disk, 9, 12, 15) == [0, 0, 0]
    assert seen(disk) == [10, 20, 30, 50, 60, 900]


def test_a_clock_alone_deletes_nothing(disk: LocalDisk) -> None:
    for number in (1, 2, 3):
        put(disk, segment(number), 10 * number)
    assert passes(disk, 3, 5) == [0, 0]
    put(disk, segment(2), 900)
    age_of_all(disk)
    assert covered_by(disk, segment(4)) == []
    assert passes(disk, 9, 12) == [1, 1], "told of in every pass"
    assert keys_of(disk) == [segment(2), segment(4)]


def age_of_all(disk: LocalDisk) -> None:
    """All objects get the same time, as a copy of a lake may have it."""
    for path in Path(disk.describe().removeprefix("local disk ")).rglob("*.parquet"):
        os.utime(path, (1_790_000_000, 1_790_000_000))


def test_only_rows_that_an_object_holds_are_covered_by_it(disk: LocalDisk) -> None:
    for number in (1, 2, 3):
        put(disk, segment(number), 10 * number)
    assert passes(disk, 3) == [0]
    assert covered_by(disk, segment(4)) == [segment(1), segment(2), segment(3)]
    assert passes(disk, 5) == [0]
    put(disk, segment(2), 900)
    put(disk, segment(3), 30)
    assert covered_by(disk, segment(4)) == [segment(3)], "what it holds, and not what has a name that it covers"


def test_a_plan_that_had_to_take_another_name_is_covered_under_its_first_one(disk: LocalDisk) -> None:
    for number in (1, 2):
        put(disk, segment(number), 10 * number)
    assert passes(disk, 3, 5) == [0, 0]
    put(disk, segment(4), 50)  # the plan named 3, which the compactor had taken
    assert passes(disk, 6, 8) == [0, 0]
    assert keys_of(disk) == [segment(5)]
    put(disk, segment(3), 50)
    assert seen(disk) == [10, 20, 50]
    assert passes(disk, 12) == [0]
    assert keys_of(disk) == [segment(5)]


def test_two_that_cover_each_others_names_both_count(disk: LocalDisk) -> None:
    names = f'["{part(1, 1)}", "{part(2, 1)}"]'
    for number in (1, 2):
        put(disk, part(number, 1), 10 * number, origin="batch", covers=names, covers_hashes="0" * 32)
    assert sorted(info.key for info in current(disk, disk.list()).objects) == [part(1, 1), part(2, 1)]


def test_a_part_of_etl_gets_no_name_that_a_part_it_replaces_covers(disk: LocalDisk) -> None:
    for key, first in [*((part(number, 1), 10 * number) for number in range(1, 9)), (part(1, 2), 90)]:
        put(disk, key, first)
    assert passes(disk, 3, 5) == [0, 0]
    assert keys_of(disk) == [part(2, 2)]
    folder = part(2, 2).rpartition("/")[0]
    found = survey(disk, [folder], 2**31)[folder]
    assert found.counter == 8, "the counter of part_20260203T01_00008, which is gone"
    [span] = found.spans
    assert span.key_hash == said(disk, part(2, 2))["key_hash"]
    assert part(8, 1) in span.covers


def test_a_part_that_says_that_it_covers_itself_counts_in_an_audit(disk: LocalDisk) -> None:
    put(disk, part(1, 1), 10, origin="batch", covers=f'["{part(1, 1)}"]')
    assert check_parts(disk, Market("x", "BTC/USDT"), FilterSpec()).rows == 3
