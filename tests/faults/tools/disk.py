"""A folder whose disk fills up or becomes read-only on command: a small tmpfs of its own.

Mounting needs root, or user namespaces for everybody: see `enter_private_namespace`.
"""

import atexit
import ctypes
import errno
import functools
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from faults.tools.log_watch import Logs, LogWatch, no_logs

REFUSAL = (
    r"No space left on device|ENOSPC|Read-only file system|EROFS|MISCONF"
    r"|(Short write while|Error) writing to the AOF file"
)
SOURCE = "faulty-disk"
MIB = 1 << 20
COMMAND_SECONDS = 30.0
SHRINK_SECONDS = 5.0

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000


class FaultyDisk:
    """`folder` on a file system of its own of `size_mb`; made before the processes that use it start.

    What is in the folder before is hidden until `close`, which takes the file system away with all that is on it; at
    the latest that happens when this process ends. A fault holds from the call on, until `heal`.

    `hits` counts the lines in `logs` that tell of a refused write since construction: nothing else shows from outside
    that one was tried. Valkey's log and those of our services name the error; they must lie on another disk.
    """

    def __init__(self, folder: Path, size_mb: int = 64, *, logs: Logs = no_logs) -> None:
        reason = self.missing()
        if reason is not None:
            raise RuntimeError(reason)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._size_bytes = size_mb * MIB
        self._watch = LogWatch(REFUSAL, logs)
        self._lock = threading.Lock()
        self._mounted = False
        self._covered = False
        _run("mount", "-t", "tmpfs", "-o", f"size={self._size_bytes},mode=755", SOURCE, str(self.folder))
        self._mounted = True
        atexit.register(self.close)

    @classmethod
    def missing(cls) -> str | None:
        """Why it does not work here, None where it does."""
        return _why_no_mount()

    @property
    def hits(self) -> int:
        return self._watch.count()

    @property
    def free_bytes(self) -> int:
        """What can still be written now."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def full(self) -> None:
        """No free page is left: writes get ENOSPC, unless a file is deleted before.

        Up to 4 KiB still fit into the last page of a file that is open, and empty files can be made.
        """
        with self._lock:
            self._uncover()
            deadline = time.monotonic() + SHRINK_SECONDS
            while True:
                try:
                    self._resize(max(self._used_bytes(), os.sysconf("SC_PAGE_SIZE")))
                    return
                except RuntimeError:  # it has grown since
                    if time.monotonic() > deadline:
                        raise

    def read_only(self) -> None:
        """What is opened, made, renamed or deleted from now on gets EROFS.

        A file that is open for writing stays so: the kernel lets no disk become read-only under a writer. Valkey has
        its append-only file open and reaches its folder as its working directory: it notices nothing, and wants `full`.
        """
        with self._lock:
            if not self._covered:
                # A read-only view of the folder over the folder itself; remounting would be refused while it is in use.
                _run("mount", "--bind", str(self.folder), str(self.folder))
                self._covered = True
                _run("mount", "-o", "remount,bind,ro", SOURCE, str(self.folder))

    def heal(self) -> None:
        """There is room again, and it can be written to."""
        with self._lock:
            if self._mounted:
                self._uncover()
                self._resize(self._size_bytes)

    def close(self) -> None:
        """Takes the file system away; processes that still use it keep it until they end."""
        with self._lock:
            if self._mounted:
                self._uncover()
                _run("umount", "--lazy", str(self.folder))
                self._mounted = False
                atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _uncover(self) -> None:
        if self._covered:
            _run("umount", "--lazy", str(self.folder))
            self._covered = False

    def _used_bytes(self) -> int:
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def _resize(self, size_bytes: int) -> None:
        """Raises RuntimeError where more than that is used meanwhile."""
        # Source and type are said again: without them mount takes the old options along, and as another user's root
        # the kernel refuses to be told the owner that it has told.
        _run("mount", "-t", "tmpfs", "-o", f"remount,size={size_bytes}", SOURCE, str(self.folder))


def enter_private_namespace() -> str | None:
    """From now on mounts of this process and its children are theirs alone, and vanish with the last of them.

    To be called at the start, before there are threads: those that exist already stay outside. Where this process is
    not root it becomes so inside, if the machine gives everybody user namespaces. Returns why it cannot be, else None.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS if uid == 0 else _CLONE_NEWNS | _CLONE_NEWUSER
    if sys.platform != "linux":
        return "namespaces exist on Linux only"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        return f"no mount namespace of its own: {errno.errorcode[ctypes.get_errno()]}"
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    _run("mount", "--make-rprivate", "/")
    _why_no_mount.cache_clear()
    return None


@functools.cache
def _why_no_mount() -> str | None:
    if sys.platform != "linux":
        return "a disk of its own needs Linux"
    with tempfile.TemporaryDirectory(prefix="disk") as folder:
        try:
            _run("mount", "-t", "tmpfs", "-o", "size=64k", SOURCE, folder)
        except (OSError, RuntimeError) as error:
            return (
                f"a file system cannot be mounted here (it needs root with CAP_SYS_ADMIN): {str(error).splitlines()[0]}"
            )
        _run("umount", folder)
    return None


def _run(*command: str) -> None:
    """Raises RuntimeError with what the command said, OSError where there is no such command."""
    found = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if found.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {found.stderr.strip()}")
