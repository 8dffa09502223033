"""A book's snapshot that an earlier subscription still waits for never gets into the book of the present one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiohttp import web
from ccxt.base.errors import InvalidNonce

from daedalus_common.events import Book, Channel
from daedalus_common.markets import Market
from daedalus_ingestor.backoff import Backoff
from daedalus_ingestor.gaps import Reason
from ingestor.feed_bench import BTC, ETH, FeedBench, feed_bench, until
from ingestor.pipeline import check_books
from simulator.harness import Simulator, simulator

BOOK = Channel.ORDERBOOK
BOOKS: dict[Market, tuple[Channel, ...]] = {BTC: (BOOK,), ETH: (BOOK,)}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    rates = ("--depth-rate", "50", "--trade-rate", "20", "--depth-interval-ms", "50")
    async with simulator("--symbols", "BTC/USDT", "ETH/USDT", *rates) as running:
        yield running


class HeldSnapshots:
    """Between a client and the simulator's snapshots: each request waits until the test lets it go, as one does in
    the rate limiter of ccxt when several books begin at once."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._requests: list[asyncio.Event] = []

    @property
    def asked(self) -> int:
        return len(self._requests)

    def let_go(self, number: int) -> None:
        """The `number`-th request, from 1."""
        self._requests[number - 1].set()

    def let_all_go(self) -> None:
        for request in self._requests:
            request.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        held = asyncio.Event()
        self._requests.append(held)
        await held.wait()
        async with self._sim.session.get(f"{self._sim.url}{request.path_qs}") as response:
            return web.Response(body=await response.read(), content_type="application/json")


@asynccontextmanager
async def held_snapshots(sim: Simulator, bench: FeedBench) -> AsyncIterator[HeldSnapshots]:
    """From now on the feed's client asks for snapshots here."""
    held, app = HeldSnapshots(sim), web.Application()
    app.router.add_get("/api/v3/depth", held.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    bench.feed._session.exchange.urls["api"]["public"] = f"http://{host}:{port}/api/v3"
    try:
        yield held
    finally:
        held.let_all_go()
        await runner.cleanup()


async def check_sequence(sim: Simulator, bench: FeedBench) -> None:
    """Every update of ETH since its last subscription is recorded once and in order, but for what gaps declare."""
    await until(lambda: bench.count(Book, ETH) > 20)
    ledger = await sim.channel("ETH/USDT", "depth")
    check_books(bench.events(ETH), [last for _, last in ledger["ids"]], to_the_end=False)


async def second_after_first(sim: Simulator, bench: FeedBench, held: HeldSnapshots) -> None:
    """The first snapshot arrives when the second is on its way too, and that one a while later."""
    await until(lambda: held.asked == 2)
    held.let_go(1)
    await asyncio.sleep(0.5)
    assert bench.count(Book, ETH) == 0, "the first snapshot is none of this attempt's"
    held.let_go(2)
    await check_sequence(sim, bench)


async def test_of_a_market_that_left_and_comes_back(sim):
    async with feed_bench(sim.url, BOOKS) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Book, BTC) > 5)
        async with held_snapshots(sim, bench) as held:
            bench.add(ETH)
            await until(lambda: held.asked == 1)
            await bench.feed.remove(ETH)
            bench.add(ETH, reason=Reason.TAKEOVER)
            await second_after_first(sim, bench, held)
        assert bench.reasons(BOOK, ETH) == ["takeover"]


async def test_of_a_connection_that_was_lost(sim):
    async with feed_bench(sim.url, BOOKS) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Book, BTC) > 5)
        async with held_snapshots(sim, bench) as held:
            bench.add(ETH)
            await until(lambda: held.asked == 1)
            await sim.fault("drop", how="abort", symbol="ETH/USDT")
            await second_after_first(sim, bench, held)
        assert bench.reasons(BOOK, ETH) == ["start"]


async def test_a_snapshot_that_waits_its_turn_for_long_is_not_asked_for_again(sim):
    """With a hundred books it takes ccxt's rate limiter a minute: asking anew would put each at the end again."""
    async with feed_bench(sim.url, BOOKS, stale=1.0) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Book, BTC) > 5)
        async with held_snapshots(sim, bench) as held:
            bench.add(ETH)
            await until(lambda: held.asked == 1)
            await asyncio.sleep(2.5)
            assert held.asked == 1
            held.let_go(1)
            await check_sequence(sim, bench)
        assert bench.reasons(BOOK, ETH) == ["start"]


async def test_what_a_rejected_attempt_still_brought_ends_in_a_gap_before_the_next_snapshot(sim):
    """ccxt gave it up, and the exchange went on to send it until it was asked for again."""
    patient = Backoff(timedelta(seconds=2), timedelta(seconds=2))
    async with feed_bench(sim.url, BOOKS, backoff=patient) as bench:
        bench.add(BTC, ETH)
        await until(lambda: bench.count(Book, ETH) > 5)
        async with held_snapshots(sim, bench) as held:
            [subscription] = bench.feed._fed[ETH]
            bench.feed.rejected(subscription, InvalidNonce("a hole"))
            await until(lambda: held.asked == 1)
            await asyncio.sleep(0.5)
            had = bench.count(Book, ETH)
            held.let_go(1)
            await until(lambda: bench.count(Book, ETH) > had + 5)
            await check_sequence(sim, bench)
        assert bench.reasons(BOOK, ETH) == ["start", "resync", "resync"]
