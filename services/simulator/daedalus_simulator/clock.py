"""Time as the simulator sees it, passed in so that a test can set it."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """``wall_ns`` since 1970; ``monotonic`` in seconds, for waits and deadlines."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic: Callable[[], float] = time.monotonic

    def wall_ms(self) -> int:
        return self.wall_ns() // 1_000_000
