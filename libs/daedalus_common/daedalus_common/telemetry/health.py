"""Is the service alive, can it work, and if not, why."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

_LOOP = "loop"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer to one question; `problems` maps a check's name to the reason why it fails."""

    ok: bool
    problems: dict[str, str]


class Health:
    """Collects what a service knows about itself; written by its loop, read by the HTTP thread.

    A service that has not begun its loop is *starting*: alive, but not ready. From its first `beat` on it must
    beat at least every `stalled_after`, otherwise it counts as hung. So beat first when the start-up work, which
    may take as long as it needs, is done.
    """

    def __init__(
        self,
        service: str,
        *,
        stalled_after: timedelta = timedelta(seconds=30),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self._stalled_after_seconds = stalled_after.total_seconds()
        self._clock = clock
        self._last_beat: float | None = None
        self._unready: dict[str, str] = {}
        self._lock = threading.Lock()

    def beat(self) -> None:
        """The loop made one more turn."""
        self._last_beat = self._clock()

    def mark_ready(self, check: str) -> None:
        """`check` holds."""
        with self._lock:
            self._unready.pop(check, None)

    def mark_unready(self, check: str, reason: str) -> None:
        """`check` does not hold; `reason` is one sentence for an operator, without secrets."""
        with self._lock:
            self._unready[check] = reason

    def liveness(self) -> HealthReport:
        """Not ok once the loop has stood still for longer than `stalled_after`."""
        stall = self._stall()
        return HealthReport(ok=not stall, problems=stall)

    def readiness(self) -> HealthReport:
        """Not ok before the first beat, while the loop stands still, and while a check does not hold."""
        with self._lock:
            problems = dict(self._unready)
        problems |= {_LOOP: "the service is starting"} if self._last_beat is None else self._stall()
        return HealthReport(ok=not problems, problems=problems)

    def _stall(self) -> dict[str, str]:
        if self._last_beat is None:
            return {}
        silence_seconds = self._clock() - self._last_beat
        if silence_seconds <= self._stalled_after_seconds:
            return {}
        bound = f"{self._stalled_after_seconds:g} s allowed"
        return {_LOOP: f"the main loop has not turned for {silence_seconds:.1f} s ({bound})"}
