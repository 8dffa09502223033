"""A feed in the test's own loop, on a simulated exchange, with a queue that nobody publishes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial

from daedalus_common.entries import decode
from daedalus_common.events import Channel, Event, Gap
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_common.telemetry import Health
from daedalus_ingestor.backoff import Backoff
from daedalus_ingestor.ccxt_exchange import ExchangeAccess, make_exchange
from daedalus_ingestor.feed import CcxtFeed
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.outbox import Outbox
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.recollection import Recollection
from daedalus_ingestor.settings import FeedSettings

BTC, ETH = Market("binanceus", "BTC/USDT"), Market("binanceus", "ETH/USDT")
QUICK = Backoff(timedelta(seconds=0.1), timedelta(seconds=0.4))


class FeedBench:
    def __init__(self, url: str, channels: dict[Market, tuple[Channel, ...]], backoff: Backoff, stale: float) -> None:
        symbols = tuple(market.symbol for market in channels)
        stale_after = timedelta(seconds=stale)
        access = ExchangeAccess("binanceus", "binanceus", symbols, url, stale_after)
        settings = FeedSettings(access, channels, 20, stale_after, timedelta(seconds=0.3), backoff)
        self.queue = EventQueue(1_000_000)
        self.health = Health("ingestor")
        self.health.beat()
        self.feed = CcxtFeed(settings, self.queue, self.health, partial(make_exchange, access))
        self.outboxes: dict[Market, Outbox] = {}

    def add(self, *markets: Market, reason: Reason = Reason.START) -> None:
        for market in markets:
            self.outboxes[market] = self.queue.open(Lease(market, 1, "token"))
            self.feed.add(market, self.outboxes[market], Recollection(), reason)

    def events(self, market: Market = BTC) -> list[Event]:
        return [decode(payload) for _, payload in self.outboxes[market].events]

    def count(self, type_: type[Event], market: Market = BTC) -> int:
        return sum(isinstance(event, type_) for event in self.events(market))

    def reasons(self, channel: Channel, market: Market = BTC) -> list[str]:
        return [e.reason for e in self.events(market) if isinstance(e, Gap) and e.channel == channel]

    @property
    def problem(self) -> str:
        return self.health.readiness().problems.get("exchange binanceus", "")


@contextlib.asynccontextmanager
async def feed_bench(
    url: str,
    channels: dict[Market, tuple[Channel, ...]],
    *,
    backoff: Backoff = QUICK,
    stale: float = 5.0,
    opened: bool = True,
) -> AsyncIterator[FeedBench]:
    """Running; with `opened`, its markets are loaded."""
    bench = FeedBench(url, channels, backoff, stale)
    stop = asyncio.Event()
    running = asyncio.create_task(bench.feed.run(stop))
    try:
        if opened:
            await until(lambda: running.done() or any(bench.feed.can_feed(market) for market in channels))
        yield bench
    finally:
        stop.set()
        await asyncio.gather(running, bench.feed.close())


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the condition is another's doing
            await asyncio.sleep(0.02)
