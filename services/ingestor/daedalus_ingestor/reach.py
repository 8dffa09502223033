"""Can this replica feed an exchange's markets? Pure: times are passed in, by any one monotonic clock in seconds.

markets loaded -> able -> nothing delivers for UNFED -> doubtful -> GRACE -> unable
       -> others have been able for PATIENCE -> its markets go to them

Able again as soon as a subscription delivers. With no subscription left to show it, the exchange is opened anew after a
while; where that works and again nothing delivers, the while doubles, so that markets do not go to and fro.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Final

from daedalus_common.events import Channel
from daedalus_common.leases import Ability
from daedalus_ingestor.subscriptions import State, Subscription

UNFED: Final = 2
"""Times `stale_after` (60 s by default): a connection that stands still is noticed after one, and built anew."""
GRACE: Final = 1
"""Times `stale_after`: when an exchange is away for all, one notices at once and another by its silence. The former
must not find the latter able, or that would get every market, for nothing but a gap each."""
PATIENCE: Final = 2
"""Times `stale_after`, for which others must have been able before they get its markets. By default as long as the
longest pause between two tries to subscribe: who was away for no other reason than all is back by then."""
LONGEST_REST_SECONDS: Final = 3600.0


class Reach:
    """What one replica knows of its own way to one exchange."""

    def __init__(self, stale_after: timedelta) -> None:
        self._unfed_seconds = UNFED * stale_after.total_seconds()
        self._grace_seconds = GRACE * stale_after.total_seconds()
        self._is_able = False
        self._fed_at = 0.0
        self._lost_at: float | None = None
        self._in_vain = 0
        """Times in a row that the exchange was opened and did not deliver."""

    @property
    def is_able(self) -> bool:
        return self._is_able

    def opened(self, now: float) -> None:
        """The exchange answers: its markets are loaded."""
        self._is_able, self._fed_at = True, now

    def observe(self, now: float, *, is_wanted: bool, delivers: bool) -> bool:
        """Takes note of whether anything of the exchange is to be recorded, and whether any of that comes.

        True: that changes what this replica is able to do.
        """
        was_able = self._is_able
        if delivers:
            self._is_able, self._fed_at, self._in_vain = True, now, 0
        elif self._is_able and not is_wanted:
            self._fed_at = now
        elif self._is_able and now - self._fed_at >= self._unfed_seconds:
            self._is_able, self._lost_at = False, now
            self._in_vain += 1
        return self._is_able is not was_able

    def ability(self, now: float) -> Ability:
        if self._is_able:
            return Ability.ABLE
        is_new = self._lost_at is not None and now - self._lost_at < self._grace_seconds
        return Ability.DOUBTFUL if is_new else Ability.UNABLE

    def is_to_reopen(self, now: float, *, is_wanted: bool) -> bool:
        """Every market was given away, and it is time to see whether the exchange answers."""
        if self._is_able or is_wanted or self._lost_at is None:
            return False
        rest = min(self._unfed_seconds * 2.0 ** min(self._in_vain - 1, 30), LONGEST_REST_SECONDS)
        return now - self._lost_at >= rest


def delivers(
    subscriptions: Iterable[Subscription], now: float, stale_after: timedelta, heard_at: Callable[[], float]
) -> bool:
    """Does any of them bring its market's updates?

    Trades of a quiet market may begin in hours, so one that has waited for longer than any refusal takes is served,
    where the exchange was heard since it was asked for (`heard_at`): pongs come at least. A book begins at once.
    """
    patience = stale_after.total_seconds()
    for subscription in subscriptions:
        if subscription.state is State.LIVE:
            return True
        waits = subscription.state is State.STARTING and subscription.channel is not Channel.ORDERBOOK
        if waits and now - subscription.since > patience and heard_at() > subscription.since:
            return True
    return False


def problem(counts: Mapping[State, int], *, can_record: bool, is_able: bool, error: str) -> str | None:
    """What an operator should know of an exchange whose markets are loaded; `counts` are of the subscriptions."""
    total = sum(counts.values())
    if not can_record:
        return "none of the configured symbols can be recorded: unknown here, or ccxt cannot watch them"
    if counts[State.GIVEN_UP]:
        return f"{counts[State.GIVEN_UP]} of {total} subscriptions given up: {error}"
    if not total and not is_able:
        return f"out of reach, its markets were given to other replicas: {error}"
    if total and counts[State.WAITING] == total:
        return f"no subscription is alive: {error}" if error else "not subscribed yet"
    return None
