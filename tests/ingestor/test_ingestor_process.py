"""The ingestor's life as a process: starting without Redis, handing over, being killed, stopping, overflowing."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from daedalus_common.events import Book, Event, Gap, Trade
from ingestor.pipeline import (
    Ingestor,
    check_books,
    check_trades,
    configuration,
    gaps,
    ingestor,
    length,
    reasons,
    sent_to_the_end,
    stream,
    until,
)
from simulator.harness import Simulator, simulator_process
from support.valkey import ValkeyServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

BTC, ETH = "BTC/USDT", "ETH/USDT"
BOTH_CHANNELS = {"watchOrderBook": [BTC], "watchTrades": [BTC]}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with simulator_process("--symbols", BTC, ETH, "--depth-rate", "100", "--trade-rate", "50") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


def recorded(url: str, kind: type) -> int:
    return sum(isinstance(event, kind) for event in stream(url))


async def test_every_misfortune_is_declared_and_nothing_else_is_lost(redis_url, tmp_path, sim):
    """Broken frame, skipped update, cut connection, dead feed, one after the other."""
    config = configuration(redis_url, sim.url, BOTH_CHANNELS, ingestion={"stale_after_seconds": 6.0})

    async def goes_on(for_events: int = 3) -> None:
        books, trades = recorded(redis_url, Book) + for_events, recorded(redis_url, Trade) + for_events
        await until(lambda: recorded(redis_url, Book) > books and recorded(redis_url, Trade) > trades)

    async def declared(channel: str, *expected: str) -> None:
        await until(lambda: reasons(stream(redis_url), channel) == list(expected))
        await goes_on()

    async with ingestor(tmp_path, config) as running:
        await declared("orderbook", "start")
        await sim.fault("malformed", symbol=BTC)
        await declared("trades", "start", "bad_frame")
        await sim.fault("skip", symbol=BTC, channel="depth", count=1)
        await declared("orderbook", "start", "resync")
        await sim.fault("drop", symbol=BTC)
        await declared("orderbook", "start", "resync", "reconnect")
        await goes_on(for_events=40)  # how busy a connection is shows after ten arrivals
        await sim.fault("stall", seconds=60)
        await declared("orderbook", "start", "resync", "reconnect", "stale")
        sent = await sent_to_the_end(sim, redis_url)
        assert await running.metric("daedalus_ingestor_bad_frames_total", reason="unreadable") == 2
        assert await running.metric("daedalus_ingestor_rebuilds_total") == 1
        assert await running.metric("daedalus_ingestor_gaps_total", channel="orderbook") == 4
        assert await running.stop() == 0
    events = stream(redis_url)
    assert reasons(events, "trades") == ["start", "bad_frame", "reconnect", "stale"]
    check_books(events, [last for _, last in sent["depth"]["ids"]])
    check_trades(events, sent["trade"]["ids"])
    for gap in gaps(events, "orderbook")[1:]:
        assert gap.last_nonce is not None
    (bad,) = running.logged("bad frame", kind="unreadable")
    assert bad["frame"].startswith('{"e":"depthUpdate"')


async def test_a_stop_loses_nothing_that_was_captured(redis_url, tmp_path, sim):
    async with ingestor(tmp_path, configuration(redis_url, sim.url, BOTH_CHANNELS)) as running:
        await until(lambda: recorded(redis_url, Trade) > 20)
        captured = await running.metric("daedalus_ingestor_events_total")
        assert await running.stop() == 0
    events = stream(redis_url)
    assert sum(isinstance(event, Book | Trade) for event in events) >= captured
    ledger = (await sim.get("/control/ledger"))["symbols"][BTC]["channels"]
    check_books(events, [last for _, last in ledger["depth"]["ids"]], to_the_end=False)
    check_trades(events, ledger["trade"]["ids"], to_the_end=False)
    with redis.Redis.from_url(redis_url) as client:
        assert client.hget("{binanceus:BTC-USDT}:lease:ingestor", "owner") == b"", "the lease is given back"
    assert running.logged("stopped")


async def test_a_killed_ingestor_is_followed_by_one_that_declares_what_it_does_not_know(redis_url, tmp_path, sim):
    config = configuration(redis_url, sim.url, BOTH_CHANNELS)
    async with ingestor(tmp_path, config) as first:
        await until(lambda: recorded(redis_url, Trade) > 20 and recorded(redis_url, Book) > 20)
        first.process.kill()
        await first.process.wait()
    before = stream(redis_url)
    async with ingestor(tmp_path, config) as second:
        await until(lambda: recorded(redis_url, Trade) > 60 and recorded(redis_url, Book) > 40)
        assert await second.stop() == 0
    events = stream(redis_url)
    for channel in ("orderbook", "trades"):
        assert reasons(events, channel) == ["start", "takeover"]
    last_book = [event.nonce for event in before if isinstance(event, Book)][-1]
    last_trade = [event.id for event in before if isinstance(event, Trade)][-1]
    assert gaps(events, "orderbook")[1].last_nonce == last_book
    assert gaps(events, "trades")[1].last_id == last_trade
    ledger = (await sim.get("/control/ledger"))["symbols"][BTC]["channels"]
    check_books(events, [last for _, last in ledger["depth"]["ids"]], to_the_end=False)
    check_trades(events, ledger["trade"]["ids"], to_the_end=False)


async def test_two_replicas_share_the_markets_and_a_stopped_ones_move_over(redis_url, tmp_path, sim):
    config = configuration(redis_url, sim.url, {"watchTrades": [BTC, ETH]})

    def owner(market: str) -> str:
        with redis.Redis.from_url(redis_url) as client:
            return (client.hget(f"{{binanceus:{market}}}:lease:ingestor", "owner") or b"").decode()

    def owners() -> set[str]:
        return {owner("BTC-USDT"), owner("ETH-USDT")}

    async with ingestor(tmp_path, config, "one") as one:
        await until(lambda: owners() == {"one"} and recorded(redis_url, Trade) > 5)
        async with ingestor(tmp_path, config, "two") as two:
            await until(lambda: owners() == {"one", "two"})
            lengths = [length(redis_url, f"binanceus:{name}") for name in ("BTC-USDT", "ETH-USDT")]
            await until(lambda: all(
                length(redis_url, f"binanceus:{name}") > before + 10
                for name, before in zip(("BTC-USDT", "ETH-USDT"), lengths, strict=True)
            ))  # fmt: skip
            assert await one.stop() == 0
            await until(lambda: owners() == {"two"})
            assert await two.stop() == 0
    ledger = (await sim.get("/control/ledger"))["symbols"]
    for symbol in (BTC, ETH):
        events = stream(redis_url, f"binanceus:{symbol.replace('/', '-')}")
        check_trades(events, ledger[symbol]["channels"]["trade"]["ids"], to_the_end=False)
        assert reasons(events, "trades")[0] == "start"
        assert set(reasons(events, "trades")[1:]) == {"takeover"}


async def test_each_market_is_watched_by_one_replica_and_one_without_markets_opens_no_connection(
    redis_url, tmp_path, sim
):
    config = configuration(redis_url, sim.url, {"watchTrades": [BTC, ETH]})

    async def watched() -> tuple[dict[str, int], int]:
        status = await sim.get("/control/status")
        return status["subscriptions"], status["connections"]["open"]

    async def until_watched(connections: int) -> None:
        async with asyncio.timeout(40):
            while await watched() != ({"btcusdt@trade": 1, "ethusdt@trade": 1}, connections):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async with (
        ingestor(tmp_path, config, "one") as one,
        ingestor(tmp_path, config, "two") as two,
        ingestor(tmp_path, config, "three") as three,
    ):
        each = (one, two, three)
        await until(lambda: all(replica.logged("first round of leases") for replica in each))
        await until_watched(2)
        feeding: list[float] = []
        async with asyncio.timeout(40):
            while sorted(feeding) != [0, 1, 1]:  # each tells it at the end of its turn
                feeding = [await replica.metric("daedalus_ingestor_markets") for replica in each]
        idle = each[feeding.index(0)]
        assert await idle.metric("daedalus_ingestor_subscriptions") == 0
        assert await idle.metric("daedalus_lease_load") == 0
        assert await each[feeding.index(1)].stop() == 0
        await until_watched(2)
        async with asyncio.timeout(40):  # handed over to who had none
            while await idle.metric("daedalus_ingestor_markets") != 1:  # noqa: ASYNC110  another process's
                await asyncio.sleep(0.1)


async def test_redis_down_at_start_is_waited_for_and_told(server, tmp_path, sim):
    server.stop()
    async with ingestor(tmp_path, configuration(server.url, sim.url, BOTH_CHANNELS)) as running:
        await until(lambda: bool(running.logged("waiting for Redis")))
        status, body = await running.get("/readyz")
        assert status == 503
        assert "redis" in body
        server.start()
        await until(lambda: recorded(server.url, Trade) > 3)
        await until(lambda: bool(running.logged("subscribed", channel="orderbook")))
        await running.answers("/readyz", 200)
        assert await running.stop() == 0


async def test_a_stop_while_redis_is_still_awaited_ends_at_once(server, tmp_path, sim):
    server.stop()
    async with ingestor(tmp_path, configuration(server.url, sim.url, BOTH_CHANNELS)) as running:
        await until(lambda: bool(running.logged("waiting for Redis")))
        assert await running.stop() == 0


async def test_what_does_not_fit_the_queue_is_a_declared_gap(server, tmp_path, sim):
    limits = {"queue_maxsize": 100, "spool_max_mb": 0}
    config = configuration(server.url, sim.url, BOTH_CHANNELS, ingestion=limits)
    config["redis"]["socket_timeout_seconds"] = 1.0
    async with ingestor(tmp_path, config) as running:
        await until(lambda: recorded(server.url, Trade) > 20 and recorded(server.url, Book) > 10)
        server.pause()
        dropped = 0.0
        while dropped < 20:
            await asyncio.sleep(0.2)
            dropped = await running.metric("daedalus_ingestor_dropped_events_total")
        server.resume()
        await until(lambda: "overflow" in reasons(stream(server.url), "trades"))
        books, trades = recorded(server.url, Book), recorded(server.url, Trade)
        await until(lambda: recorded(server.url, Book) > books + 3 and recorded(server.url, Trade) > trades + 3)
        ledger = await sent_to_the_end(sim, server.url)
        dropped = await running.metric("daedalus_ingestor_dropped_events_total")
        assert await running.stop() == 0
    events = stream(server.url)
    lost = sum(event.lost or 0 for event in events if isinstance(event, Gap) and event.reason == "overflow")
    assert lost == dropped
    sent_trades, sent_books = ledger["trade"]["ids"], [last for _, last in ledger["depth"]["ids"]]
    trades = check_trades(events, sent_trades)
    check_books(events, sent_books)
    declared = sum(gap.lost or 0 for gap in gaps(events, "trades"))
    assert trades + declared == len(sent_trades), "each trade is recorded or counted as lost"


def spooling(server: ValkeyServer, sim: Simulator) -> dict[str, Any]:
    config = configuration(server.url, sim.url, BOTH_CHANNELS, ingestion={"queue_maxsize": 100})
    config["redis"]["socket_timeout_seconds"] = 1.0
    return config


async def spooled(running: Ingestor, count: int) -> None:
    """Waits until so many events more are on disk."""
    while await running.metric("daedalus_ingestor_spool_events") < count:  # noqa: ASYNC110  it is another process's
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("fault", ["away", "paused", "full"])
async def test_what_does_not_fit_the_queue_waits_on_disk(server, tmp_path, sim, fault):
    async with ingestor(tmp_path, spooling(server, sim)) as running:
        await until(lambda: recorded(server.url, Trade) > 20 and recorded(server.url, Book) > 10)
        if fault == "away":
            server.stop()
        elif fault == "paused":
            server.pause()
        else:
            with redis.Redis.from_url(server.url) as client:
                client.config_set("maxmemory", "1mb")
        await spooled(running, 200)
        assert await running.metric("daedalus_ingestor_spool_age_seconds") > 0.5
        assert await running.metric("daedalus_ingestor_spool_bytes") > 10_000
        if fault == "away":
            server.start()
        elif fault == "paused":
            server.resume()
        else:
            with redis.Redis.from_url(server.url) as client:
                client.config_set("maxmemory", "0")
        books, trades = recorded(server.url, Book), recorded(server.url, Trade)
        await until(lambda: recorded(server.url, Book) > books + 20 and recorded(server.url, Trade) > trades + 50)
        ledger = await sent_to_the_end(sim, server.url)
        async with asyncio.timeout(20):
            while await running.metric("daedalus_ingestor_spool_events") > 0:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await running.metric("daedalus_ingestor_dropped_events_total") == 0
        assert await running.stop() == 0
    events = stream(server.url)
    assert check_trades(events, ledger["trade"]["ids"]) == len(ledger["trade"]["ids"])
    check_books(events, [last for _, last in ledger["depth"]["ids"]])
    assert {*reasons(events, "trades"), *reasons(events, "orderbook")} == {"start"}
    assert list((tmp_path / "spool").rglob("*.spool")) == []


async def test_the_spool_of_a_killed_ingestor_is_published_by_the_next_one(server, tmp_path, sim):
    """Under another name, as a service without one gets it; what was in memory alone is declared."""
    config = spooling(server, sim)
    async with ingestor(tmp_path, config, "one") as first:
        await until(lambda: recorded(server.url, Trade) > 20 and recorded(server.url, Book) > 10)
        server.stop()
        await spooled(first, 200)
        first.process.kill()
        await first.process.wait()
    on_disk = sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*.spool"))
    server.start()
    async with ingestor(tmp_path, config, "two") as second:
        await until(lambda: "takeover" in reasons(stream(server.url), "trades"))
        (found,) = second.logged("spooled events found, they are published first")
        books, trades = recorded(server.url, Book), recorded(server.url, Trade)
        await until(lambda: recorded(server.url, Book) > books + 20 and recorded(server.url, Trade) > trades + 10)
        assert await second.stop() == 0
    events = stream(server.url)
    assert found["events"] >= 200
    assert on_disk > 200 * 44
    (lost,) = gaps(events, "control")
    assert lost.reason == "spool_lost"
    assert 0 < (lost.lost or 0) <= 110
    assert reasons(events, "trades") == reasons(events, "orderbook") == ["start", "takeover"]
    place = events.index(lost)
    taken_over = next(i for i, event in enumerate(events) if isinstance(event, Gap) and event.reason == "takeover")
    assert taken_over - place - 1 == found["events"]
    for name in ("depth", "trade"):
        assert len(ids_of(events, name)) == len(set(ids_of(events, name)))
        assert ids_of(events, name) == sorted(ids_of(events, name))


async def test_a_stop_while_redis_is_away_leaves_everything_to_the_next_start(server, tmp_path, sim):
    config = configuration(server.url, sim.url, BOTH_CHANNELS)
    async with ingestor(tmp_path, config, "one") as first:
        await until(lambda: recorded(server.url, Trade) > 20 and recorded(server.url, Book) > 10)
        server.stop()
        async with asyncio.timeout(40):
            while await first.metric("daedalus_ingestor_queued_events") < 60:  # noqa: ASYNC110  another process's
                await asyncio.sleep(0.1)
        assert await first.stop(60) == 0
        assert kept_by(first) > 50
    server.start()
    async with ingestor(tmp_path, config, "two") as second:
        await until(lambda: "takeover" in reasons(stream(server.url), "trades"))
        assert await second.stop() == 0
    events = stream(server.url)
    assert gaps(events, "control") == []
    assert ids_of(events, "trade") == sorted(set(ids_of(events, "trade")))


def kept_by(running: Ingestor) -> int:
    (line,) = running.logged("stopped without Redis: captured events stay in the spool until the next start")
    return int(line["events"])


def ids_of(events: Sequence[Event], name: str) -> list[int]:
    if name == "trade":
        return [int(event.id) for event in events if isinstance(event, Trade)]
    return [event.nonce or 0 for event in events if isinstance(event, Book)]


async def test_an_unknown_symbol_is_told_and_does_not_disturb_the_others(redis_url, tmp_path, sim):
    channels = {"watchOrderBook": [BTC], "watchTrades": [BTC, "BTC/USDX"]}
    async with ingestor(tmp_path, configuration(redis_url, sim.url, channels)) as running:
        await until(lambda: recorded(redis_url, Trade) > 3)
        (told,) = running.logged("unknown symbol, not recorded")
        assert (told["symbol"], told["nearest"][0]) == ("BTC/USDX", BTC)
        assert await running.metric("daedalus_ingestor_unknown_symbols") == 1
        assert await running.stop() == 0
    assert length(redis_url, "binanceus:BTC-USDX") == 0


async def test_an_exchange_that_refuses_at_start_is_named_by_readyz(redis_url, tmp_path, sim):
    await sim.fault("status", status=429, path="exchangeInfo", count=3, retry_after_seconds=1)
    async with ingestor(tmp_path, configuration(redis_url, sim.url, BOTH_CHANNELS)) as running:
        await until(lambda: bool(running.logged("markets not loaded")))
        status, body = await running.get("/readyz")
        assert status == 503
        assert "exchange binanceus" in body
        assert "429" in body
        await until(lambda: recorded(redis_url, Trade) > 3)
        assert await running.stop() == 0


async def test_a_configuration_without_markets_is_no_start(tmp_path):
    config = configuration("redis://127.0.0.1:1/0", "http://127.0.0.1:1", BOTH_CHANNELS)
    config["ccxt"]["exchanges"] = {}
    async with ingestor(tmp_path, config) as running:
        assert await asyncio.wait_for(running.process.wait(), 30) == 1
    assert "no market is configured; list symbols under ccxt.exchanges" in running.log_file.read_text()
