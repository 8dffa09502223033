"""A pass over one store: first all partitions are looked at, which tells the backlog, then the work is done."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.stores import ObjectStore, StoreError
from daedalus_compactor import metrics
from daedalus_compactor.partition_looks import Found
from daedalus_compactor.partition_work import ClocksDiffer, PartitionWork
from daedalus_compactor.partitions import Partitions
from daedalus_compactor.policy import Rules


@dataclass(slots=True)
class Backlog:
    """What waits, by layer; `since` is when the partition that waits longest became due."""

    objects: dict[str, int] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)
    since: list[datetime] = field(default_factory=list)

    def add(self, found: Found) -> None:
        self.objects[found.layer] = self.objects.get(found.layer, 0) + sum(each.objects for each in found.due)
        self.covered[found.layer] = self.covered.get(found.layer, 0) + len(found.covered)
        self.since += [each.since for each in found.due]


class StorePasses:
    """Passes over the layers that lie in one store."""

    def __init__(
        self,
        store: ObjectStore,
        layers: Iterable[str],
        rules: Rules,
        compression: Compression,
        pool: Executor,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._layers = tuple(layers)
        self._partitions = Partitions(store)
        self._stopped = stopped
        self._work = PartitionWork(store, rules, compression, pool, stopped)

    def survey(self, now: datetime) -> tuple[Backlog, list[tuple[str, str]]]:
        """What waits, and the (layer, folder) of the partitions with work."""
        backlog, work = Backlog(), list[tuple[str, str]]()
        is_away = False

        def look(layer: str, folder: str) -> bool:
            nonlocal is_away
            try:
                found = self._work.look(layer, folder, now)
            except StoreError as error:
                # One bad object keeps its own partition back, and no other. A store that is away fails at every one of
                # them, each for as long as a time-out takes: the second in a row ends the look at this layer.
                if error.retryable and is_away:
                    raise
                is_away = error.retryable
                self._work.fail("list", folder, error)
                return False
            is_away = False
            backlog.add(found)
            if found.has_work:
                work.append((layer, folder))
            return found.is_clean

        for layer in self._layers:
            try:
                self._partitions.visit(layer, now, partial(look, layer), self._stopped)
            except StoreError as error:
                self._work.fail("list", f"{layer}/", error)
        return backlog, work

    def carry_out(self, work: Iterable[tuple[str, str]], now: datetime) -> Backlog:
        """The work, partition by partition; gives what is left. Ends when the clocks differ too much."""
        left = Backlog()
        halted = False
        for layer, folder in work:
            try:
                found = self._work.look(layer, folder, now)
                if not self._stopped() and not halted:
                    self._work.carry_out(found, now)
                    found = self._work.look(layer, folder, now)
                left.add(found)
            except ClocksDiffer as error:
                halted = True
                left.add(found)
                self._work.fail("create", folder, f"{error}: the clocks of the store and of this host differ")
            except StoreError as error:
                self._work.fail("list", folder, error)
        return left

    @property
    def failures(self) -> int:
        """Since this was made."""
        return self._work.failures


def run_pass(passes: Iterable[StorePasses], clock: Callable[[], datetime]) -> int:
    """One pass over all stores, with its metrics; gives how often something failed."""
    stores = list(passes)
    begin = clock()
    before = sum(store.failures for store in stores)
    surveys = [(store, *store.survey(begin)) for store in stores]
    tell((backlog for _, backlog, _ in surveys), begin)
    left = [store.carry_out(work, begin) for store, _, work in surveys]
    end = clock()
    tell(left, end)
    metrics.PASSES.inc()
    metrics.LAST_PASS.set(end.timestamp())
    metrics.PASS_SECONDS.observe((end - begin).total_seconds())
    return sum(store.failures for store in stores) - before


def tell(backlogs: Iterable[Backlog], now: datetime) -> None:
    """Sets the gauges."""
    several = list(backlogs)
    for layer in metrics.LAYERS:
        metrics.BACKLOG_OBJECTS.labels(layer=layer).set(sum(each.objects.get(layer, 0) for each in several))
        metrics.COVERED_OBJECTS.labels(layer=layer).set(sum(each.covered.get(layer, 0) for each in several))
    oldest = min((since for each in several for since in each.since), default=now)
    metrics.BACKLOG_OLDEST_SECONDS.set(max(0.0, (now - oldest).total_seconds()))
