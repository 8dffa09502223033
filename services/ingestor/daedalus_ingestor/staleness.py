"""Does a connection still deliver? Pure: counters and times are passed in.

Two signs of a connection that stands still:
    no message at all, pongs included, for `stale_after` (ccxt is made to ping three times as often), or
    no event for `stale_after` on a connection that used to be busier than that.

The second needs a measure of "busier", because hours without a trade are normal on a quiet market: the silence must
also be 20 times the mean time between the connection's latest arrivals, some hundred of them, so that a market may calm
down. For independent arrivals that happens by chance once in e^20 = 5e8 of them. Events that are seen together are one
arrival: trades come in bursts, and a hundred at once would make any pause after them look like the end.
"""

from datetime import timedelta

_TYPICAL_INTERVALS = 20
_ENOUGH_ARRIVALS = 10
_REMEMBERED_ARRIVALS = 200


class Pulse:
    """The life signs of one connection; `now` is a monotonic clock in seconds."""

    __slots__ = ("_arrivals", "_began", "_event_at", "_events", "_message_at", "_messages")

    def __init__(self, now: float) -> None:
        self._began = self._message_at = self._event_at = now
        self._messages = self._events = 0
        self._arrivals = 0.0
        """Since `_began`, which moves up: older ones count less and less."""

    def observe(self, now: float, messages: int, events: int) -> None:
        """Takes the connection's running totals."""
        if messages != self._messages:
            self._messages, self._message_at = messages, now
        if events != self._events:
            self._arrivals += 1
            self._events, self._event_at = events, now
            while self._arrivals >= _REMEMBERED_ARRIVALS:
                self._arrivals /= 2
                self._began = now - (now - self._began) / 2

    @property
    def heard_at(self) -> float:
        """When the last message came; the beginning, where none has."""
        return self._message_at

    def silent_for(self, now: float) -> float:
        """Seconds since the last event."""
        return now - self._event_at

    def is_stale(self, now: float, stale_after: timedelta) -> bool:
        limit = stale_after.total_seconds()
        if now - self._message_at > limit:
            return True
        if self._arrivals < _ENOUGH_ARRIVALS:
            return False
        mean = (self._event_at - self._began) / self._arrivals
        return self.silent_for(now) > max(limit, _TYPICAL_INTERVALS * mean)
