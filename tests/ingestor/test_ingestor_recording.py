"""Simulator, Valkey and ingestor as processes: every update that was sent is in the stream, once and in order."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daedalus_common.events import Book, Heartbeat, Ticker
from daedalus_ingestor.ccxt_exchange import ExchangeAccess, make_exchange
from ingestor.pipeline import (
    check_books,
    check_trades,
    configuration,
    ends_are_in,
    gaps,
    ingestor,
    length,
    reasons,
    stream,
    until,
)
from simulator.harness import Simulator, simulator_process

pytestmark = pytest.mark.e2e

BOTH = ["BTC/USDT", "ETH/USDT"]
ALL_CHANNELS = {"watchOrderBook": BOTH, "watchTrades": BOTH, "watchTicker": ["BTC/USDT"]}


async def everything_recorded(running: Any, ledger: Any, redis_url: str) -> None:
    """Waits until the last that was sent has come, nothing but heartbeats follows and the queue is empty."""
    before = -1
    async with asyncio.timeout(90):
        while True:
            streams = {s: stream(redis_url, f"binanceus:{s.replace('/', '-')}") for s in ledger["symbols"]}
            now = sum(not isinstance(event, Heartbeat) for events in streams.values() for event in events)
            arrived = all(ends_are_in(events, ledger["symbols"][s]["channels"]) for s, events in streams.items())
            if arrived and now == before and await running.metric("daedalus_ingestor_queued_events") == 0:
                return
            before = now
            await asyncio.sleep(0.4)


async def sent_by(sim: Simulator) -> Any:
    """The ledger of an exchange that sends nothing more."""
    await sim.control("pause")
    return await sim.get("/control/ledger")


async def test_every_update_is_recorded_once_and_in_order(redis_url: str, tmp_path: Path) -> None:
    rates = ("--depth-rate", "200", "--depth-interval-ms", "20", "--trade-rate", "100")
    async with simulator_process("--symbols", *BOTH, *rates) as sim:
        config = configuration(
            redis_url, sim.url, ALL_CHANNELS, ingestion={"heartbeat_seconds": 0.5, "stale_after_seconds": 30}
        )
        async with ingestor(tmp_path, config) as running:
            await until(lambda: length(redis_url) > 500 and length(redis_url, "binanceus:ETH-USDT") > 500)
            ledger = await sent_by(sim)
            await everything_recorded(running, ledger, redis_url)
            await until(lambda: any(isinstance(event, Heartbeat) for event in stream(redis_url)[-3:]))
            assert await running.stop() == 0
    for symbol in BOTH:
        channels = ledger["symbols"][symbol]["channels"]
        events = stream(redis_url, f"binanceus:{symbol.replace('/', '-')}")
        assert check_books(events, [last for _, last in channels["depth"]["ids"]]) > 50
        assert check_trades(events, channels["trade"]["ids"]) == channels["trade"]["sent"]
        for channel in ("orderbook", "trades"):
            assert reasons(events, channel) == ["start"]
            first = next(event for event in events if event.__class__.__name__ != "Heartbeat")
            assert first == gaps(events, "orderbook")[0]
        assert all(len(event.bids) == len(event.asks) == 50 for event in events if isinstance(event, Book))
    tickers = [event for event in stream(redis_url) if isinstance(event, Ticker)]
    assert len(tickers) == ledger["symbols"]["BTC/USDT"]["channels"]["ticker"]["sent"]
    assert all(event.bid is not None and event.ask is not None for event in tickers)


@contextlib.asynccontextmanager
async def bare_loops(sim: Simulator, symbol: str) -> AsyncIterator[dict[str, set[Any]]]:
    """What `while True: await watch_...` sees: the ids of the updates that ccxt gave it."""
    access = ExchangeAccess("binanceus", "binanceus", (symbol,), sim.url, timedelta(seconds=30))
    exchange = make_exchange(access)
    seen: dict[str, set[Any]] = {"depth": set(), "trade": set()}

    async def watch_books() -> None:
        while True:
            seen["depth"].add((await exchange.watch_order_book(symbol))["nonce"])

    async def watch_trades() -> None:
        while True:
            seen["trade"].update(trade["id"] for trade in await exchange.watch_trades(symbol))

    tasks = [asyncio.create_task(watch_books()), asyncio.create_task(watch_trades())]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await exchange.close()


@pytest.mark.timeout(240)
async def test_a_burst_is_recorded_whole_where_a_bare_loop_sees_a_part(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    symbol, burst = "BTC/USDT", 20_000
    quiet = ("--symbols", symbol, "--depth-rate", "20", "--trade-rate", "5")
    async with simulator_process(*quiet) as sim:
        channels = {"watchOrderBook": [symbol], "watchTrades": [symbol]}
        config = configuration(redis_url, sim.url, channels, ingestion={"stale_after_seconds": 120})
        async with ingestor(tmp_path, config) as running:
            await until(lambda: len({type(event) for event in stream(redis_url)}) >= 3)
            async with bare_loops(sim, symbol) as seen:
                await until(lambda: bool(seen["depth"] and seen["trade"]))
                await sim.control("pause")
                before = {channel: len(ids) for channel, ids in seen.items()}
                await sim.control("burst", {"symbol": symbol, "trades": burst, "depth": burst})
                ledger = await sim.get("/control/ledger")
                await everything_recorded(running, ledger, redis_url)
                bare = {channel: len(ids) - before[channel] for channel, ids in seen.items()}
            assert await running.stop() == 0
    sent = ledger["symbols"][symbol]["channels"]
    events = stream(redis_url)
    books = check_books(events, [last for _, last in sent["depth"]["ids"]])
    trades = check_trades(events, sent["trade"]["ids"])
    with capsys.disabled():
        sys.stdout.write(
            f"\nburst of {burst} depth updates and {burst} trades: recorded {books} and {trades} with those before it; "
            f"a bare loop saw {bare['depth']} and {bare['trade']}\n"
        )
    assert reasons(events, "orderbook") == reasons(events, "trades") == ["start"]
    assert books >= burst
    assert trades >= burst
    assert bare["depth"] < burst / 2
    assert bare["trade"] < burst


async def test_a_real_recording_is_recorded_whole(redis_url: str, tmp_path: Path, shared_data: Path) -> None:
    recording = shared_data / "binance_spot_2024-08" / "btcusdt_20240808.gz"
    async with simulator_process("--replay", str(recording), "--speed", "20", "--settle-ms", "2000") as sim:
        channels = {"watchOrderBook": ["BTC/USDT"], "watchTrades": ["BTC/USDT"]}
        config = configuration(redis_url, sim.url, channels, ingestion={"stale_after_seconds": 30})
        async with ingestor(tmp_path, config) as running:
            await until(lambda: length(redis_url) > 2000)
            await sim.control("stop")
            ledger = await sim.get("/control/ledger")
            await everything_recorded(running, ledger, redis_url)
            assert await running.stop() == 0
    btc = ledger["symbols"]["BTC/USDT"]
    updates = [last for _, last in btc["channels"]["depth"]["ids"]]
    (snapshot,) = btc["snapshots"]
    events = stream(redis_url)
    # The recording begins a little before its snapshot: ccxt gives one book for the snapshot and what came before it.
    nonces = [event.nonce for event in events if isinstance(event, Book)]
    merged = len(updates) - len(nonces)
    assert nonces == updates[merged:]
    assert merged < max(1, snapshot["depth_sent"]) < 10
    assert len(nonces) > 300
    assert check_trades(events, btc["channels"]["trade"]["ids"]) == btc["channels"]["trade"]["sent"] > 1000
    assert reasons(events, "orderbook") == ["start"]
