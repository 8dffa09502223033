"""However rows lie in objects and whenever the compactor dies, every reader sees each row once and in order."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daedalus_common.events import Event
from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.stores import CreateResult, LocalDisk
from daedalus_compactor.policy import Rules
from support.bronze import BronzeBuilder, varied_events
from support.compaction import Compaction, keys_of, rows_of

BTC = Market("binanceus", "BTC/USDT")
EVENTS: Sequence[Event] = varied_events(2, 160)


class Killed(BaseException):
    """As SIGKILL: nothing of the process runs any more."""


class MortalDisk(LocalDisk):
    """Dies at one of its calls: before it has done anything, or when all is done and before anybody knows."""

    def __init__(self, folder: Path, dies_at: int, *, after: bool) -> None:
        super().__init__(folder, fsync=False)
        self._left = dies_at
        self._after = after

    def _count(self) -> bool:
        self._left -= 1
        return self._left == 0

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        dies = self._count()
        if dies and not self._after:
            raise Killed
        result = super().create(key, data, metadata)
        if dies:
            raise Killed
        return result

    def delete(self, key: str) -> None:
        dies = self._count()
        if dies and not self._after:
            raise Killed
        super().delete(key)
        if dies:
            raise Killed

    def open_input(self, key: str) -> BinaryIO:
        if self._count():
            raise Killed
        return super().open_input(key)


def tables(store: LocalDisk, keys: Sequence[str]) -> dict[str, pa.Table]:
    found: dict[str, list[pa.Table]] = {}
    for key in keys:
        found.setdefault(key.split("/")[2], []).append(rows_of(store, key))
    return {name: pa.concat_tables(rows).combine_chunks() for name, rows in sorted(found.items())}


def seen(store: LocalDisk) -> dict[str, pa.Table]:
    """What our readers see."""
    return tables(store, [info.key for info in current(store, store.list("bronze/")).objects])


def plainly(folder: Path) -> dict[str, pa.Table]:
    """What anybody sees who reads every file, in the order of the sequence."""
    found = {}
    for name in sorted(path.name for path in (folder / "bronze" / "ccxt").iterdir()):
        paths = sorted((folder / "bronze" / "ccxt" / name).rglob("*.parquet"))
        rows = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
        found[name] = rows.sort_by("seq").combine_chunks()
    return found


def equal(one: Mapping[str, pa.Table], other: Mapping[str, pa.Table]) -> bool:
    return one.keys() == other.keys() and all(one[name].equals(other[name]) for name in one)


def lives(folder: Path, deaths: Sequence[tuple[int, bool]], rules: Rules) -> Iterator[None]:
    """One process after the other, each killed at its place; ever later, so that graces pass."""
    for number, (dies_at, after) in enumerate(deaths):
        compaction = Compaction(MortalDisk(folder, dies_at, after=after), rules, layers=("bronze",))
        for later in (3, 7):
            try:
                compaction.run(timedelta(hours=later + 10 * number))
            except Killed:
                break
        yield


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cuts=st.sets(st.integers(1, len(EVENTS) - 1), max_size=60),
    deaths=st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=4),
    target_size_bytes=st.sampled_from([20_000, 60_000, 10_000_000]),
    min_objects=st.integers(2, 6),
)
def test_every_row_is_seen_once_and_in_order_whenever_it_dies(
    cuts: set[int], deaths: list[tuple[int, bool]], target_size_bytes: int, min_objects: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        disk = LocalDisk(folder, fsync=False)
        builder = BronzeBuilder(disk, BTC)
        bounds = [0, *sorted(cuts), len(EVENTS)]
        for begin, end in pairwise(bounds):
            builder.write(EVENTS[begin:end])
        whole, plain = seen(disk), plainly(folder)
        rules = Rules(timedelta(hours=2), timedelta(hours=1), min_objects, target_size_bytes)
        for _ in lives(folder, deaths, rules):
            assert equal(seen(disk), whole)
        last = Compaction(disk, rules, layers=("bronze",))
        for hours in (100, 104, 108):
            assert last.run(timedelta(hours=hours)) == 0
            assert equal(seen(disk), whole)
        assert not current(disk, disk.list("bronze/")).covered
        assert equal(plainly(folder), plain), "who knows nothing of covers sees the same as before"
        assert len(keys_of(disk)) <= len(builder.keys)


def test_it_may_die_at_any_place_of_its_work(tmp_path: Path) -> None:
    """Every fifth call of the merges and of the deletes behind them, before and after it was done."""
    died = 0
    for after in (False, True):
        for place in range(1, 400, 5):
            folder = tmp_path / f"{after}-{place}"
            disk = LocalDisk(folder, fsync=False)
            builder = BronzeBuilder(disk, BTC, flush=timedelta(seconds=2))
            builder.write(EVENTS)
            whole = seen(disk)
            rules = Rules(timedelta(hours=2), timedelta(hours=1), 4, 10_000_000)
            compaction = Compaction(MortalDisk(folder, place, after=after), rules, layers=("bronze",))
            try:
                compaction.run(timedelta(hours=3))
                compaction.run(timedelta(hours=7))
            except Killed:
                died += 1
            else:
                break
            assert equal(seen(disk), whole), f"died {'after' if after else 'before'} call {place}"
            last = Compaction(disk, rules, layers=("bronze",))
            assert [last.run(timedelta(hours=hours)) for hours in (20, 24)] == [0, 0]
            assert equal(seen(disk), whole)
            assert not current(disk, disk.list("bronze/")).covered
        else:
            raise AssertionError("it needs more than 400 calls")
    assert died > 20
