"""What is done in one partition: look, merge, verify, delete. Whenever it ends early, the next pass goes on.

looked at      nothing is there but what was
created        readers take the merged object instead of those it covers, which are all still there
verified       nothing more is there; after a restart it is verified again before anything is deleted
some deleted   the others are covered, so that no reader sees them, and are deleted in the next pass
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from typing import BinaryIO

import pyarrow as pa
import structlog

from daedalus_common.lake import may_cover
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.covers import Covers, Name, is_same, name_of
from daedalus_common.stores import CreateResult, ObjectInfo, ObjectMissing, ObjectStore, StoreError
from daedalus_compactor import metrics
from daedalus_compactor.footers import Facts, Unfit, read_facts
from daedalus_compactor.merging import Merged, UnfitMember, merge
from daedalus_compactor.partition_looks import Found, PartitionLooks
from daedalus_compactor.policy import Rules, Run, deletable, next_counter
from daedalus_compactor.verification import fault_of

log = structlog.get_logger(__name__)


class ClocksDiffer(Exception):
    """The store's clock is so far behind ours that no reader would take a merged object for one."""


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
        self._looks = PartitionLooks(store, rules, pool, self.fail)
        self._verified: set[tuple[str, datetime]] = set()
        self.failures = 0

    def look(self, layer: str, folder: str, now: datetime) -> Found:
        """What there is to do. Raises StoreError."""
        found = self._looks.look(layer, folder, now)
        if not found.covered:
            self._verified -= {(info.key, info.modified) for info, _ in found.merged.values()}
        return found

    def carry_out(self, found: Found, now: datetime) -> None:
        """Merges what is due and deletes what may go, as far as nobody asks to stop. Store errors are counted.

        Raises ClocksDiffer.
        """
        if found.rivals:
            self._settle_rivals(found)
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

    def _merge(self, found: Found, run: Run) -> None:
        try:
            made = merge(self._store, run, self._compression, self._pool)
        except UnfitMember as error:
            self._looks.set_aside(error.info, error.reason)
            return
        key = self._create(found, run, made)
        size_bytes, footer = len(made.data), made.footer
        del made  # before it is read back
        pa.default_memory_pool().release_unused()
        if key is None:
            return
        info = self._store.head(key)
        if info is None:
            raise ObjectMissing(f"{key} is gone right after it was made")
        if not may_cover(info):
            self._attempt("delete", key, partial(self._store.delete, key))
            raise ClocksDiffer(f"{key} was made at {info.modified.isoformat()}, within the time in its name")
        fault = fault_of(self._store, key, footer["rows_hash"])
        if fault is not None:
            # All that it covers is still there, and counts again without it.
            self._store.delete(key)
            self.fail("verify", key, f"{fault}; it was deleted again")
            return
        self._verified.add((key, info.modified))
        labels = {"layer": found.layer}
        metrics.MADE_OBJECTS.labels(**labels).inc()
        metrics.MADE_BYTES.labels(**labels).inc(size_bytes)
        metrics.MERGED_OBJECTS.labels(**labels).inc(len(run.members))
        metrics.BACKLOG_OBJECTS.labels(**labels).dec(len(run.members))
        metrics.COVERED_OBJECTS.labels(**labels).inc(len(run.members))
        log.info("merged", key=key, objects=len(run.members), rows=footer["rows"], bytes=size_bytes)

    def _create(self, found: Found, run: Run, made: Merged) -> str | None:
        """The key; None where somebody else has merged or replaced some of the same objects meanwhile."""
        last = name_of(run.keys[-1])
        if last is None:
            raise ValueError(f"{run.keys[-1]} is no name of ours")
        # Again: to read and encode the rows may have taken minutes.
        listed, now = self._looks.listing(found.folder)
        counting = {(info.key, info.modified) for info in now.objects}
        if not all((member.info.key, member.info.modified) in counting for member in run.members):
            log.info("left: some were merged, replaced or deleted meanwhile", key=run.keys[0], objects=len(run.members))
            return None
        counter = next_counter(listed, now.covers, last.stamp)
        while True:
            key = Name(last.head, last.stamp, counter).key
            if self._store.create(key, made.data, made.metadata) is CreateResult.CREATED:
                return key
            with self._store.open_input(key) as file:
                there = _facts_or_none(file)
            ours = zip(run.keys, run.facts, strict=True)
            if there is not None and any(there.covers.holds(name, facts.key_hash) for name, facts in ours):
                self.fail("create", key, "another compactor has merged these objects: run only one on a store")
                return None
            counter += 1

    # deleting

    def _settle_rivals(self, found: Found) -> None:
        """A merged object goes where others stand for the same rows, as long as none is only in it.

        So it is where two compactors were at work, or `daedalus etl` has replaced parts while they were merged.
        """
        left = dict(found.merged)
        for one, two in found.rivals:
            self.fail("verify", two, f"{one} stands for the same rows; one of them goes unless some are in it alone")
            for key in (two, one):
                both = all(each in left or each in found.foreign for each in (one, two))
                if both and key in left and self._is_dispensable(found, left, key):
                    self._attempt("delete", key, partial(self._store.delete, key))
                    # Also where the delete was not answered: it may have been done.
                    del left[key]

    def _is_dispensable(self, found: Found, left: Mapping[str, tuple[ObjectInfo, Covers]], key: str) -> bool:
        """Whether all that a merged object covers is still there, or in others too."""
        mine = left[key][1]
        alone = self._missing(found, mine)
        if not alone:
            return True
        others = [covers for covers in found.foreign.values() if covers.overlaps(mine)]
        others += [
            covers
            for each, (info, covers) in left.items()
            if each != key and covers.overlaps(mine) and self._is_whole(found, info, covers)
        ]
        return all(any(covers.holds(*pair) for covers in others) for pair in alone)

    def _missing(self, found: Found, covers: Covers) -> list[tuple[str, str]]:
        """The covered rows that are not there any more by themselves."""
        there = {info.key: info for info in found.current.covered}

        def is_there(key: str, key_hash: str) -> bool:
            facts = self._looks.facts(there[key]) if key in there else None
            return facts is not None and is_same(facts.key_hash, key_hash)

        return [pair for pair in covers.items() if not is_there(*pair)]

    def _delete(self, found: Found, now: datetime) -> None:
        old = {
            key: pair for key, pair in found.merged.items() if pair[0].modified + self._rules.grace <= now
        } if found.covered else {}  # fmt: skip
        verified = dict[str, Covers]()
        for key, (info, covers) in old.items():
            if self._stopped():
                return
            if any(each.key in covers for each in found.covered) and self._is_whole(found, info, covers):
                verified[key] = covers
        for info in deletable(found.covered, found.merged, verified, self._rules, now):
            if self._stopped():
                return
            self._attempt("delete", info.key, partial(self._delete_covered, found, info, verified))

    def _delete_covered(self, found: Found, info: ObjectInfo, verified: Mapping[str, Covers]) -> None:
        facts = self._looks.facts(info)
        if facts is None:
            return
        if not any(covers.holds(info.key, facts.key_hash) for covers in verified.values()):
            self.fail("delete", info.key, "no merged object holds its rows, but it is older than one with its name")
            return
        self._store.delete(info.key)
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
        if not self._missing(found, covers):
            self._attempt("delete", info.key, lambda: self._store.delete(info.key))
            self.fail("verify", info.key, f"{fault}; it was deleted again, for all that it covers is there")
        else:
            self.fail("verify", info.key, f"{fault}; some of what it covers is gone: nothing of it is deleted")
        return False

    def _attempt(self, stage: str, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except ObjectMissing as error:
            self.fail("read", what, error)
        except StoreError as error:
            self.fail(stage, what, error)


def _facts_or_none(file: BinaryIO) -> Facts | None:
    try:
        return read_facts(file)
    except Unfit:
        return None
