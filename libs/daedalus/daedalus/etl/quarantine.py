"""Damaged segments, as they were when they were put aside: one that has changed since may be of use again."""

from collections.abc import Iterable

from msgspec.structs import replace

from daedalus.etl.chunks import BadSegment
from daedalus_common.stores import ObjectInfo, ObjectStore


def as_found(store: ObjectStore, segments: Iterable[BadSegment]) -> tuple[BadSegment, ...]:
    """With what each object is now. Raises StoreError."""
    return tuple(replace(segment, found=_said(store.head(segment.key))) for segment in segments)


def changed(store: ObjectStore, segments: Iterable[BadSegment]) -> tuple[str, ...]:
    """The keys of those that are there and no longer what they were. Raises StoreError."""
    infos = ((segment, store.head(segment.key)) for segment in segments)
    return tuple(segment.key for segment, info in infos if info is not None and _said(info) != segment.found)


def _said(info: ObjectInfo | None) -> str:
    return "" if info is None else f"{info.size_bytes} bytes of {info.modified.isoformat()}"
