"""The objects of a partition that count: all but those that another one covers, in the order of their rows.

Every reader of ours asks here. A listing alone nearly always tells that an object covers nothing: the compactor merges
only what is closed, so that a merged object is always made after the end of the hour or day in its name. Only of those
the footer is read, once in the life of the process.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.parquet.covers import Covers, name_of, read_covers
from daedalus_common.stores import LocalDisk, ObjectInfo, ObjectMissing, ObjectStore

_READERS = 8
_KEPT = 512
"""Footers of which something is kept: 12 KB of one that covers an hour's 720 objects, 280 KB of one that covers a day's
17,280 (so 140 MB at worst), 200 bytes of any other."""


@dataclass(frozen=True, slots=True)
class Current:
    """What counts of a listing."""

    objects: tuple[ObjectInfo, ...] = ()
    """By folder, within each in the order of the rows: a merged object stands where the first that it covers stood."""
    covers: Mapping[str, Covers] = field(default_factory=dict)
    """What the objects that count cover, of those that cover any, by key."""
    covered: tuple[ObjectInfo, ...] = ()
    """What is still there and no longer counts."""
    gone: tuple[str, ...] = ()
    """The keys that might cover others and were gone before anybody could look: the listing is not what is there."""

    def names(self) -> list[str]:
        """The keys of all objects that ever counted, as far as it is known: of those covered, too."""
        covered = {key for covers in self.covers.values() for key, _ in covers.items()}
        return sorted({info.key for info in self.objects} | covered)


@dataclass(frozen=True, slots=True)
class _Head:
    covers: Covers = field(default_factory=Covers)
    key_hash: str = ""


def current(store: ObjectStore, infos: Iterable[ObjectInfo]) -> Current:
    """What counts of these objects, which are whole folders as listed. Raises StoreError.

    An object whose footer is damaged covers nothing, nor does one that is gone.
    """
    listed = list(infos)
    heads, gone = _heads(store, [info for info in listed if may_cover(info)])
    covering = {key: head.covers for key, head in heads.items() if head.covers}
    if not covering:
        return Current(tuple(sorted(listed, key=lambda info: _order(info, {}, ()))), gone=gone)
    made = {info.key: covering[info.key].made or info.modified for info in listed if info.key in covering}
    places: dict[str, Sequence[str]] = {}
    counting, covered = [], []
    for info in listed:
        coverers = [key for key, covers in covering.items() if key != info.key and info.key in covers]
        if coverers and _is_stood_for(store, info, coverers, covering, made):
            covered.append(info)
        else:
            counting.append(info)
            places[info.key] = coverers
    kept = {info.key: covering[info.key] for info in counting if info.key in covering}
    ordered = sorted(counting, key=lambda info: _order(info, kept, places[info.key]))
    return Current(tuple(ordered), kept, tuple(covered), gone)


def may_cover(info: ObjectInfo) -> bool:
    """Whether an object may be a merged one, by its listing."""
    name = name_of(info.key)
    try:
        return info.key.endswith(".parquet") and (name is None or info.modified >= name.end)
    except ValueError:
        return True


def covered_by(store: ObjectStore, key: str) -> list[str]:
    """The keys of what an object stands for and that is still there; none where it is gone, or covers nothing."""
    info = store.head(key)
    head = None if info is None or not may_cover(info) else _look(store, info)
    if head is None or not head.covers:
        return []
    covered = current(store, store.list(key[: key.rfind("/") + 1])).covered
    # Whoever asks deletes them, which a clock alone must not decide.
    return [each.key for each in covered if _is_held(store, each, [head.covers])]


def _is_stood_for(
    store: ObjectStore,
    info: ObjectInfo,
    coverers: Sequence[str],
    covering: Mapping[str, Covers],
    made: Mapping[str, datetime],
) -> bool:
    # Of one that covers others itself the hash is known: two that covered each other would both be lost to readers.
    if info.key not in covering and any(info.modified <= made[key] for key in coverers):
        return True
    # Made later under a covered name: the same rows once more, or others under a name that had become free.
    return _is_held(store, info, [covering[key] for key in coverers])


def _is_held(store: ObjectStore, info: ObjectInfo, covering: Iterable[Covers]) -> bool:
    head = _look(store, info)
    return head is not None and any(covers.holds(info.key, head.key_hash) for covers in covering)


def _order(
    info: ObjectInfo, covers: Mapping[str, Covers], coverers: Sequence[str]
) -> tuple[str, tuple[str, int], tuple[str, int], str]:
    folder = info.key.rpartition("/")[0]
    name = name_of(info.key)
    own = ("", 0) if name is None else name.place
    place = covers[info.key].first if info.key in covers else None
    # Rows under a name that was used before came after all that the merged object holds.
    behind = [found.place for key in coverers if (found := name_of(key)) is not None]
    return folder, max(behind, default=place or own), own, info.key


def _heads(store: ObjectStore, infos: Sequence[ObjectInfo]) -> tuple[dict[str, _Head], tuple[str, ...]]:
    """By key, and the keys of those that are gone."""
    if len(infos) < _READERS or isinstance(store, LocalDisk):
        heads = [_look(store, info) for info in infos]
    else:
        with ThreadPoolExecutor(_READERS, "footers") as pool:
            heads = list(pool.map(lambda info: _look(store, info), infos))
    found = {info.key: head for info, head in zip(infos, heads, strict=True) if head is not None}
    return found, tuple(info.key for info in infos if info.key not in found)


def _look(store: ObjectStore, info: ObjectInfo) -> _Head | None:
    """None for one that is gone. One that is damaged, or not ours, covers nothing.

    Neither is remembered: what a store could not give once it may give the next time.
    """
    try:
        # Size and time tell an object from another one that had the same key before.
        return _head(cast(Hashable, store), info.key, info.size_bytes, info.modified)
    except ObjectMissing:
        return None
    except (pa.ArrowException, ValueError):
        return _Head()
    except OSError as error:
        # Arrow's word for a footer it cannot parse; an error of the disk has a number.
        if error.errno is not None:
            raise
        return _Head()


@lru_cache(maxsize=_KEPT)
def _head(store: ObjectStore, key: str, size_bytes: int, modified: datetime) -> _Head:
    del size_bytes, modified
    with store.open_input(key) as file:
        said = pq.read_metadata(file).metadata or {}
    return _Head(read_covers(said), said.get(b"daedalus.key_hash", b"").decode("ascii"))
