"""What processes said in their logs since a moment: the evidence that a fault from outside has reached them."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

Logs = Callable[[], Iterable[Path]]
"""The log files there are now."""


def no_logs() -> Iterable[Path]:
    return ()


class LogWatch:
    """Counts the lines that match since construction, in every log that `logs` gives; each byte is read once."""

    def __init__(self, pattern: str, logs: Logs) -> None:
        self._pattern = re.compile(pattern.encode())
        self._logs = logs
        self._found = 0
        self._read: dict[Path, int] = {path: _size(path) for path in logs()}

    def count(self) -> int:
        """Lines so far. A line that is still being written counts when it is whole."""
        for path in self._logs():
            self._found += self._found_in(path)
        return self._found

    def _found_in(self, path: Path) -> int:
        start = self._read.get(path, 0)
        if _size(path) <= start:
            return 0
        with path.open("rb") as log:
            log.seek(start)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read[path] = start + len(whole)
        return sum(1 for line in whole.splitlines() if self._pattern.search(line))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
