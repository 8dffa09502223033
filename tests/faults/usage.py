"""Samples memory and open files of every service, twice a second."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

SAMPLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    """Monotonic, in seconds."""
    rss_bytes: int
    files: int


@dataclass(slots=True)
class Life:
    """One process from its start to its end."""

    role: str
    name: str
    pid: int
    samples: list[Sample] = field(default_factory=list)


class UsageLog:
    """`lives` lists every process that was followed."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self._followed: dict[int, tuple[psutil.Process, Life]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def follow(self, role: str, name: str, pid: int) -> None:
        life = Life(role, name, pid)
        with self._lock:
            self.lives.append(life)
            self._followed[pid] = (psutil.Process(pid), life)

    def forget(self, pid: int) -> None:
        """It is about to end."""
        with self._lock:
            self._followed.pop(pid, None)

    def peaks(self) -> Mapping[str, int]:
        """Role -> the highest memory of any of its processes, in bytes."""
        peaks: dict[str, int] = {}
        for life in self.lives:
            for sample in life.samples:
                peaks[life.role] = max(peaks.get(life.role, 0), sample.rss_bytes)
        return peaks

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            with self._lock:
                followed = list(self._followed.values())
            for process, life in followed:
                try:
                    with process.oneshot():
                        sample = Sample(time.monotonic(), process.memory_info().rss, process.num_fds())
                except psutil.Error:
                    continue
                life.samples.append(sample)
