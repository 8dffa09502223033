"""One child process: started, measured, signalled. No decisions here."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LOG_LIMIT_BYTES = 50_000_000
"""A log is moved aside (`writer.log.1`) at this size: a child that warns all night must not fill the disk."""

_TETHER = Path(__file__).with_name("tether.py")
_TAIL_BYTES = 64_000


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a child. `argv[0]` is a path; `log` gets stdout and stderr, appended."""

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str]
    nice: int = 0
    cpu_affinity: tuple[int, ...] = ()
    """Cores it may run on; empty = all."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when we die."""
    inherit: tuple[int, ...] = ()
    """File descriptors it keeps open."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses: resident bytes, and percent of one core since the last look."""

    rss_bytes: int
    cpu_percent: float


class Process:
    """A running child in a session of its own, so that Ctrl-C in the terminal reaches the supervisor only."""

    def __init__(self, command: Command) -> None:
        """Starts it; raises OSError where that is impossible. Call it from the main thread: the kernel's word to the
        child comes when the *thread* that started it ends."""
        self.command = command
        self.log_offset = command.log.stat().st_size if command.log.exists() else 0
        with command.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(_TETHER), str(int(command.death_signal)), str(os.getpid())),
                    *command.argv,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(command.env),
                start_new_session=True,
                pass_fds=command.inherit,
            )
        self._psutil = psutil.Process(self._popen.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._popen.poll()

    def apply_priority(self) -> str | None:
        """Sets nice and CPU affinity; a text that says what the system refused, None if all is as configured."""
        try:
            if self.command.nice:
                self._psutil.nice(self.command.nice)
            if self.command.cpu_affinity and hasattr(self._psutil, "cpu_affinity"):
                self._psutil.cpu_affinity(list(self.command.cpu_affinity))
        except psutil.NoSuchProcess:
            return None
        except (psutil.AccessDenied, PermissionError):
            return f"supervisor.nice {self.command.nice} is refused: a negative value needs root or CAP_SYS_NICE"
        except (OSError, ValueError) as error:
            return f"supervisor.cpu_affinity {list(self.command.cpu_affinity)} is refused: {error}"
        return None

    def usage(self) -> Usage | None:
        """What it uses now; None when it is gone."""
        try:
            with self._psutil.oneshot():
                return Usage(self._psutil.memory_info().rss, self._psutil.cpu_percent(None))
        except psutil.Error:
            return None

    def terminate(self) -> None:
        """Asks it to finish; its own children are its own business."""
        if self._popen.poll() is None:
            self._popen.terminate()

    def kill(self) -> None:
        """Ends it and whatever it started, at once."""
        if self._popen.poll() is None:  # not yet reaped, so the number is still its own
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def last_lines(self, count: int = 15) -> tuple[str, ...]:
        """The end of what this process wrote to its log."""
        return read_tail(self.command.log, self.log_offset, count)


def read_tail(log: Path, offset: int, count: int) -> tuple[str, ...]:
    """The last `count` lines of what was written to `log` after `offset` bytes."""
    if not log.exists():
        return ()
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = min(offset, size)
        file.seek(max(start, size - _TAIL_BYTES))
        return tuple(file.read().decode(errors="replace").splitlines()[-count:])


def rotate_log(log: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> bool:
    """Moves a large log's content to `NAME.1`; the child goes on writing to the file, which it appends to."""
    if not log.exists() or log.stat().st_size < limit_bytes:
        return False
    with suppress(OSError):  # a full disk: then the old lines are worth less than the space
        shutil.copyfile(log, log.with_name(log.name + ".1"))
    os.truncate(log, 0)
    return True
