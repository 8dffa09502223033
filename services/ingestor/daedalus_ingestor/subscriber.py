"""Subscribes, notices what came of it, and plans the next attempt.

waiting --(due)--> starting --(first update)--> live
   ^------(error, connection lost, rejected)------'          after too many attempts: given up
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
from ccxt.base.errors import NetworkError

from daedalus_common.events import Channel
from daedalus_ingestor import metrics
from daedalus_ingestor.ccxt_exchange import WATCH, book_limit
from daedalus_ingestor.ccxt_memory import hold_book_back
from daedalus_ingestor.exchange_session import ExchangeSession, describe, retry_after_seconds
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.settings import FeedSettings
from daedalus_ingestor.subscriptions import State, Subscription
from daedalus_ingestor.tap import Tap

log = structlog.get_logger(__name__)

_STARTS_PER_TURN: Final = 2
"""With 10 turns a second: each may cost a connection and a REST snapshot, and exchanges ban who asks too fast."""
_LONGEST_LOAD_SECONDS: Final = 3600.0
"""At 2.5 s a snapshot, 240 books wait ten minutes in ccxt's rate limiter; one that waits longer has got stuck there."""
_UNWATCH_SECONDS: Final = 2.0


class Subscriber:
    """Brings every subscription of a tap to `live`, again and again."""

    def __init__(
        self,
        settings: FeedSettings,
        session: ExchangeSession,
        tap: Tap,
        queue: EventQueue,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._session = session
        self._tap = tap
        self._queue = queue
        self._clock = clock
        self._now_ns = now_ns
        self._chance = chance
        self._hold_until = 0.0
        self.last_error = ""

    def settle(self, now: float) -> None:
        """Takes note of the subscriptions that began, failed, or should have begun by now."""
        patience = self._settings.stale_after.total_seconds()
        for subscription in [s for s in self._tap.all() if s.state is State.STARTING]:
            task = subscription.task
            if task is not None and task.done():
                error = task.result()
                if error is None:
                    subscription.state, subscription.since, subscription.task = State.LIVE, now, None
                    log.info("subscribed", market=subscription.market.name, channel=subscription.channel.value)
                else:
                    self.lose(subscription, Reason.REFUSED, error)
            elif self._is_overdue(subscription, now, patience):
                self.lose(subscription, Reason.STALE, TimeoutError(f"no book within {patience:g} s"))

        for subscription in [s for s in self._tap.all() if s.state is State.LIVE and s.old_book is not None]:
            if now - subscription.since > patience:
                subscription.old_book = None  # no new snapshot: the exchange went on where it was, without a break

    def _is_overdue(self, subscription: Subscription, now: float, patience: float) -> bool:
        """Books begin with a snapshot, so one is due at once; trades of a quiet market may take hours.

        A snapshot that waits in ccxt's rate limiter behind those of a hundred other books is not late: asking for it
        anew would put it at the end of that queue, again and again.
        """
        is_late = subscription.channel is Channel.ORDERBOOK and now - subscription.since > patience
        return is_late and (not self._tap.is_loading(subscription) or now - subscription.since > _LONGEST_LOAD_SECONDS)

    def start_due(self, now: float) -> None:
        """Subscribes some of those that wait, a few at a time."""
        if now < self._hold_until:
            return
        due = [s for s in self._tap.all() if s.state is State.WAITING and now >= s.retry_at]
        for subscription in due[:_STARTS_PER_TURN]:
            self._leave_attempt_behind(subscription)
            subscription.state, subscription.since = State.STARTING, now
            subscription.task = asyncio.create_task(self._subscribe(subscription))

    def _leave_attempt_behind(self, subscription: Subscription) -> None:
        """The book begins anew with a snapshot, and with no other."""
        self._tap.end_loads(subscription)
        if subscription.channel is Channel.ORDERBOOK and not subscription.place.gap_open:
            # What the last attempt brought since it was lost has ended that gap: another one before the snapshot.
            hold_book_back(self._session.exchange, subscription)
            self.declare(subscription, Reason.RESYNC)

    async def _subscribe(self, subscription: Subscription) -> BaseException | None:
        """Returns with the first update, or with the error that came instead."""
        watch = getattr(self._session.exchange, WATCH[subscription.channel][1])
        limit = book_limit(self._settings.access.id, self._settings.depth)
        deep = {"limit": limit} if subscription.channel is Channel.ORDERBOOK and limit else {}
        try:
            await watch(subscription.market.symbol, **deep)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            closed: BaseException = NetworkError("the connection was closed")  # ccxt cancels its waiters then
            return closed
        except Exception as error:
            return error
        return None

    async def unwatch(self, subscription: Subscription) -> bool:
        """Ends the exchange's side of it where ccxt can. False: it was asked to, and may do so at any time or never."""
        has, _, unwatch = WATCH[subscription.channel]
        exchange = self._session.exchange
        if exchange.has.get(f"un{has[0].upper()}{has[1:]}") is not True:
            return True
        with suppress(Exception):
            async with asyncio.timeout(_UNWATCH_SECONDS):
                await getattr(exchange, unwatch)(subscription.market.symbol)
                return True
        return False

    def lose(self, subscription: Subscription, reason: Reason, error: BaseException) -> None:
        """Declares the gap, and plans the next attempt unless that is done."""
        if subscription.state not in (State.LIVE, State.STARTING):
            # It waits for its next attempt; what the last one still brought has ended the gap of that time.
            self.declare(subscription, reason)
            return
        now, backoff = self._clock(), self._settings.backoff
        lasted = subscription.state is State.LIVE and now - subscription.since >= backoff.first_delay.total_seconds()
        if subscription.state is State.STARTING:
            metrics.FAILURES.labels(exchange=self._settings.access.name, stage="subscribe").inc()
        subscription.drop_task()
        self._tap.forget(subscription)
        self.declare(subscription, reason)
        subscription.failures = 0 if lasted else subscription.failures + 1
        retry_after = retry_after_seconds(self._session.exchange, error)
        delay = backoff.delay(subscription.failures, self._chance(), retry_after)
        self.last_error = describe(error)
        found = log.bind(
            market=subscription.market.name,
            channel=subscription.channel.value,
            reason=reason.value,
            error=self.last_error,
        )
        if delay is None:
            subscription.state = State.GIVEN_UP
            found.error("subscription given up", attempts=subscription.failures)
            return
        subscription.state, subscription.retry_at = State.WAITING, now + delay
        if retry_after:
            self._hold_until = max(self._hold_until, now + delay)
        found.info("subscription lost", retry_in=round(delay, 2))

    def declare(self, subscription: Subscription, reason: Reason) -> None:
        """Records the gap, unless one is open already."""
        gap = subscription.place.declare(reason, self._now_ns())
        if gap is not None:
            subscription.count_gap(gap)
            self._queue.declare(subscription.outbox, gap)
