"""Records one exchange: the tap takes what comes, the subscriber keeps it coming.

    load the markets, then every turn: settle -> replace a client that stands still -> start what is due -> heartbeats
    -> in reach? once all is given away as it was not: load the markets again

`watch_*` is awaited once per subscription, not once per update: ccxt keeps the channel subscribed and the tap sees
every update, so an awaiting loop would only cost time. Rejections and lost connections come through the tap.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from ccxt.base.errors import InvalidNonce

from daedalus_common.events import Channel, Heartbeat
from daedalus_common.leases import Ability
from daedalus_common.markets import Market
from daedalus_common.service import pause
from daedalus_common.telemetry import Health
from daedalus_ingestor import heartbeat, metrics
from daedalus_ingestor.ccxt_memory import forget_book, leave_behind
from daedalus_ingestor.connection import Connection
from daedalus_ingestor.exchange_session import ExchangeSession, describe
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.opening import Recordable, open_patiently, recordable
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.reach import Reach, delivers, problem
from daedalus_ingestor.recollection import Recollection
from daedalus_ingestor.sequences import books_are_checked
from daedalus_ingestor.settings import FeedSettings
from daedalus_ingestor.subscriber import Subscriber
from daedalus_ingestor.subscriptions import State, Subscription
from daedalus_ingestor.tap import Tap

log = structlog.get_logger(__name__)

_TURN_SECONDS: Final = 0.1
_REPORT_SECONDS: Final = 1.0
_FRAME_LOG_SECONDS: Final = 10.0


class CcxtFeed:
    """One exchange of ccxt.pro. It is the tap's listener too: those methods are called from inside ccxt's handlers."""

    def __init__(
        self,
        settings: FeedSettings,
        queue: EventQueue,
        health: Health,
        new_exchange: Callable[[], Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = settings.access.name
        self._check = f"exchange {self.name}"
        self._settings = settings
        self._queue = queue
        self._health = health
        self._session = ExchangeSession(new_exchange)
        self._tap = Tap(queue, settings.depth, self, clock, now_ns)
        self._subscriber = Subscriber(
            settings, self._session, self._tap, queue, clock=clock, now_ns=now_ns, chance=chance
        )
        self._clock = clock
        self._now_ns = now_ns
        self._chance = chance
        self._reach = Reach(settings.stale_after)
        self._recordable: Recordable = {}
        self._fed: dict[Market, list[Subscription]] = {}
        self._unended: dict[Market, list[Connection]] = {}
        """Given away, and the exchange did not confirm that it sends nothing more."""
        self._is_silent = False
        self._rebuilds = 0
        self._rebuild_at = 0.0
        self._report_at = 0.0
        self._frame_log_at = 0.0
        self._frames_unlogged = 0
        health.mark_unready(self._check, "markets not loaded yet")
        metrics.REACHED.labels(exchange=self.name).set(0)

    # for the ingestor

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; updates are recorded until `silence`."""
        while not stop.is_set() and not self._is_silent:
            exchange = await open_patiently(
                self._session, self.name, self._settings.backoff, self._health, self._chance, stop
            )
            if exchange is None:
                return
            self._begin(exchange)
            while not await pause(stop, _TURN_SECONDS) and not self._is_silent:
                self.turn(self._clock())
                if self._reach.is_to_reopen(self._clock(), is_wanted=bool(self._fed)):
                    self._recordable = {}
                    break

    def _begin(self, exchange: Any) -> None:
        self._recordable = recordable(exchange, self.name, self._settings.channels)
        self._tap.attach(exchange)
        self._reach.opened(self._clock())
        metrics.REACHED.labels(exchange=self.name).set(1)
        log.info("markets loaded", exchange=self.name, listed=len(exchange.markets), recordable=len(self._recordable))

    def ability(self) -> Ability:
        """Whether this replica takes a share of the exchange's markets, keeps what it has, or gives it."""
        return self._reach.ability(self._clock())

    def is_fed(self, market: Market) -> bool:
        """Its updates come, or would if there were any."""
        return self._delivers(self._fed.get(market, ()), self._clock())

    def _delivers(self, subscriptions: Iterable[Subscription], now: float) -> bool:
        return delivers(subscriptions, now, self._settings.stale_after, self._tap.heard_at)

    def can_feed(self, market: Market) -> bool:
        """The markets are loaded, and the exchange lists this one with a channel that ccxt can watch."""
        return market in self._recordable

    def add(self, market: Market, outbox: Outbox, recollection: Recollection, reason: Reason) -> None:
        """Subscribes the market's channels, each beginning with a gap event."""
        self._end_unended(market)
        exchange = self._session.exchange
        market_id = exchange.markets[market.symbol].get("id")
        self._fed[market] = []
        for channel in self._recordable[market]:
            place, trades = recollection.place(channel), recollection.trades()
            subscription = Subscription(market, market_id, channel, outbox, place, trades)
            subscription.retry_at = self._clock()
            self._tap.end_loads(subscription)
            leave_behind(exchange, subscription)
            self._subscriber.declare(subscription, reason)
            self._tap.add(subscription)
            self._fed[market].append(subscription)

    def _end_unended(self, market: Market) -> None:
        """The exchange may still end at any time what was to end when the market was given away, so nothing is built
        on that: the connection begins anew, which costs the others on it a gap."""
        for connection in self._unended.pop(market, ()):
            if not connection.lost:
                connection.reset(Reason.RECONNECT, f"{market.name} was not ended here when it was given away")
                forget_book(self._session.exchange, market.symbol)

    async def remove(self, market: Market) -> None:
        """Records nothing more of the market, at once; then tells the exchange.

        A subscription that has brought nothing yet may be asked for already, so it is ended there as well.
        """
        removed = self._fed.pop(market, [])
        for subscription in removed:
            subscription.drop_task()
        carriers = self._tap.carriers(removed)
        carried = [s for s in removed if self._tap.remove(s) or s.state is State.STARTING]
        if self._is_silent or not removed:
            return
        if not any(True for _ in self._tap.all()):
            # Nothing of this exchange is ours any more, so no connection stays, whatever state it is in.
            self._tap.attach(self._session.replace())
            return
        carriers = [connection for connection in carriers if not connection.lost]
        if not carriers:
            forget_book(self._session.exchange, market.symbol)
        elif not all(await asyncio.gather(*(self._subscriber.unwatch(subscription) for subscription in carried))):
            self._unended[market] = carriers
        self._tap.hang_up_idle()

    def silence(self) -> None:
        """Not one frame more."""
        self._is_silent = True
        self._tap.detach()

    async def close(self) -> None:
        self.silence()
        for subscription in self._tap.all():
            subscription.drop_task()
        await self._session.close()

    # one turn

    def turn(self, now: float) -> None:
        """Brings every subscription one step on."""
        self._subscriber.settle(now)
        self._look_for_stale(now)
        self._subscriber.start_due(now)
        self._beat_hearts()
        self._look_whether_reached(now)
        if now >= self._report_at:
            self._report_at = now + _REPORT_SECONDS
            self._report()

    def _look_for_stale(self, now: float) -> None:
        silences = []
        for connection in self._tap.connections():
            connection.observe(now)
            if connection.fed and connection.pulse.is_stale(now, self._settings.stale_after):
                silences.append(connection.pulse.silent_for(now))
        if silences and now >= self._rebuild_at:
            self._rebuild(now, max(silences))

    def _rebuild(self, now: float, silent_seconds: float) -> None:
        # Watching again on the same instance does not help: ccxt takes the channel for subscribed.
        stale_seconds = self._settings.stale_after.total_seconds()
        self._rebuilds = 1 if now - self._rebuild_at > 10 * stale_seconds else self._rebuilds + 1
        delay = self._settings.backoff.delay(self._rebuilds, self._chance())
        self._rebuild_at = now + (stale_seconds if delay is None else delay)
        metrics.REBUILDS.labels(exchange=self.name).inc()
        silent = round(silent_seconds, 1)
        log.warning("connection stands still, building the client anew", exchange=self.name, silent_seconds=silent)
        self._tap.detach()
        for subscription in tuple(self._tap.all()):
            self._subscriber.lose(subscription, Reason.STALE, TimeoutError(f"nothing came for {silent} s"))
        self._tap.attach(self._session.replace())

    def _look_whether_reached(self, now: float) -> None:
        if self._reach.observe(now, is_wanted=bool(self._fed), delivers=self._delivers(self._tap.all(), now)):
            metrics.REACHED.labels(exchange=self.name).set(self._reach.is_able)
            found = log.bind(exchange=self.name, markets=len(self._fed))
            if self._reach.is_able:
                found.info("exchange reached again")
            else:
                found.warning("exchange out of reach: others get its markets", error=self._subscriber.last_error)

    def _beat_hearts(self) -> None:
        now_ns = self._now_ns()
        for subscriptions in self._fed.values():
            outbox = subscriptions[0].outbox
            states = (subscription.state for subscription in subscriptions)
            if heartbeat.is_due(now_ns, outbox.last_ts, states, self._settings.heartbeat) and self._queue.has_room():
                self._queue.declare(outbox, Heartbeat(now_ns))

    # what the tap hears

    def rejected(self, subscription: Subscription, error: BaseException) -> None:
        reason = Reason.RESYNC if isinstance(error, InvalidNonce) else Reason.REFUSED
        self._subscriber.lose(subscription, reason, error)

    def connection_lost(self, connection: Connection, reason: Reason, error: BaseException) -> None:
        metrics.FAILURES.labels(exchange=self.name, stage="connection").inc()
        fed = tuple(connection.fed)
        if not fed:
            return  # it never came about; whoever waited for it has the error
        cause = describe(error)
        log.warning("connection lost", exchange=self.name, subscriptions=len(fed), reason=reason.value, error=cause)
        for subscription in fed:
            self._subscriber.lose(subscription, reason, error)

    def frame_failed(self, connection: Connection, kind: str, error: BaseException, frame: str) -> None:
        metrics.BAD_FRAMES.labels(exchange=self.name, reason=kind).inc()
        self._log_frame(kind, error, frame)
        if kind not in ("unreadable", "handler"):
            return
        has_book = any(subscription.channel is Channel.ORDERBOOK for subscription in connection.fed)
        if has_book and (kind == "handler" or not books_are_checked(self._settings.access.id)):
            # The book may miss the update, or hold half of it, and nothing will tell.
            connection.reset(Reason.BAD_FRAME, f"a frame could not be used: {describe(error)}")
            return
        for subscription in connection.fed:
            if subscription.channel is not Channel.ORDERBOOK:
                self._subscriber.declare(subscription, Reason.BAD_FRAME)

    def _log_frame(self, kind: str, error: BaseException, frame: str) -> None:
        now = self._clock()
        if now < self._frame_log_at:
            self._frames_unlogged += 1
            return
        found = log.bind(exchange=self.name, kind=kind, error=describe(error), unlogged=self._frames_unlogged)
        found.warning("bad frame", frame=frame[:200])
        self._frame_log_at, self._frames_unlogged = now + _FRAME_LOG_SECONDS, 0

    # report

    def _report(self) -> None:
        counts = dict.fromkeys(State, 0)
        for subscription in self._tap.all():
            counts[subscription.state] += 1
            subscription.report(self._now_ns())
        for state, count in counts.items():
            metrics.SUBSCRIPTIONS.labels(exchange=self.name, state=state.value).set(count)
        found = problem(
            counts,
            can_record=bool(self._recordable),
            is_able=self._reach.is_able,
            error=self._subscriber.last_error,
        )
        if found is None:
            self._health.mark_ready(self._check)
        else:
            self._health.mark_unready(self._check, found)
