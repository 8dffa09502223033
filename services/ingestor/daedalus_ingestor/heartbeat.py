"""When a market's silence is worth an event: nothing came, and we were watching."""

from collections.abc import Iterable
from datetime import timedelta

from daedalus_ingestor.subscriptions import State


def is_due(now_ns: int, last_event_ns: int, states: Iterable[State], silence: timedelta) -> bool:
    """True after `silence` without an event, if a channel delivers and none has lost its connection.

    A channel that is still starting says nothing either way: trades of a quiet market begin with the first trade.
    """
    if now_ns - last_event_ns < silence.total_seconds() * 1e9:
        return False
    seen = set(states)
    return State.LIVE in seen and not seen & {State.WAITING, State.GIVEN_UP}
