"""What there is to do in a partition, by its listing and the footers of its objects."""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import cast

import structlog

from daedalus_common.lake import Current, current
from daedalus_common.parquet.covers import Covers, name_of
from daedalus_common.stores import ObjectInfo, ObjectMissing, ObjectStore
from daedalus_compactor.footers import Facts, Unfit, read_facts
from daedalus_compactor.policy import Due, Member, Rules, due, is_foreign, is_ready, rivals, units

log = structlog.get_logger(__name__)

_KEPT_FACTS = 16_384
"""Of some 600 bytes each: footers of objects that wait to be merged."""


@dataclass(slots=True)
class Found:
    """What a look at a partition found."""

    layer: str
    folder: str
    due: list[Due] = field(default_factory=list)
    current: Current = field(default_factory=Current)
    merged: dict[str, tuple[ObjectInfo, Covers]] = field(default_factory=dict)
    """The merged objects that count."""
    foreign: dict[str, Covers] = field(default_factory=dict)
    """What parts of `daedalus etl` stand for."""
    covered: tuple[ObjectInfo, ...] = ()
    """Those that the merged ones stand for and that are still there."""
    rivals: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of objects that stand for the same rows; the second one is a merged one, and should go."""
    is_open: bool = False
    """Rows may still come, or objects are too young to be merged."""

    @property
    def has_work(self) -> bool:
        return bool(self.due or self.covered or self.rivals)

    @property
    def is_clean(self) -> bool:
        return not (self.has_work or self.is_open)


class PartitionLooks:
    """Looks at the partitions of one store; objects that cannot be merged are told of once, by `fail`."""

    def __init__(
        self, store: ObjectStore, rules: Rules, pool: Executor, fail: Callable[[str, str, object], None]
    ) -> None:
        self._store = store
        self._rules = rules
        self._pool = pool
        self._fail = fail
        self._unfit: set[tuple[str, datetime]] = set()

    def look(self, layer: str, folder: str, now: datetime) -> Found:
        """What there is to do. Raises StoreError."""
        try:
            return self._look(layer, folder, now)
        except ObjectMissing as error:
            # What covers others and cannot be seen must not be taken for one that covers nothing.
            log.warning("changed while it was looked at; the next pass looks again", folder=folder, reason=str(error))
            return Found(layer, folder, is_open=True)

    def listing(self, folder: str) -> tuple[tuple[ObjectInfo, ...], Current]:
        """All objects with names of ours, and those that count. Raises StoreError."""
        listed = tuple(info for info in self._store.list(folder) if name_of(info.key) is not None)
        found = current(self._store, listed)
        if found.gone:
            raise ObjectMissing(f"{found.gone[0]} was listed and is not there")
        return listed, found

    def facts(self, info: ObjectInfo) -> Facts | None:
        """None for what cannot be merged. Raises StoreError, ObjectMissing where somebody has deleted it since."""
        if (info.key, info.modified) in self._unfit:
            return None
        try:
            return _facts(cast(Hashable, self._store), info.key, info.size_bytes, info.modified)
        except _Covering as error:
            return error.facts
        except Unfit as error:
            self.set_aside(info, str(error))
            return None

    def set_aside(self, info: ObjectInfo, reason: str) -> None:
        self._unfit.add((info.key, info.modified))
        self._fail("read", info.key, f"{reason}; it is left as it is, neither merged nor deleted")

    def _look(self, layer: str, folder: str, now: datetime) -> Found:
        found = Found(layer, folder, current=self.listing(folder)[1])
        ready = []
        for closed, infos in units(found.current.objects, self._rules):
            if is_ready(closed, infos, self._rules, now):
                ready.append((closed, infos))
            elif closed is not None and (closed > now or len(infos) >= self._rules.min_objects):
                found.is_open = True
        for info in found.current.objects:
            covers = found.current.covers.get(info.key)
            if covers is not None and (facts := self.facts(info)) is not None and facts.is_live:
                found.merged[info.key] = info, covers
            elif covers is not None:
                found.foreign[info.key] = covers
        found.covered = tuple(
            info for info in found.current.covered if any(info.key in covers for _, covers in found.merged.values())
        )
        found.rivals = rivals({key: covers for key, (_, covers) in found.merged.items()}, found.foreign)
        if ready and layer in ("silver", "gold") and is_foreign(self._members(found.current.objects)):
            return found
        members = ((closed, self._members(infos)) for closed, infos in ready)
        found.due = [
            each for closed, of_unit in members if closed is not None and (each := due(closed, of_unit, self._rules))
        ]
        return found

    def _members(self, infos: Sequence[ObjectInfo]) -> list[Member]:
        facts = list(self._pool.map(self.facts, infos))
        return [Member(info, of_info) for info, of_info in zip(infos, facts, strict=True)]


class _Covering(Exception):
    """The facts of a merged object, which are not kept: up to 280 KB of hashes."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.facts = facts


@lru_cache(maxsize=_KEPT_FACTS)
def _facts(store: ObjectStore, key: str, size_bytes: int, modified: datetime) -> Facts:
    """Keeps what was read, and no failure to read it: that may pass."""
    del size_bytes, modified
    with store.open_input(key) as file:
        found = read_facts(file)
    if found.covers:
        raise _Covering(found)
    return found
