"""The parts of a task, created where nobody else's rows are, or in their place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from daedalus.etl.foreign_parts import Found, Range, Span, in_the_way, look_up, nearby, spans
from daedalus.etl.parts import DraftPart
from daedalus.etl.problems import EtlError, Occupied
from daedalus.etl.task import Bench, Part, Task
from daedalus_common.parquet.objects import Identity, read_identity
from daedalus_common.plans import Segment, object_key
from daedalus_common.stores import CreateResult, ObjectStore


@dataclass(slots=True)
class _Folder:
    """What a partition holds already."""

    counter: int
    """The greatest one taken."""
    own: list[Span] = field(default_factory=list)
    """Parts of this very task, by an earlier attempt."""
    foreign: list[Span] = field(default_factory=list)


def publish(
    store: ObjectStore,
    bench: Bench,
    task: Task,
    drafts: Sequence[DraftPart],
    counters: Mapping[str, int],
    last_ts: int,
) -> tuple[list[Part], list[str]]:
    """Creates the parts; gives them with the keys of others' parts that they replaced.

    `counters` tells the last counter of partitions that this process has looked through before. `last_ts` is the time
    of the task's last event. Raises Occupied, before anything is created, where others' parts are in the way.
    """
    folders = {name: _look(store, task, name, drafts, counters) for name in {draft.folder for draft in drafts}}
    _check(bench, task, drafts, folders, last_ts)
    parts, replaced = [], []
    for draft in drafts:
        folder = folders[draft.folder]
        covers = [span.found.key for span in in_the_way(folder.foreign, task.owner, Range(draft.first, draft.last))]
        parts.append(_create(store, task, draft, folder, covers))
        replaced += covers
    for key in dict.fromkeys(replaced):
        store.delete(key)
    return parts, list(dict.fromkeys(replaced))


def _look(
    store: ObjectStore, task: Task, folder: str, drafts: Sequence[DraftPart], counters: Mapping[str, int]
) -> _Folder:
    if folder in counters:
        return _Folder(counters[folder])
    found: list[Found] = look_up(store, folder)
    mine = [draft for draft in drafts if draft.folder == folder]
    near = nearby(found, Range(min(draft.first for draft in mine), max(draft.last for draft in mine)))
    seen = spans(store, near)
    return _Folder(
        max((part.counter for part in found), default=0),
        own=[span for span in seen if (span.job, span.task) == (task.owner, task.number)],
        foreign=[span for span in seen if span.job != task.owner],
    )


def _check(bench: Bench, task: Task, drafts: Sequence[DraftPart], folders: Mapping[str, _Folder], last_ts: int) -> None:
    for draft in drafts:
        for span in in_the_way(folders[draft.folder].foreign, task.owner, Range(draft.first, draft.last)):
            objection = _objection(bench, span, last_ts)
            if objection:
                # What an earlier attempt has written belongs to a task that must stay as it is.
                begun = any(folder.own for folder in folders.values())
                raise (EtlError if begun else Occupied)(f"{span.found.key} {objection}")


def _objection(bench: Bench, span: Span, last_ts: int) -> str | None:
    """Why a part of others cannot be written over."""
    if span.is_unknown:
        return "is no part of Daedalus, and lies where this run would write; move it away"
    whose = f"another run (job {span.job})" if span.job else "the live featurizer, or somebody else"
    if not bench.replace:
        return (
            f"holds rows of {whose}, from {_time(span.first)} to {_time(span.last)}, where this run would write too; "
            "give --replace to put its rows in their place, or choose another --output"
        )
    if span.last > last_ts:
        return (
            f"holds rows of {whose} up to {_time(span.last)}, later than the input that was read, up to "
            f"{_time(last_ts)}: to replace it would lose them; end the run a day earlier with --to"
        )
    if span.first < bench.begin:
        return (
            f"holds rows of {whose} from {_time(span.first)}, before this run begins: to replace it would lose them; "
            "begin a day earlier with --from"
        )
    return None


def _create(store: ObjectStore, task: Task, draft: DraftPart, folder: _Folder, covers: Sequence[str]) -> Part:
    place = draft.place
    earlier = _earlier(store, folder, draft)
    data, identity = draft.finished(task.market, task.owner, task.number, covers)
    counter = earlier.found.counter if earlier else folder.counter + 1
    folder.counter = max(folder.counter, counter)
    segment = Segment(place.table, place.partition, place.stamp, counter, identity.rows, place.schema)
    key = object_key(segment)
    created = store.create(key, data, _metadata(identity)) is CreateResult.CREATED
    if not created or covers:
        _verify(store, key, identity)
    return Part(draft.folder, counter, key, place.table, identity.rows, len(data), created)


def _earlier(store: ObjectStore, folder: _Folder, draft: DraftPart) -> Span | None:
    """The same part, created before a crash."""
    for span in folder.own:
        if (span.first, span.last, span.schema) == (draft.first, draft.last, draft.place.schema):
            return span
    return None


def _verify(store: ObjectStore, key: str, identity: Identity) -> None:
    with store.open_input(key) as file:
        found = read_identity(file)
    if found != identity:
        raise EtlError(
            f"{store.describe()}: {key} exists with other rows than this run would write: found {found}, "
            f"expected {identity}; move it away, or start anew with --restart --replace"
        )


def _metadata(identity: Identity) -> dict[str, str]:
    return {
        "first-id": identity.first_id,
        "last-id": identity.last_id,
        "rows": str(identity.rows),
        "key-hash": identity.key_hash,
    }


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="seconds")
