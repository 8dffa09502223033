"""The contract between Daedalus and wherever its objects are kept, and the values that cross it.

Two adapters fulfil it: `disk.LocalDisk` and `s3.S3Store`; `stores.open_store` picks one from settings.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import BinaryIO, ClassVar, Protocol


class StoreError(Exception):
    """A store could not do what it was asked. The text names the store, the cause and the fix; no secret."""

    retryable: ClassVar[bool] = False
    """True where the same call may succeed later without anybody changing the configuration."""


class StoreUnavailable(StoreError):
    """The store does not answer, or answers that it cannot right now. Keep the data, wait, call again."""

    retryable = True


class StoreFull(StoreUnavailable):
    """No space or quota left. Retryable: it ends as soon as somebody frees space."""


class StoreDenied(StoreError):
    """Credentials or permissions are refused: unknown access key, wrong secret, no right, read-only disk."""


class StoreMisconfigured(StoreError):
    """The settings cannot work: no such bucket, a file where a directory is needed, no create-only writes."""


class ObjectMissing(StoreError):
    """There is no object under this key."""


class CreateResult(enum.Enum):
    """What `ObjectStore.create` found."""

    CREATED = "created"
    """The object was not there; now it is, whole and durable."""
    EXISTS = "exists"
    """An object was there already, whole and durable; it was left as it is. It may be ours, from an attempt
    whose answer was lost: the caller compares."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of one object without reading it."""

    key: str
    size_bytes: int
    modified: datetime
    """Aware, UTC, by the clock of the store."""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """As given to `create`. Only `head` on S3 fills it: no listing carries it, no disk keeps it."""


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What `ObjectStore.probe` saw; the service logs it at startup."""

    backend: str
    """`local` or `s3`."""
    location: str
    """As `ObjectStore.describe`."""
    create_seconds: float
    """How long a small durable create took."""
    endpoint_url: str | None = None
    bucket: str | None = None
    addressing: str | None = None
    """`path` (http://host/bucket/key) or `auto` (http://bucket.host/key wherever the names allow it)."""
    server: str | None = None
    """How the server names itself."""
    free_bytes: int | None = None
    notes: tuple[str, ...] = ()
    """What works but should be known, one sentence each."""


class ObjectStore(Protocol):
    """A place that keeps immutable objects under keys, until they are deleted.

    The contract, which `tests/stores/test_object_store.py` checks on every adapter:

    - **Create-only.** `create` never changes an object that exists. Of any number of concurrent calls with
      one key, from any number of processes, exactly one creates.
    - **Whole or absent.** No reader, and no listing, ever sees a part of an object, whenever the writer dies.
    - **Durable.** When `create` returns, with either result, the object survives a power cut (on a disk: with
      `fsync` on). Only then may a cursor move.
    - **Retry is safe.** After an error the object may or may not exist. Calling again with the same arguments
      gives CREATED or EXISTS.
    - **Errors are `StoreError`s**, and nothing else: `retryable` tells whether waiting can help. A key or
      metadata that breaks the rules below is a bug of the caller: ValueError.
    - **Thread-safe.** All calls block; the writer makes them from a pool of threads.

    A key is a relative path of non-empty segments joined by `/`, at most 1,024 UTF-8 bytes (with the prefix of
    an S3 store), 255 a segment; no segment is `.` or `..` or has a control character or a backslash. Segments named
    `.daedalus-….tmp` are reserved for unfinished files: listings hide them.
    Metadata: keys of `a-z`, `0-9` and `-`, any non-empty text as value, together at most 2,048 bytes once encoded.
    """

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        """Keep `data` under `key` unless there is an object already.

        S3 keeps `metadata` with it, for `head`; a disk does not.
        """
        ...

    def read(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissing."""
        ...

    def open_input(self, key: str) -> BinaryIO:
        """The object as a seekable binary file that fetches only what is read, such as a Parquet footer.

        Close it. Raises ObjectMissing.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """What is known of the object, None if there is none."""
        ...

    def list(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`; with `start_after`, those whose key is greater.

        Ascending by key within a folder (the key up to its last `/`). Across folders the order is the server's:
        SeaweedFS lists `a/1` before `a-b/1`, S3 after it. For the same reason `start_after` must lie in the
        folder that `prefix` names, and that folder should hold objects only, no folders beside them. It need
        not exist: `…/day=3/part_20260203T14` skips the parts of earlier hours.
        """
        ...

    def folders(self, prefix: str = "") -> Iterator[str]:
        """The names, ascending and without a slash, of the folders right below the folder `prefix`.

        `prefix` is empty or ends with `/`; what is not there has no folders. A folder that holds nothing any more
        may still be named: a disk and SeaweedFS keep it, S3 does not.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; it stays removed after a power cut. Fine if there is none."""
        ...

    def probe(self) -> StoreReport:
        """Check at startup, by doing it, that this store can keep the contract; leave nothing behind.

        Raises the StoreError that says what is wrong and how to put it right.
        """
        ...

    def describe(self) -> str:
        """Where this is, for people: `local disk /data` or `s3://bucket/prefix at http://host:9000`."""
        ...
