"""A wall clock that jumps, for single processes: libfaketime, preloaded, reads its offset from a file.

clock = FakeClock(folder)
stack.start("writer", env=clock.environment())
clock.jump(-30)
"""

import os
import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

LIBRARIES = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib*/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)
PYTHON_SITE = '''"""Imported by every Python process that has this folder in its PYTHONPATH."""

import select
import time


def sleep(seconds):
    """With its monotonic clock untouched libfaketime 0.9.10 fails clock_nanosleep, on which time.sleep stands."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select((), (), (), seconds)


time.sleep = sleep
'''


class FakeClock:
    """The clock of the processes that are started with its `environment`, any number of them.

    Their wall clock jumps; monotonic time, and so every timeout, goes on. `folder` holds the offset.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "offset").absolute()
        self._site = (folder / "python").absolute()
        self._site.mkdir(exist_ok=True)
        (self._site / "sitecustomize.py").write_text(PYTHON_SITE)
        # A copy for each clock: what a process has mapped tells whose it is. (Valkey writes over its environment.)
        self._library = (folder / "libfaketime.so.1").absolute()
        library = _library()
        if library is not None and not self._library.exists():
            shutil.copy(library, self._library)
        self._lock = threading.Lock()
        self.offset_seconds = 0.0
        self._hits = 0
        self._met: set[int] = set()
        self._is_wrong = False
        self._write()

    @classmethod
    def missing(cls) -> str | None:
        """Why it does not work here, None where it does."""
        if _library() is None:
            return "libfaketime is not installed (Debian: apt-get install libfaketime)"
        return None

    def environment(self) -> dict[str, str]:
        """To be added to the environment of a process at its start. Raises RuntimeError where it is `missing`."""
        if not self._library.exists():
            raise RuntimeError(self.missing())
        path = [str(self._site), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Read at each look at the clock (Valkey still takes 100k commands/s): the cache counts in whole seconds.
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "PYTHONPATH": os.pathsep.join(path),
        }

    def jump(self, seconds: float) -> None:
        """Forward, or back where negative, from what the clock shows now; holds for the next look at it."""
        with self._lock:
            self.offset_seconds += seconds
            self._is_wrong = True
            self._write()
            self._met.clear()
            self._meet()

    @property
    def hits(self) -> int:
        """Over all jumps, the processes whose clock it was: they ran at the jump, or began while it held."""
        with self._lock:
            self._meet()
            return self._hits

    def heal(self) -> None:
        """The clock shows the true time."""
        with self._lock:
            self._meet()
            self._is_wrong = False
            self.offset_seconds = 0.0
            self._write()

    def processes(self) -> list[int]:
        """The ids of the running processes below this one that see this clock."""
        return [process.pid for process in psutil.Process().children(recursive=True) if self._is_seen_by(process)]

    def _meet(self) -> None:
        if self._is_wrong:
            new = set(self.processes()) - self._met
            self._met |= new
            self._hits += len(new)

    def _is_seen_by(self, process: psutil.Process) -> bool:
        try:
            return str(self._library) in Path(f"/proc/{process.pid}/maps").read_text(errors="replace")
        except OSError:
            return False

    def _write(self) -> None:
        # By a rename: a process that looks at the clock meanwhile would read an empty file.
        new = self._file.with_suffix(".new")
        new.write_text(f"{self.offset_seconds:+.3f}\n")
        new.replace(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()


def _library() -> Path | None:
    root = Path("/")
    found = (path for pattern in LIBRARIES for path in sorted(root.glob(pattern.lstrip("/"))))
    return next(found, None)
