"""The parts of a task, created where nobody else's rows are, or in their place."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from daedalus.etl.foreign_parts import Partition, Span, folders, survey
from daedalus.etl.parts import DraftPart
from daedalus.etl.problems import EtlError, Occupied
from daedalus.etl.replacing import Stretch, foreign, objection, outdated, reaches_past
from daedalus.etl.task import Bench, Part, Task
from daedalus_common.parquet.covers import handed_on
from daedalus_common.parquet.objects import Identity, read_identity
from daedalus_common.plans import HOUR_NS, Segment, object_key
from daedalus_common.stores import CreateResult, ObjectStore
from daedalus_features import FeatureConfig, transforms

_WAY_OUT = "give --restart --replace to compute the market anew and put its rows in their place"


def publish(
    store: ObjectStore,
    bench: Bench,
    task: Task,
    drafts: Sequence[DraftPart],
    counters: Mapping[str, int],
    stretch: Stretch,
) -> tuple[list[Part], list[str]]:
    """Creates the parts; gives them with the keys of others' parts that they replaced.

    `counters` tells the last counter that this run has given in a partition. Raises, before anything is created,
    Occupied where others' parts are in the way, and EtlError where an earlier attempt at the task has left parts
    with other rows than these.
    """
    written = _hours(drafts)
    near = {*stretch.hours, *(hour for hours in written.values() for hour in hours)}
    if not near:
        return [], []
    if bench.replace and not task.after_ts:
        near.add(stretch.end // HOUR_NS)  # what is in the way there is in the way of the whole run
    names = folders(store, _layers(bench.tables), task.market, near) | written.keys()
    partitions = survey(store, names, max(near))
    earlier = _earlier(store, task, drafts, partitions)
    _check(bench, task, drafts, partitions, stretch, is_begun=bool(earlier))
    taken = {name: max(partition.counter, counters.get(name, 0)) for name, partition in partitions.items()}
    parts = []
    for draft in drafts:
        at = draft.folder
        replaced_here = [span for span in foreign(partitions[at], task.owner) if span.touches(draft.ascending_hours)]
        covers = _covers(replaced_here)
        span = earlier.get(_mark(draft))
        counter = taken[at] + 1 if span is None else span.found.counter
        taken[at] = max(taken[at], counter)
        parts.append(_create(store, task, draft, counter, covers))
    replaced = outdated(partitions, task.owner, stretch, written) if bench.replace else []
    for key in replaced:
        store.delete(key)
    return parts, replaced


def _covers(replaced: Iterable[Span]) -> dict[str, str]:
    """What the footer says of a part that takes the place of others."""
    unknown = datetime.min.replace(tzinfo=UTC)
    return handed_on((span.found.key, span.key_hash, span.found.modified or unknown, span.covers) for span in replaced)


_Mark = tuple[str, str, int, int]
"""Partition, schema, and the times of the first and last row: what one task has one part of."""


def _mark(draft: DraftPart) -> _Mark:
    return draft.folder, draft.place.schema, draft.first, draft.last


def _layers(tables: frozenset[str]) -> dict[str, str]:
    """The layers of tables by name. Users' transforms must be loaded."""
    known = (table for each in transforms(FeatureConfig()) for table in each.tables)
    return {table.name: table.layer for table in known if table.name in tables}


def _hours(drafts: Sequence[DraftPart]) -> dict[str, list[int]]:
    """The hours of the rows by partition, ascending."""
    hours: dict[str, set[int]] = {}
    for draft in drafts:
        hours.setdefault(draft.folder, set()).update(draft.hours)
    return {name: sorted(of_name) for name, of_name in hours.items()}


def _earlier(
    store: ObjectStore, task: Task, drafts: Sequence[DraftPart], partitions: Mapping[str, Partition]
) -> dict[_Mark, Span]:
    """The parts that this very task has created before a crash, each the same as one of the drafts."""
    own = {
        (name, span.schema, span.first, span.last): span
        for name, partition in partitions.items()
        for span in partition.spans
        if (span.job, span.task) == (task.owner, task.number)
    }
    known = {_mark(draft) for draft in drafts}
    for mark, span in own.items():
        if mark not in known:
            raise EtlError(
                f"{store.describe()}: {span.found.key} is of an earlier attempt at task {task.number} of "
                f"{task.market.name}, which has read other input than there is now: a segment was damaged or repaired, "
                f"or a file has grown; {_WAY_OUT}"
            )
    return own


def _check(
    bench: Bench,
    task: Task,
    drafts: Sequence[DraftPart],
    partitions: Mapping[str, Partition],
    stretch: Stretch,
    *,
    is_begun: bool,
) -> None:
    for draft in drafts:
        for span in foreign(partitions[draft.folder], task.owner):
            said = objection(span, stretch, replaces=bench.replace) if span.touches(draft.ascending_hours) else None
            if said:
                # What an earlier attempt has written belongs to a task that must stay as it is.
                raise (EtlError if is_begun else Occupied)(f"{span.found.key} {said}")
    tables = {_table(draft.folder) for draft in drafts} if bench.replace and not task.after_ts else set()
    for name, partition in partitions.items():
        for span in foreign(partition, task.owner) if _table(name) in tables else ():
            if reaches_past(span, stretch):
                said = objection(span, stretch, replaces=True)
                raise (EtlError if is_begun else Occupied)(f"{span.found.key} {said}")


def _table(folder: str) -> str:
    """The table of a partition, of bars with their duration."""
    return folder.partition("/exchange=")[0]


def _create(store: ObjectStore, task: Task, draft: DraftPart, counter: int, covers: Mapping[str, str]) -> Part:
    place = draft.place
    data, identity = draft.finished(task.market, task.owner, task.number, covers)
    segment = Segment(place.table, place.partition, place.stamp, counter, identity.rows, place.schema)
    key = object_key(segment)
    created = store.create(key, data, _metadata(identity)) is CreateResult.CREATED
    if not created or covers:
        _verify(store, key, identity)
    return Part(draft.folder, counter, key, place.table, identity.rows, len(data), created)


def _verify(store: ObjectStore, key: str, identity: Identity) -> None:
    with store.open_input(key) as file:
        found = read_identity(file)
    if found != identity:
        raise EtlError(
            f"{store.describe()}: {key} exists with other rows than this run would write: found {found}, "
            f"expected {identity}; {_WAY_OUT}"
        )


def _metadata(identity: Identity) -> dict[str, str]:
    return {
        "first-id": identity.first_id,
        "last-id": identity.last_id,
        "rows": str(identity.rows),
        "key-hash": identity.key_hash,
    }
