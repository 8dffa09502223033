"""Runs the bare loop beside a simulator."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_SCRIPT = Path(__file__).with_name("bare_loop.py")
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """How many books the loop awaited, and how many trades it was given."""

    books: int
    trades: int


class BareWatcher:
    """The running process."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        self._popen = popen
        self._usage = psutil.Process(popen.pid)

    def cpu_seconds(self) -> float:
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    def count_anew(self) -> None:
        """What it saw so far does not count."""
        self._popen.send_signal(signal.SIGUSR1)

    def stop(self) -> Seen:
        """Ends it and asks what it saw."""
        self._popen.terminate()
        printed, _ = self._popen.communicate(timeout=_STOP_SECONDS)
        return Seen(**json.loads(printed))


@contextmanager
def bare_watcher(url: str, symbol: str, *channels: str) -> Iterator[BareWatcher]:
    """Channels are `books` and `trades`."""
    popen = subprocess.Popen([sys.executable, str(_SCRIPT), url, symbol, *channels], stdout=subprocess.PIPE)
    try:
        yield BareWatcher(popen)
    finally:
        popen.kill()
        popen.wait()
        if popen.stdout is not None:
            popen.stdout.close()
