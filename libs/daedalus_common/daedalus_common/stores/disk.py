"""Objects as files under a directory of the local disk."""

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BufferedReader, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from daedalus_common.stores.keys import (
    check_folder,
    check_key,
    check_listing,
    encode_metadata,
    is_reserved,
    is_unicode,
    reserved_name,
)
from daedalus_common.stores.object_store import (
    CreateResult,
    ObjectInfo,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreReport,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LEFTOVER_AGE = timedelta(hours=1)
"""An unfinished file this old belongs to a process that died: a create takes milliseconds to seconds."""

_REMEMBERED_FOLDERS = 10_000  # some 5 MB of paths; a year of hourly partitions would be 250,000

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_WRONG_PLACE = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EFBIG})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


class LocalDisk:
    """`ObjectStore` on a local file system.

    A create writes a temporary file in the object's own folder, syncs it, links it to its name (a link,
    unlike a rename, fails if the name is taken) and syncs the folder, as well as the parent of every folder
    that this process has not yet synced: a folder lost in a power cut takes its objects with it.

    `fsync=False` skips all syncs: faster, and a power cut can lose objects reported as created.
    `role` names the settings section in error texts. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        fsync: bool = True,
        role: str = "storage",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = base_dir.absolute()
        self._fsync = fsync
        self._role = role
        self._clock = clock
        self._durable: set[Path] = set()

    def __repr__(self) -> str:
        return f"LocalDisk({str(self._base)!r}, fsync={self._fsync})"

    def describe(self) -> str:
        return f"local disk {self._base}"

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        path = self._path(key)
        encode_metadata(metadata)
        try:
            return self._create(path, data)
        except OSError as error:
            raise self._translated(error, f"create {key}") from error

    def read(self, key: str) -> bytes:
        with self.open_input(key) as file:
            return file.read()

    def open_input(self, key: str) -> BinaryIO:
        try:
            return BufferedReader(_ObjectFile(self._path(key), lambda error: self._translated(error, f"read {key}")))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectMissing(f"{self.describe()}: there is no object {key}") from None
        except OSError as error:
            raise self._translated(error, f"read {key}") from error

    def head(self, key: str) -> ObjectInfo | None:
        try:
            return _info(key, self._path(key).stat())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._translated(error, f"look at {key}") from error

    def list(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        check_listing(prefix, start_after)
        folder = prefix[: prefix.rfind("/") + 1]
        try:
            yield from self._walk(folder, prefix, start_after)
        except OSError as error:
            raise self._translated(error, f"list {prefix or 'everything'}") from error

    def folders(self, prefix: str = "") -> Iterator[str]:
        check_folder(prefix)
        try:
            names = sorted(name[:-1] for name in _entries(self._base / prefix) if name.endswith("/"))
        except OSError as error:
            raise self._translated(error, f"list {prefix or 'everything'}") from error
        yield from names

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            self._unlink(path)
        except OSError as error:
            raise self._translated(error, f"delete {key}") from error

    def probe(self) -> StoreReport:
        try:
            self._ensure_folder(self._base)
            leftovers = self._remove_leftovers()
            create_seconds = self._try_out()
            free_bytes = shutil.disk_usage(self._base).free
        except OSError as error:
            raise self._translated(error, "keep objects there") from error
        notes = []
        if leftovers:
            notes.append(f"removed {leftovers} unfinished files that a crash had left behind")
        if not self._fsync:
            notes.append("fsync is off: a power cut can lose objects already reported as created")
        return StoreReport("local", self.describe(), create_seconds, free_bytes=free_bytes, notes=tuple(notes))

    def _path(self, key: str) -> Path:
        return self._base / check_key(key)

    def _create(self, path: Path, data: bytes | memoryview) -> CreateResult:
        try:
            return self._link_new(path, data)
        except FileNotFoundError:
            # Somebody removed the folder (retention) or the temporary file (a cleanup after the clock jumped
            # by more than an hour) under our hands: once more, from the beginning.
            self._durable.clear()
            return self._link_new(path, data)

    def _link_new(self, path: Path, data: bytes | memoryview) -> CreateResult:
        self._ensure_folder(path.parent)
        if path.exists():
            # The link below would tell as well, but only after all bytes are written, and not on a full disk.
            return self._found(path)
        temp = path.with_name(reserved_name("new"))
        try:
            self._write(temp, data)
            _link(temp, path)
        except FileExistsError:
            return self._found(path)
        finally:
            temp.unlink(missing_ok=True)
        if self._fsync:
            _sync(path.parent)
        return CreateResult.CREATED

    def _found(self, path: Path) -> CreateResult:
        if not stat.S_ISREG(path.stat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if self._fsync:
            # Its creator may have died before it synced, or have run with fsync off.
            _sync(path)
            _sync(path.parent)
        return CreateResult.EXISTS

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        # Not tempfile: its mode 0600 would hide the objects from readers under other users.
        with path.open("xb") as file:
            file.write(data)
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())

    def _unlink(self, path: Path) -> None:
        # A folder is no object. What is missing may have been deleted by a process that died before it synced.
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
        if self._fsync:
            with suppress(FileNotFoundError, NotADirectoryError):
                _sync(path.parent)

    def _ensure_folder(self, folder: Path) -> None:
        if folder in self._durable:
            return
        # A folder found below the base may have been made by a process that died before it synced the parent;
        # the base and what is above it are the user's, and only synced where they are made here.
        if self._base in folder.parents or not folder.is_dir():
            self._ensure_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            if self._fsync:
                _sync(folder.parent)
        if len(self._durable) >= _REMEMBERED_FOLDERS:
            self._durable.clear()
        self._durable.add(folder)

    def _walk(self, folder: str, prefix: str, start_after: str | None) -> Iterator[ObjectInfo]:
        """Objects below `folder` (relative, ends with `/` or is empty) by the UTF-8 bytes of their keys."""
        # A folder's name sorts with its '/': 'a-b' < 'a/…' < 'aa', as in the whole keys.
        for name, entry in sorted(_entries(self._base / folder).items()):
            key = folder + name
            if name.endswith("/"):
                related = key.startswith(prefix) or prefix.startswith(key)
                if related and (start_after is None or key > start_after or start_after.startswith(key)):
                    yield from self._walk(key, prefix, start_after)
            elif key.startswith(prefix) and (start_after is None or key > start_after):
                try:
                    info = _info(key, entry.stat())
                except FileNotFoundError:
                    continue
                if info is not None:
                    yield info

    def _remove_leftovers(self) -> int:
        before = self._clock() - LEFTOVER_AGE.total_seconds()
        removed = 0
        for folder, _, names in os.walk(self._base):
            for path in (Path(folder, name) for name in names if is_reserved(name)):
                try:
                    if path.lstat().st_mtime < before:
                        path.unlink()
                        removed += 1
                except FileNotFoundError:
                    continue
        return removed

    def _try_out(self) -> float:
        path = self._base / reserved_name("probe")
        started = time.perf_counter()
        try:
            first = self._create(path, b"daedalus")
            seconds = time.perf_counter() - started
            second = self._create(path, b"another")
        finally:
            path.unlink(missing_ok=True)
        if (first, second) != (CreateResult.CREATED, CreateResult.EXISTS):
            cause = "its file system replaces files that exist"
            raise StoreMisconfigured(f"{self.describe()}: {cause}; set {self._role}.base_dir to another one")
        return seconds

    def _translated(self, error: OSError, doing: str) -> StoreError:
        where = f": {error.filename}" if error.filename and str(error.filename) != str(self._base) else ""
        text = f"{self.describe()}: cannot {doing}: {error.strerror or error}{where}"
        setting = f"{self._role}.base_dir"
        if isinstance(error, _NoLinks):
            fix = f"set {setting} to a directory on ext4, xfs or btrfs, not on FAT or exFAT"
            return StoreMisconfigured(f"{text}: the file system has no hard links; {fix}")
        if error.errno in _FULL:
            return StoreFull(f"{text}; free some space, or set {setting} to a directory on a larger disk")
        if error.errno in _DENIED:
            fix = f"let user id {os.geteuid()} write there, or set {setting} to a directory where it may"
            return StoreDenied(f"{text}; {fix}")
        if error.errno in _WRONG_PLACE or isinstance(error, FileExistsError):
            return StoreMisconfigured(f"{text}; set {setting} to a directory that only Daedalus writes to")
        return StoreUnavailable(f"{text}; check the disk of {setting}")


class _ObjectFile(FileIO):
    """Of an object that is read, whose disk may fail at any byte: also then there are `StoreError`s, and no others."""

    def __init__(self, path: Path, translated: Callable[[OSError], StoreError]) -> None:
        super().__init__(path, "rb")
        self._translated = translated

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise self._translated(error) from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise self._translated(error) from error


class _NoLinks(OSError):
    """The file system cannot link."""


def _link(existing: Path, path: Path) -> None:
    try:
        path.hardlink_to(existing)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise _NoLinks(error.errno, error.strerror, str(path)) from error
        raise


def _info(key: str, found: os.stat_result) -> ObjectInfo | None:
    if not stat.S_ISREG(found.st_mode):
        return None
    return ObjectInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _entries(folder: Path) -> dict[str, os.DirEntry[str]]:
    """What in a folder can be part of a key, by name; the names of folders end with `/`."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # Names that are not UTF-8 were put there by somebody else.
                if is_unicode(entry.name) and not is_reserved(entry.name):
                    found[entry.name + "/" if entry.is_dir() else entry.name] = entry
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
