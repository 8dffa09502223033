"""An ingestor's queue, outboxes and spool against a stream that is only a list: what dies, dies on command."""

from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import REGISTRY

from daedalus_common.entries import decode, encode
from daedalus_common.events import Channel, Event, Gap, Heartbeat
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_ingestor.gaps import Place
from daedalus_ingestor.market_spool import MarketSpool
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.spool import Spool
from daedalus_ingestor.subscriptions import Subscription
from daedalus_ingestor.trades import TradeReader

MARKET, OTHER = Market("binanceus", "BTC/USDT"), Market("binanceus", "ETH/USDT")


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(f"daedalus_ingestor_{name}") or 0.0


@dataclass
class Stream:
    """What the server does with a batch: it skips the numbers of the epoch that it has applied."""

    epoch: int = 0
    applied: int = 0
    events: list[Event] = field(default_factory=list)

    def publish(self, epoch: int, first: int, batch: list[tuple[int, bytes]]) -> None:
        applied = self.applied if epoch == self.epoch else 0
        assert first <= applied + 1, "a number is missing, the server would take it for a loss of its own"
        fresh = batch[applied - first + 1 :]
        if fresh:
            self.events += [decode(payload) for _, payload in fresh]
            self.epoch, self.applied = epoch, first + len(batch) - 1


class Replica:
    """One ingestor with one market; its updates are numbered heartbeats, in memory fit `max_events`."""

    def __init__(self, folder: Path, max_events: int = 8, max_bytes: int = 10**7, *, fsync: bool = False) -> None:
        self.spool = Spool(folder, max_bytes, fsync=fsync, now_ns=lambda: 0)
        self.queue = EventQueue(max_events, now_ns=lambda: 0)
        self.sent = 0

    async def take(self, stream: Stream, epoch: int, sent: int = 0) -> bool:
        """False: what was left here is too late."""
        self.sent = sent
        self.disk: MarketSpool = await self.spool.open(MARKET, "log")
        in_time = await self.disk.resume(stream.epoch, stream.applied, epoch)
        if not in_time:
            self.disk = await self.spool.put_away(self.disk)
            await self.disk.resume(0, 0, epoch)
        self.outbox: Outbox = self.queue.open(Lease(MARKET, epoch, "token"), self.disk)
        place = Place(Channel.TRADES)
        self.trades = Subscription(MARKET, "BTCUSDT", Channel.TRADES, self.outbox, place, TradeReader())
        if epoch > 1:
            self.queue.declare(self.outbox, Gap(0, "trades", "takeover"))
        return in_time

    def send(self, count: int) -> int:
        """Returns how many found a place."""
        accepted = 0
        for _ in range(count):
            accepted += self.queue.offer(self.trades, self.sent, encode(Heartbeat(self.sent)))
            self.sent += 1
        return accepted

    async def publish(self, stream: Stream, count: int, *, reply: bool = True) -> bool:
        """Loads where memory is empty and sends one batch; False: there was nothing."""
        if self.outbox.unread and len(self.outbox.events) < count:
            await self.queue.load(self.outbox, count)
        batch = self.outbox.batch(count, 10**6)
        stream.publish(self.outbox.lease.epoch, self.outbox.first, batch)
        if reply:
            self.queue.confirm(self.outbox, len(batch))
        return bool(batch)

    async def publish_all(self, stream: Stream) -> None:
        for _ in range(10_000):
            if not self.queue.waiting:
                return
            await self.publish(stream, 5)
        raise AssertionError(f"{self.queue.waiting} events never go out")

    def die(self) -> None:
        """As with kill -9: whatever is not on disk is gone, and the locks with the process."""
        self.spool._give_lock(MARKET)
        self.disk.files.close()


def numbers(stream: Stream) -> list[int]:
    return [event.capture_ts for event in stream.events if isinstance(event, Heartbeat)]


def gaps(stream: Stream) -> list[tuple[str, int | None]]:
    return [(event.reason, event.lost) for event in stream.events if isinstance(event, Gap)]
