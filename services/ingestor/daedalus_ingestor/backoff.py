"""How long to wait before the next attempt. Pure: chance is passed in."""

from dataclasses import dataclass
from datetime import timedelta

_DOUBLINGS = 30
"""More would overflow nothing but patience: 2^30 first delays are beyond every cap."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter and a cap; `max_attempts` is None for ever."""

    first_delay: timedelta
    max_delay: timedelta
    max_attempts: int | None = None
    enabled: bool = True

    def delay(self, failures: int, chance: float, at_least: float = 0.0) -> float | None:
        """Seconds to wait after `failures` attempts in a row came to nothing; None: give up.

        `chance` is in [0, 1). What worked until now (no failure yet) is tried again almost at once, spread over a
        tenth of the first delay so that many subscriptions do not knock together; then come delays between half
        and the whole of first, 2 x first, 4 x first ... up to the cap. `at_least` is what the other side asked for.
        """
        if not self.enabled or (self.max_attempts is not None and failures >= self.max_attempts):
            return None
        first = self.first_delay.total_seconds()
        if failures == 0:
            wait = first * 0.1 * chance
        else:
            doubled = first * 2 ** min(failures - 1, _DOUBLINGS)
            wait = min(self.max_delay.total_seconds(), doubled) * (0.5 + 0.5 * chance)
        return max(wait, at_least)
