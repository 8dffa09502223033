"""What is done in one partition: look, merge, verify, delete. Whenever it ends early, the next pass goes on.

looked at      nothing is there but what was
created        readers take the merged object instead of those it covers, which are all still there
verified       nothing more is there; after a restart it is verified again before anything is deleted
some deleted   the others are covered, so that no reader sees them, and are deleted in the next pass
"""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import BinaryIO, cast

import pyarrow as pa
import structlog

from daedalus_common.lake import Current, current
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.covers import Covers, Name, name_of
from daedalus_common.stores import CreateResult, ObjectInfo, ObjectMissing, ObjectStore, StoreError
from daedalus_compactor import metrics
from daedalus_compactor.footers import Facts, Unfit, read_facts
from daedalus_compactor.merging import Merged, UnfitMember, merge
from daedalus_compactor.policy import (
    Due,
    Member,
    Rules,
    Run,
    deletable,
    due,
    is_foreign,
    is_ready,
    next_counter,
    rivals,
    units,
)
from daedalus_compactor.verification import fault_of

log = structlog.get_logger(__name__)

_KEPT_FACTS = 16_384
"""Of some 600 bytes each: footers of objects that wait to be merged."""


@dataclass(slots=True)
class Found:
    """What a look at a partition found."""

    layer: str
    folder: str
    listed: tuple[ObjectInfo, ...] = ()
    due: list[Due] = field(default_factory=list)
    current: Current = field(default_factory=Current)
    merged: dict[str, tuple[ObjectInfo, Covers]] = field(default_factory=dict)
    """The merged objects that count."""
    foreign: tuple[Covers, ...] = ()
    """What parts of `daedalus etl` stand for."""
    covered: tuple[ObjectInfo, ...] = ()
    """Those that the merged ones stand for and that are still there."""
    is_open: bool = False
    """Rows may still come, or objects are too young to be merged."""

    @property
    def is_clean(self) -> bool:
        return not (self.due or self.covered or self.is_open)


