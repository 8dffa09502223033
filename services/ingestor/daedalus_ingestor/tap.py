"""Hooks an unmodified exchange of ccxt.pro: every websocket client that it creates gets a `Connection`."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from daedalus_common.events import Channel
from daedalus_ingestor.connection import Connection, Listener
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.recorder import Recorder, Subscriptions
from daedalus_ingestor.sequences import NUMBERED
from daedalus_ingestor.snapshot_loads import SnapshotLoads
from daedalus_ingestor.subscriptions import State, Subscription


class Tap:
    """The subscriptions of one exchange and its connections; outlives the exchange instance, which may be replaced."""

    def __init__(
        self,
        queue: EventQueue,
        depth: int,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._subscriptions: Subscriptions = {channel: {} for channel in Channel}
        self._connections: list[Connection] = []
        self._loads: SnapshotLoads | None = None
        self._queue = queue
        self._depth = depth
        self._listener = listener
        self._clock = clock
        self._now_ns = now_ns

    def attach(self, exchange: Any) -> None:
        """From now on this instance's updates are recorded, and no longer those of the one before."""
        self.detach()
        self._loads = SnapshotLoads(exchange)
        create = exchange.client

        def client(url: str) -> Any:
            known = (exchange.clients or {}).get(url)
            created = create(url)
            if created is not known:
                self._connect(exchange.id, created)
            return created

        exchange.client = client

    def detach(self) -> None:
        """Nothing is recorded any more."""
        for connection in self._connections:
            connection.silence()
        self._connections = []

    def add(self, subscription: Subscription) -> None:
        self._subscriptions[subscription.channel][subscription.market.symbol] = subscription
        for connection in self._connections:
            connection.recorder.expect(subscription)

    def is_loading(self, subscription: Subscription) -> bool:
        """ccxt has its book's snapshot under way: it ends by itself, with a book or an error."""
        return self._loads is not None and self._loads.has(subscription)

    def end_loads(self, subscription: Subscription) -> None:
        """A book's snapshot that an earlier attempt waits for comes no more."""
        if self._loads is not None and subscription.channel is Channel.ORDERBOOK:
            self._loads.end(subscription)

    def remove(self, subscription: Subscription) -> bool:
        """Its updates are recorded no longer. True: a connection that may serve others still brings them."""
        self._subscriptions[subscription.channel].pop(subscription.market.symbol, None)
        carriers = [connection for connection in self.connections() if subscription in connection.fed]
        self.forget(subscription)
        self.hang_up_idle(carriers)
        return any(not connection.lost for connection in carriers)

    def carriers(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """The connections that bring these, or may: one that is being started can be on its way through any."""
        if any(subscription.state is State.STARTING for subscription in subscriptions):
            return list(self.connections())
        return [c for c in self.connections() if any(subscription in c.fed for subscription in subscriptions)]

    def hang_up_idle(self, connections: Sequence[Connection] | None = None) -> None:
        """Ends those that feed nobody; all stay while a subscription may be on its way through any of them."""
        if not any(subscription.state is State.STARTING for subscription in self.all()):
            for connection in self.connections() if connections is None else connections:
                if not connection.fed:
                    connection.end()

    def forget(self, subscription: Subscription) -> None:
        """The subscription begins anew: ccxt must send it again."""
        for connection in self._connections:
            connection.forget(subscription)

    def all(self) -> Iterator[Subscription]:
        for by_symbol in self._subscriptions.values():
            yield from by_symbol.values()

    def connections(self) -> list[Connection]:
        """Those that are not lost."""
        self._connections = [connection for connection in self._connections if not connection.lost]
        return self._connections

    def heard_at(self) -> float:
        """When anything came last, pongs included; 0: never on a connection that is still there."""
        return max((c.pulse.heard_at for c in self.connections() if c.recorder.frame), default=0.0)

    def _connect(self, exchange_id: str, client: Any) -> None:
        recorder = Recorder(self._subscriptions, self._queue, self._depth, self._now_ns)
        number, crowded = NUMBERED.get(exchange_id), self._queue.is_crowded
        self._connections.append(Connection(client, recorder, self._listener, number, crowded, self._clock()))
