"""What a store cannot give keeps its own partition back, and no other."""

from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from daedalus_common.stores import LocalDisk, StoreDenied, StoreError, StoreUnavailable
from daedalus_compactor.policy import Rules
from support.compaction import Compaction, keys_of
from support.small_objects import part, put, seen

RULES = Rules(timedelta(hours=2), timedelta(hours=1), 2, 128 * 1024 * 1024)
DAYS = 5
PARTS = (part(1, 1), part(2, 1), part(1, 2))


def of_day(day: int, key: str) -> str:
    return key.replace("day=3", f"day={day}").replace("20260203", f"202602{day:02d}")


class Unreadable(LocalDisk):
    """Whose objects are read with an error where the key has one of these texts in it."""

    error: type[StoreError]
    texts: tuple[str, ...] = ()
    tried: int = 0

    def open_input(self, key: str) -> BinaryIO:
        if any(text in key for text in self.texts):
            self.tried += 1
            raise self.error(f"cannot read {key}")
        return super().open_input(key)


def disk_of_days(folder: Path) -> Unreadable:
    disk = Unreadable(folder, fsync=False)
    for day in range(1, DAYS + 1):
        for number, key in enumerate(PARTS):
            put(disk, of_day(day, key), day * 100 + number * 10)
    return disk


@pytest.mark.parametrize("error", [StoreDenied, StoreUnavailable])
def test_an_object_that_cannot_be_read_keeps_back_its_own_day_only(tmp_path: Path, error: type[StoreError]) -> None:
    disk = disk_of_days(tmp_path)
    work = Compaction(disk, RULES)
    disk.error, disk.texts = error, (of_day(2, PARTS[1]),)
    assert [work.run(timedelta(hours=hours)) for hours in (3, 5)] == [1, 1]
    assert len(keys_of(disk)) == (DAYS - 1) + len(PARTS)
    disk.texts = ()
    assert [work.run(timedelta(hours=hours)) for hours in (7, 9)] == [0, 0]
    assert len(keys_of(disk)) == DAYS
    assert seen(disk) == [day * 100 + number * 10 for day in range(1, DAYS + 1) for number in range(len(PARTS))]


def test_a_store_that_is_away_is_not_asked_for_every_day(tmp_path: Path) -> None:
    disk = disk_of_days(tmp_path)
    disk.error, disk.texts = StoreUnavailable, ("silver/",)
    assert Compaction(disk, RULES).run(timedelta(hours=3)) == 2
    assert disk.tried == 2