class PartitionWork:
    """The work on the partitions of one store."""

    def __init__(
        self, store: ObjectStore, rules: Rules, compression: Compression, pool: Executor, stopped: Callable[[], bool]
    ) -> None:
        self._store = store
        self._rules = rules
        self._compression = compression
        self._pool = pool
        self._stopped = stopped
        self._verified: set[tuple[str, datetime]] = set()
        self._unfit: dict[tuple[str, datetime], str] = {}
        self.failures = 0

    def look(self, layer: str, folder: str, now: datetime) -> Found:
        """What there is to do. Raises StoreError."""
        listed = tuple(info for info in self._store.list(folder) if name_of(info.key) is not None)
        found = Found(layer, folder, listed, current=current(self._store, listed))
        ready = []
        for closed, infos in units(found.current.objects, self._rules):
            if is_ready(closed, infos, self._rules, now):
                ready.append((closed, infos))
            elif closed is not None and (closed > now or len(infos) >= self._rules.min_objects):
                found.is_open = True
        live = {key: self._facts(info) for info in listed if (key := info.key) in found.current.covers}
        found.merged = {
            info.key: (info, found.current.covers[info.key])
            for info in found.current.objects
            if (facts := live.get(info.key)) is not None and facts.is_live
        }
        found.foreign = tuple(covers for key, covers in found.current.covers.items() if key not in found.merged)
        found.covered = tuple(
            info for info in found.current.covered if any(info.key in covers for _, covers in found.merged.values())
        )
        if not found.covered:
            self._verified -= {(info.key, info.modified) for info, _ in found.merged.values()}
        if ready and layer in ("silver", "gold") and is_foreign(self._members(found.current.objects)):
            return found
        members = ((closed, self._members(infos)) for closed, infos in ready)
        found.due = [
            each for closed, of_unit in members if closed is not None and (each := due(closed, of_unit, self._rules))
        ]
        return found

    def carry_out(self, found: Found, now: datetime) -> None:
        """Merges what is due and deletes what may go, as far as nobody asks to stop. Store errors are counted."""
        if self._settle_rivals(found):
            return
        for each in found.due:
            for run in each.runs:
                if self._stopped():
                    return
                self._attempt("merge", run.keys[0], partial(self._merge, found, run))
        self._delete(found, now)

    def fail(self, stage: str, what: str, error: object) -> None:
        """Counts and tells."""
        self.failures += 1
        metrics.FAILURES.labels(stage=stage).inc()
        log.error("failed", stage=stage, key=what, reason=str(error))

    # merging

    def _members(self, infos: Sequence[ObjectInfo]) -> list[Member]:
        facts = list(self._pool.map(self._facts, infos))
        return [Member(info, of_info) for info, of_info in zip(infos, facts, strict=True)]

    def _facts(self, info: ObjectInfo) -> Facts | None:
        if (info.key, info.modified) in self._unfit:
            return None
        found = _facts(cast(Hashable, self._store), info.key, info.size_bytes, info.modified)
        if isinstance(found, str):
            self._set_aside(info, found)
            return None
        return found

    def _set_aside(self, info: ObjectInfo, reason: str) -> None:
        self._unfit[info.key, info.modified] = reason
        self.fail("read", info.key, f"{reason}; it is left as it is, neither merged nor deleted")

    def _merge(self, found: Found, run: Run) -> None:
        try:
            made = merge(self._store, run, self._compression, self._pool)
        except UnfitMember as error:
            self._set_aside(error.info, error.reason)
            return
        key = self._create(found, run, made)
        size_bytes, footer = len(made.data), made.footer
        del made  # before it is read back
        pa.default_memory_pool().release_unused()
        if key is None:
            return
        fault = fault_of(self._store, key, footer["rows_hash"])
        if fault is not None:
            # All that it covers is still there, and counts again without it.
            self._store.delete(key)
            self.fail("verify", key, f"{fault}; it was deleted again")
            return
        info = self._store.head(key)
        if info is not None:
            self._verified.add((key, info.modified))
        labels = {"layer": found.layer}
        metrics.MADE_OBJECTS.labels(**labels).inc()
        metrics.MADE_BYTES.labels(**labels).inc(size_bytes)
        metrics.MERGED_OBJECTS.labels(**labels).inc(len(run.members))
        metrics.BACKLOG_OBJECTS.labels(**labels).dec(len(run.members))
        metrics.COVERED_OBJECTS.labels(**labels).inc(len(run.members))
        log.info("merged", key=key, objects=len(run.members), rows=footer["rows"], bytes=size_bytes)

    def _create(self, found: Found, run: Run, made: Merged) -> str | None:
        """The key; None where somebody else has merged the same objects meanwhile."""
        last = name_of(run.keys[-1])
        if last is None:
            raise ValueError(f"{run.keys[-1]} is no name of ours")
        ours = set(run.keys)
        counter = next_counter(found.listed, found.current.covers, last.stamp)
        while True:
            key = Name(last.head, last.stamp, counter).key
            if self._store.create(key, made.data, made.metadata) is CreateResult.CREATED:
                return key
            with self._store.open_input(key) as file:
                there = _facts_or_none(file)
            if there is not None and any(name in there.covers for name in ours):
                self.fail("create", key, "another compactor has merged these objects: run only one on a store")
                return None
            counter += 1

    # deleting

    def _settle_rivals(self, found: Found) -> bool:
        """A merged object goes where another stands for the same rows, as long as none is only in it.

        So it is where two compactors were at work, or `daedalus etl` has replaced parts while they were merged.
        """
        there = {info.key for info in found.listed}
        doubled = [key for _, key in rivals(found.merged)]
        doubled += [
            key for key, (_, covers) in found.merged.items() if any(each.overlaps(covers) for each in found.foreign)
        ]
        for key in dict.fromkeys(doubled):
            self.fail("verify", key, "another object stands for the same rows; it goes unless some are in it alone")
            names = [name for name, _ in found.merged[key][1].items()]
            if all(name in there or any(name in each for each in found.foreign) for name in names):
                self._attempt("delete", key, partial(self._store.delete, key))
        return bool(doubled)

    def _delete(self, found: Found, now: datetime) -> None:
        old = {
            key: pair for key, pair in found.merged.items() if pair[0].modified + self._rules.grace <= now
        } if found.covered else {}  # fmt: skip
        verified = set()
        for key, (info, covers) in old.items():
            if self._stopped():
                return
            if any(each.key in covers for each in found.covered) and self._is_whole(found, info, covers):
                verified.add(key)
        for info in deletable(found.covered, found.merged, verified, self._rules, now):
            if self._stopped():
                return
            if self._attempt("delete", info.key, partial(self._store.delete, info.key)):
                metrics.DELETED_OBJECTS.labels(layer=found.layer).inc()
                metrics.COVERED_OBJECTS.labels(layer=found.layer).dec()

    def _is_whole(self, found: Found, info: ObjectInfo, covers: Covers) -> bool:
        if (info.key, info.modified) in self._verified:
            return True
        try:
            fault = fault_of(self._store, info.key)
        except StoreError as error:
            self.fail("verify", info.key, error)
            return False
        if fault is None:
            self._verified.add((info.key, info.modified))
            return True
        there = {each.key for each in found.listed}
        if all(name in there for name, _ in covers.items()):
            self._attempt("delete", info.key, lambda: self._store.delete(info.key))
            self.fail("verify", info.key, f"{fault}; it was deleted again, for all that it covers is there")
        else:
            self.fail("verify", info.key, f"{fault}; some of what it covers is gone: nothing of it is deleted")
        return False

    def _attempt(self, stage: str, what: str, work: Callable[[], None]) -> bool:
        try:
            work()
        except ObjectMissing as error:
            self.fail("read", what, error)
        except StoreError as error:
            self.fail(stage, what, error)
        else:
            return True
        return False


def _facts_or_none(file: BinaryIO) -> Facts | None:
    try:
        return read_facts(file)
    except Unfit:
        return None


@lru_cache(maxsize=_KEPT_FACTS)
def _facts(store: ObjectStore, key: str, size_bytes: int, modified: datetime) -> Facts | str | None:
    """Or why it cannot be merged; None for one that somebody has deleted since."""
    del size_bytes, modified
    try:
        with store.open_input(key) as file:
            return read_facts(file)
    except ObjectMissing:
        return None
    except Unfit as error:
        return str(error)
