"""The feed on a simulated exchange that misbehaves: what is lost is declared, and it always comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from ccxt.base.errors import ExchangeError
from prometheus_client import REGISTRY

from daedalus_common.events import Book, Channel, Gap, Heartbeat, Trade
from daedalus_common.markets import Market
from daedalus_ingestor.backoff import Backoff
from daedalus_ingestor.ccxt_exchange import make_exchange
from daedalus_ingestor.gaps import Reason
from ingestor.feed_bench import BTC, ETH, feed_bench, until
from simulator.harness import Simulator, simulator

BOOK, TRADES = Channel.ORDERBOOK, Channel.TRADES
ALL: dict[Market, tuple[Channel, ...]] = {BTC: (BOOK, TRADES), ETH: (BOOK, TRADES)}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    rates = ("--depth-rate", "50", "--trade-rate", "20", "--depth-interval-ms", "50")
    async with simulator("--symbols", "BTC/USDT", "ETH/USDT", *rates) as running:
        yield running


def total(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"daedalus_ingestor_{name}", labels) or 0.0


async def test_each_channel_begins_with_a_gap_and_then_its_updates(sim):
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC, ETH)
        await until(lambda: bench.count(Book) > 5 and bench.count(Trade) > 5 and bench.count(Book, ETH) > 5)
        assert bench.reasons(BOOK) == bench.reasons(TRADES) == ["start"]
        assert [event for event in bench.events() if isinstance(event, Gap)] == bench.events()[:2]
        assert not bench.problem


async def test_a_skipped_update_makes_the_book_begin_anew(sim):
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Book) > 5)
        await sim.fault("skip", symbol="BTC/USDT", channel="depth", count=1)
        await until(lambda: bench.reasons(BOOK) == ["start", "resync"])
        seen = bench.count(Book)
        await until(lambda: bench.count(Book) > seen + 5)
        assert bench.reasons(TRADES) == ["start"], "the trades had nothing to do with it"


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_dropped_connection_is_taken_up_again(sim, how):
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Book) > 5 and bench.count(Trade) > 5)
        await sim.fault("drop", how=how)
        await until(lambda: bench.reasons(BOOK) == bench.reasons(TRADES) == ["start", "reconnect"])
        books, trades = bench.count(Book), bench.count(Trade)
        await until(lambda: bench.count(Book) > books + 5 and bench.count(Trade) > trades + 5)
        status = await sim.get("/control/status")
        assert status["connections"]["open"] == 2, "one for each channel, and no forgotten one"


async def test_a_bad_frame_costs_what_nobody_else_would_notice(sim):
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Book) > 5 and bench.count(Trade) > 5)
        before = total("bad_frames_total", exchange="binanceus", reason="unreadable")
        await sim.fault("malformed", symbol="BTC/USDT")
        await until(lambda: bench.reasons(TRADES) == ["start", "bad_frame"])
        books, trades = bench.count(Book), bench.count(Trade)
        await until(lambda: bench.count(Book) > books + 5 and bench.count(Trade) > trades + 5)
        assert bench.reasons(BOOK) == ["start"], "binance's own sequence shows that the book missed nothing"
        assert total("bad_frames_total", exchange="binanceus", reason="unreadable") == before + 2


async def test_a_feed_that_stands_still_is_built_anew(sim):
    async with feed_bench(sim.url, ALL, stale=1.0) as bench:
        bench.add(BTC, ETH)
        await until(lambda: bench.count(Book) > 20 and bench.count(Trade) > 20)
        await sim.fault("stall", seconds=60)
        await until(lambda: bench.reasons(BOOK) == bench.reasons(TRADES) == ["start", "stale"])
        books, trades = bench.count(Book), bench.count(Trade)
        await until(lambda: bench.count(Book) > books + 5 and bench.count(Trade) > trades + 5)
        assert total("rebuilds_total", exchange="binanceus") >= 1


async def test_a_quiet_market_is_left_alone(sim):
    async with feed_bench(sim.url, {BTC: (TRADES,)}, stale=0.5) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Trade) > 0)
        await sim.control("pause")
        await asyncio.sleep(1.0)
        assert bench.reasons(TRADES) == ["start"]
        await until(lambda: bench.count(Heartbeat) >= 2)


async def test_refused_subscriptions_wait_as_long_as_they_are_told(sim):
    async with feed_bench(sim.url, ALL) as bench:
        await sim.fault("status", status=429, path="depth", count=3, retry_after_seconds=2)
        bench.add(BTC)
        await until(lambda: "429" in bench.problem or "RateLimit" in bench.problem or bench.count(Trade) > 0)
        began = asyncio.get_running_loop().time()
        await until(lambda: bench.count(Book) > 5)
        assert asyncio.get_running_loop().time() - began > 1.0
        assert bench.reasons(BOOK) == ["start"], "nothing came between, so nothing more is declared"


@pytest.mark.parametrize("status", [418, 429, 503])
async def test_an_exchange_that_refuses_at_start_is_asked_again(sim, status):
    await sim.fault("status", status=status, path="exchangeInfo", count=2)
    async with feed_bench(sim.url, ALL, opened=False) as bench:
        await until(lambda: "markets not loaded: " in bench.problem)
        await until(lambda: bench.feed.can_feed(BTC))
        await until(lambda: not bench.problem)


async def test_an_exchange_that_is_not_there_is_given_up_after_so_many_attempts():
    three = Backoff(timedelta(seconds=0.01), timedelta(seconds=0.02), max_attempts=3)
    async with feed_bench("http://127.0.0.1:9", ALL, backoff=three, opened=False) as bench:
        await until(lambda: bench.problem.startswith("gave up loading the markets after 3 attempts"))


async def test_without_auto_reconnect_a_lost_subscription_stays_lost_and_is_told(sim):
    async with feed_bench(sim.url, ALL, backoff=Backoff(timedelta(1), timedelta(1), enabled=False)) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Book) > 5 and bench.count(Trade) > 5)
        await sim.fault("drop")
        await until(lambda: bench.problem.startswith("2 of 2 subscriptions given up"))
        assert bench.reasons(BOOK) == bench.reasons(TRADES) == ["start", "reconnect"]


async def test_unknown_symbols_are_left_out_and_the_others_run(sim):
    unknown = Market("binanceus", "BTC/USDD")
    async with feed_bench(sim.url, {**ALL, unknown: (BOOK,)}) as bench:
        assert bench.feed.can_feed(BTC)
        assert not bench.feed.can_feed(unknown)
        bench.add(BTC)
        await until(lambda: bench.count(Book) > 5)
        assert total("unknown_symbols", exchange="binanceus") == 1
        assert not bench.problem


async def test_an_exchange_with_nothing_to_record_is_not_ready_and_says_why(sim):
    async with feed_bench(sim.url, {Market("binanceus", "NOT/THERE"): (BOOK,)}, opened=False) as bench:
        await until(lambda: bench.problem.startswith("none of the configured symbols can be recorded"))


async def test_a_market_that_is_given_away_is_no_longer_watched(sim):
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC, ETH)
        await until(lambda: all(bench.count(kind, market) > 5 for kind in (Book, Trade) for market in (BTC, ETH)))
        await bench.feed.remove(ETH)
        recorded = len(bench.outboxes[ETH].events)
        for _ in range(100):
            subscribed = (await sim.get("/control/status"))["subscriptions"]
            if not any(name.startswith("eth") for name in subscribed):
                break
            await asyncio.sleep(0.05)
        assert sorted(subscribed) == ["btcusdt@depth@100ms", "btcusdt@trade"]
        assert len(bench.outboxes[ETH].events) == recorded
        bench.add(ETH, reason=Reason.TAKEOVER)
        await until(lambda: bench.count(Book, ETH) > 5 and bench.count(Trade, ETH) > 5)
        assert bench.reasons(BOOK, ETH) == ["takeover"]


async def test_a_market_given_away_before_its_first_update_is_no_longer_watched_either(sim):
    """And when nothing of the exchange is left, no connection is."""
    await sim.control("pause")
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC, ETH)
        await until_status(sim, lambda status: len(status["subscriptions"]) == 4)
        await bench.feed.remove(ETH)
        of_btc = {"btcusdt@depth@100ms": 1, "btcusdt@trade": 1}
        await until_status(sim, lambda status: status["subscriptions"] == of_btc)
        await bench.feed.remove(BTC)
        await until_status(sim, lambda status: status["connections"]["open"] == 0)
        assert bench.reasons(BOOK) == bench.reasons(TRADES, ETH) == ["start"]
        await sim.control("resume")
        bench.add(BTC, reason=Reason.TAKEOVER)
        await until(lambda: bench.count(Book) > 5 and bench.count(Trade) > 5)


async def until_status(sim: Simulator, holds: Callable[[dict[str, Any]], bool]) -> None:
    for _ in range(200):
        status = await sim.get("/control/status")
        if holds(status):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(status)


async def test_silence_ends_the_recording_at_once(sim):
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Trade) > 5)
        bench.feed.silence()
        recorded = len(bench.outboxes[BTC].events)
        await asyncio.sleep(0.5)
        assert len(bench.outboxes[BTC].events) == recorded


async def test_subscriptions_start_a_few_at_a_time(sim):
    """Twenty subscriptions a second: fewer would be slow, all at once would be banned."""
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC, ETH)
        began = asyncio.get_running_loop().time()
        await until(lambda: min(bench.count(Trade), bench.count(Trade, ETH), bench.count(Book, ETH)) > 0)
        assert asyncio.get_running_loop().time() - began > 0.1


def test_an_exchange_instance_knows_nothing_of_the_last_one():
    """What a rebuild relies on: ccxt keeps its state in the instance, not in the class."""
    from daedalus_ingestor.ccxt_exchange import ExchangeAccess

    access = ExchangeAccess("binanceus", "binanceus", ("BTC/USDT",), "http://127.0.0.1:9", timedelta(seconds=30))
    first, second = make_exchange(access), make_exchange(access)
    first.options["streamBySubscriptionsHash"] = {"used": "up"}
    first.urls["api"]["public"] = "elsewhere"
    first.orderbooks["BTC/USDT"] = object()
    assert second.options.get("streamBySubscriptionsHash") != {"used": "up"}
    assert second.urls["api"]["public"] == "http://127.0.0.1:9/api/v3"
    assert second.orderbooks == {}


async def test_what_still_comes_to_a_rejected_subscription_is_followed_by_a_gap_when_it_ends(sim):
    patient = Backoff(timedelta(seconds=60), timedelta(seconds=60))
    async with feed_bench(sim.url, {BTC: (TRADES,)}, backoff=patient) as bench:
        bench.add(BTC)
        await until(lambda: bench.count(Trade) > 5)
        [subscription] = bench.feed._fed[BTC]
        bench.feed.rejected(subscription, ExchangeError("try again later"))
        seen = bench.count(Trade)
        await until(lambda: bench.count(Trade) > seen + 5)
        await sim.fault("drop")
        await until(lambda: bench.reasons(TRADES) == ["start", "refused", "reconnect"], 10.0)
