"""Two compactors at work on one store, at the worst moments."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from daedalus_common.lake import current
from daedalus_common.stores import LocalDisk, ObjectMissing
from daedalus_compactor.policy import Rules
from support.compaction import Compaction, keys_of
from support.small_objects import part, put, seen

RULES = Rules(timedelta(hours=2), timedelta(hours=1), 2, 128 * 1024 * 1024)
DAY = ((part(1, 1), 10), (part(2, 1), 20), (part(1, 2), 30))


class Paused(LocalDisk):
    """A compactor's disk; something happens before its next create."""

    before: Callable[[], None] | None = None

    def create(self, *arguments):
        before, self.before = self.before, None
        if before is not None:
            before()
        return super().create(*arguments)


def passes(disk: LocalDisk, *hours: int) -> list[int]:
    return [Compaction(disk, RULES).run(timedelta(hours=each)) for each in hours]


def two_at_once(folder: Path) -> LocalDisk:
    """One pauses before its first create; the other merges, with one part more, and deletes what that covers."""
    disk, paused = LocalDisk(folder, fsync=False), Paused(folder, fsync=False)
    for key, first in DAY:
        put(disk, key, first)

    def other() -> None:
        put(disk, part(1, 3), 40)
        assert passes(disk, 4, 6) == [0, 0]
        done.append(keys_of(disk))

    done: list[list[str]] = []
    paused.before = other
    passes(paused, 3)
    assert done == [[part(2, 3)]]
    return disk


def test_one_that_was_paused_while_all_was_merged_and_deleted_is_taken_back(tmp_path: Path) -> None:
    disk = two_at_once(tmp_path)
    assert keys_of(disk) == [part(2, 2), part(2, 3)], "both have the rows of three parts, which are gone"
    assert passes(disk, 7, 9) == [1, 0]
    assert keys_of(disk) == [part(2, 3)]
    assert seen(disk) == [10, 20, 30, 40]


def test_rivals_of_which_each_has_rows_of_its_own_both_stay_and_are_told_of(tmp_path: Path) -> None:
    merged: list[tuple[str, bytes]] = []
    for hidden, key in ((DAY[2][0], part(3, 1)), (DAY[0][0], part(2, 2))):
        aside = LocalDisk(tmp_path / f"aside-{len(merged)}", fsync=False)
        for name, first in DAY:
            if name != hidden:
                put(aside, name, first)
        assert passes(aside, 3, 5) == [0, 0]
        assert keys_of(aside) == [key]
        merged.append((key, aside.read(key)))
    disk = LocalDisk(tmp_path / "lake", fsync=False)
    for key, data in merged:
        disk.create(key, data, {})
    assert passes(disk, 9, 12) == [1, 1]
    assert keys_of(disk) == sorted(key for key, _ in merged)


def test_nothing_is_created_for_objects_that_were_merged_meanwhile(tmp_path: Path) -> None:
    disk, paused = LocalDisk(tmp_path, fsync=False), Paused(tmp_path, fsync=False)
    for key, first in DAY:
        put(disk, key, first)
    work = Compaction(paused, RULES).passes._work
    now = datetime.now(UTC) + timedelta(hours=3)
    found = work.look("silver", part(1, 1).rpartition("part_")[0], now)
    put(disk, part(1, 3), 40)
    assert passes(disk, 3) == [0]
    work.carry_out(found, now)
    assert sum(key not in dict(DAY) for key in keys_of(disk)) == 2, "the fourth part and the other's merged object"
    assert work.failures == 0
    assert seen(disk) == [10, 20, 30, 40]


class Forgetful(LocalDisk):
    """Says once of one object that it is not there, as a store may whose parts are not of one mind."""

    forgets: str | None = None

    def open_input(self, key: str) -> BinaryIO:
        if key == self.forgets:
            self.forgets = None
            raise ObjectMissing(f"no {key}")
        return super().open_input(key)


def test_a_merged_object_that_could_not_be_seen_once_is_looked_at_again(tmp_path: Path) -> None:
    disk = Forgetful(tmp_path, fsync=False)
    for key, first in DAY:
        put(disk, key, first)
    assert passes(disk, 3) == [0]
    reader = Forgetful(tmp_path, fsync=False)
    reader.forgets = merged = part(2, 2)
    assert current(reader, reader.list()).gone == (merged,)
    assert [info.key for info in current(reader, reader.list()).objects] == [merged]
    other = Forgetful(tmp_path, fsync=False)
    other.forgets = merged
    assert passes(other, 5) == [0]
    assert len(keys_of(disk)) == 4, "nothing was merged a second time, nothing deleted"
    assert passes(other, 5) == [0]
    assert keys_of(disk) == [merged]


class BehindDisk(LocalDisk):
    """Its clock is so far behind that what is made now seems to be made within the day that was merged."""

    def create(self, key, data, metadata):
        result = super().create(key, data, metadata)
        then = datetime(2026, 2, 3, 20, tzinfo=UTC).timestamp()
        os.utime(Path(self.describe().removeprefix("local disk ")) / key, (then, then))
        return result


def test_nothing_is_left_of_a_merge_that_no_reader_could_see_for_the_clock_of_the_store(tmp_path: Path) -> None:
    disk = BehindDisk(tmp_path, fsync=False)
    for number in (3, 4):
        for key, first in DAY:
            put(disk, key.replace("day=3", f"day={number}").replace("20260203", f"2026020{number}"), first)
    keys = keys_of(disk)
    assert passes(disk, 3, 5) == [1, 1], "once a pass, which ends there"
    assert keys_of(disk) == keys
