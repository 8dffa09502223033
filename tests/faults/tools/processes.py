"""What can be done to a running process from outside, and what it takes of the machine."""

import os
import resource
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import psutil

from faults.tools.log_watch import Logs, LogWatch, no_logs


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and its children."""

    rss_bytes: int
    open_files: int
    threads: int
    cpu_seconds: float
    """Since they started; of children that have ended too, once their parent has waited for them."""


def pause(pid: int) -> None:
    """SIGSTOP: connections stay open, nothing is answered, leases run out."""
    os.kill(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    """SIGCONT."""
    os.kill(pid, signal.SIGCONT)


def kill(pid: int) -> None:
    """SIGKILL: also a paused process ends at once."""
    os.kill(pid, signal.SIGKILL)


def usage(pid: int) -> Usage:
    """What they take now. Raises psutil.NoSuchProcess where the process has ended."""
    whole = Usage(0, 0, 0, 0.0)
    first = psutil.Process(pid)
    for process in (first, *first.children(recursive=True)):
        try:
            with process.oneshot():
                times = process.cpu_times()
                whole = Usage(
                    whole.rss_bytes + process.memory_info().rss,
                    whole.open_files + process.num_fds(),
                    whole.threads + process.num_threads(),
                    whole.cpu_seconds + times.user + times.system + times.children_user + times.children_system,
                )
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            if process is first:
                raise
    return whole


def rss_bytes(pid: int) -> int:
    """Memory of the process and its children."""
    return usage(pid).rss_bytes


def open_files(pid: int) -> int:
    """Descriptors of the process and its children."""
    return usage(pid).open_files


class _Limit:
    """Lowers the soft limit of one resource of running processes; the hard one stays, so that it can be raised again.

    `logs` gives the log files in which a refusal can be read. `hits` counts such lines and the limited processes that
    ended: a refusal itself leaves no other trace.
    """

    resource: ClassVar[int]
    refusal: ClassVar[str]

    def __init__(self, logs: Logs = no_logs) -> None:
        self._watch = LogWatch(self.refusal, logs)
        self._before: dict[int, int] = {}
        self._ended: set[int] = set()
        self._lock = threading.Lock()

    @classmethod
    def missing(cls) -> str | None:
        """Why it does not work here, None where it does."""
        return None if sys.platform == "linux" else "limits of a running process can be set on Linux only"

    @property
    def hits(self) -> int:
        with self._lock:
            self._ended |= {pid for pid in self._before if not _is_running(pid)}
            return self._watch.count() + len(self._ended)

    def set(self, pid: int, soft: int) -> None:
        """The limit itself, instead of a headroom. Raises ProcessLookupError where the process has ended."""
        with self._lock:
            before, hard = resource.prlimit(pid, self.resource)
            self._before.setdefault(pid, before)
            resource.prlimit(pid, self.resource, (_least(soft, hard), hard))

    def heal(self, pid: int | None = None) -> None:
        """The limit is again what it was, of this process or of all."""
        with self._lock:
            for each in [pid] if pid is not None else list(self._before):
                self._restore(each)

    def _restore(self, pid: int) -> None:
        if pid not in self._before:
            return
        if not _is_running(pid):
            self._ended.add(pid)
            del self._before[pid]
            return
        soft = self._before.pop(pid)
        resource.prlimit(pid, self.resource, (soft, resource.prlimit(pid, self.resource)[1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()


class MemoryLimit(_Limit):
    """RLIMIT_AS: past the headroom every allocation fails, as on a machine that is out of memory.

    A Python process raises MemoryError and may go on; Valkey ends ("Out Of Memory allocating").
    """

    resource = resource.RLIMIT_AS
    refusal = r"MemoryError|Cannot allocate memory|Out Of Memory|bad_alloc|can't start new thread|malloc of size"

    def limit(self, pid: int, headroom_bytes: int) -> None:
        """So much more than now it gets. A heap that has free room inside is not stopped at once."""
        self.set(pid, int(psutil.Process(pid).memory_info().vms) + headroom_bytes)


class FileCountLimit(_Limit):
    """RLIMIT_NOFILE: past the headroom no file and no connection can be opened."""

    resource = resource.RLIMIT_NOFILE
    refusal = r"Too many open files|EMFILE"

    def limit(self, pid: int, headroom: int) -> None:
        """So many more than the highest descriptor it has now; gaps below that one are filled first."""
        numbers = (int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
        self.set(pid, max(numbers, default=0) + 1 + headroom)


class FileSizeLimit(_Limit):
    """RLIMIT_FSIZE: no file grows past the size.

    A Python process gets OSError EFBIG ("File too large"), a process that does not ignore SIGXFSZ (Valkey) is killed.
    """

    resource = resource.RLIMIT_FSIZE
    refusal = r"File too large|EFBIG"

    def limit(self, pid: int, size_bytes: int) -> None:
        self.set(pid, size_bytes)


def _least(soft: int, hard: int) -> int:
    return soft if hard == resource.RLIM_INFINITY else min(soft, hard)


def _is_running(pid: int) -> bool:
    """False also for one that has ended and that nobody has waited for yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
