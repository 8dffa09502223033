"""A market that comes back to a feed: nothing of the time before the take-over's gap is recorded after it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from ccxt.base.errors import NetworkError

from daedalus_common.events import Book, Channel, Trade
from daedalus_common.markets import Market
from daedalus_ingestor.ccxt_memory import leave_behind
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.trades import TradeReader
from ingestor.feed_bench import BTC, ETH, FeedBench, feed_bench, until
from ingestor.offline_exchange import OfflineExchange
from simulator.harness import Simulator, simulator

BOOK, TRADES = Channel.ORDERBOOK, Channel.TRADES
ALL: dict[Market, tuple[Channel, ...]] = {BTC: (BOOK, TRADES), ETH: (BOOK, TRADES)}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    rates = ("--depth-rate", "50", "--trade-rate", "20", "--depth-interval-ms", "50")
    async with simulator("--symbols", "BTC/USDT", "ETH/USDT", *rates) as running:
        yield running


def ids(bench: FeedBench, market: Market) -> list[int]:
    return [int(event.id) for event in bench.events(market) if isinstance(event, Trade)]


def nonces(bench: FeedBench, market: Market) -> list[int]:
    return [event.nonce or 0 for event in bench.events(market) if isinstance(event, Book)]


async def come_back(bench: FeedBench) -> tuple[int, int]:
    """The newest trade and book of ETH before it comes back; then the bench holds what came after."""
    before = max(ids(bench, ETH)), max(nonces(bench, ETH))
    bench.add(ETH, reason=Reason.TAKEOVER)
    await until(lambda: bench.count(Book, ETH) > 5 and bench.count(Trade, ETH) > 5)
    return before


async def test_after_its_connection_was_lost_meanwhile(sim):
    async with feed_bench(sim.url, ALL) as bench:
        bench.add(BTC, ETH)
        await until(lambda: bench.count(Book, ETH) > 20 and bench.count(Trade, ETH) > 20)
        await sim.fault("drop", how="abort")
        await until(lambda: bench.reasons(BOOK, ETH) == bench.reasons(TRADES, ETH) == ["start", "reconnect"])
        await bench.feed.remove(ETH)
        trade, book = await come_back(bench)
        assert ids(bench, ETH)[0] > trade
        assert nonces(bench, ETH)[0] > book
        assert bench.reasons(BOOK, ETH) == bench.reasons(TRADES, ETH) == ["takeover"]


async def test_though_the_exchange_never_said_that_it_stopped_sending(sim, monkeypatch):
    """Then the connection begins anew, and the take-over's gap holds all of what was missed."""
    async with feed_bench(sim.url, ALL) as bench:
        exchange = bench.feed._session.exchange
        exchange.options["streamLimits"]["spot"] = 1  # as with more than 50 subscriptions: they share connections
        bench.add(BTC, ETH)
        await until(lambda: all(bench.count(kind, m) > 20 for kind in (Book, Trade) for m in (BTC, ETH)))
        monkeypatch.setattr("daedalus_ingestor.subscriber._UNWATCH_SECONDS", 0.0)
        await bench.feed.remove(ETH)
        trade, book = await come_back(bench)
        assert ids(bench, ETH)[0] > trade
        found = nonces(bench, ETH)
        assert found[0] > book
        assert found == sorted(found)
        assert bench.reasons(BOOK, BTC) == ["start", "reconnect"], "it was on the same connection"


def kraken_book(type_: str, bid: float, quantity: float = 1.0) -> dict[str, Any]:
    bids = [{"price": bid, "qty": quantity}]
    update = {"symbol": "BTC/USDT", "bids": bids, "asks": [], "checksum": 1, "timestamp": "2026-02-03T14:00:00.000000Z"}
    return {"channel": "book", "type": type_, "data": [update]}


def bybit_book(type_: str, bid: str) -> dict[str, Any]:
    data = {"s": "BTCUSDT", "b": [[bid, "1"]], "a": [], "u": 1, "seq": 1}
    return {"topic": "orderbook.50.BTCUSDT", "type": type_, "ts": 1_770_127_200_000, "data": data}


@pytest.mark.parametrize(
    ("exchange", "url", "snapshot", "update"),
    [
        ("kraken", "wss://ws.kraken.com/v2", kraken_book("snapshot", 1.0), kraken_book("update", 2.0)),
        ("bybit", "wss://stream.bybit.com/v5/public/spot", bybit_book("snapshot", "1"), bybit_book("delta", "2")),
    ],
)
async def test_whose_updates_went_on_to_come_has_no_book_until_the_new_snapshot(
    offline, exchange, url, snapshot, update
):
    bench: OfflineExchange = offline(exchange, "BTC/USDT", url=url)
    for frame in (snapshot, update):
        bench.receive(frame)
    assert [event.bids[0][0] for event in bench.events() if isinstance(event, Book)] == [1.0, 2.0]
    leave_behind(bench.exchange, bench.subscriptions["BTC/USDT", BOOK])
    bench.receive(update)
    assert len(bench.events()) == 2, "the snapshot that comes may hold more than this and what follows it"
    for frame in (snapshot, update):
        bench.receive(frame)
    assert [event.bids[0][0] for event in bench.events()[2:] if isinstance(event, Book)] == [1.0, 2.0]
    assert bench.told == []


def trade(number: int) -> dict[str, Any]:
    return {"e": "trade", "E": 1700, "T": 1699, "s": "BTCUSDT", "t": number, "p": "1", "q": "1", "m": True}


def trade_ids(bench: OfflineExchange) -> list[str]:
    return [event.id for event in bench.events() if isinstance(event, Trade)]


async def test_whose_trades_ccxt_still_holds_records_only_new_ones(offline):
    bench: OfflineExchange = offline("binanceus", "BTC/USDT")
    for number in (1, 2, 3):
        bench.receive(trade(number))
    subscription = bench.subscriptions["BTC/USDT", TRADES]
    subscription.trades = TradeReader()
    leave_behind(bench.exchange, subscription)
    for number in (4, 5):
        bench.receive(trade(number))
    assert trade_ids(bench) == ["1", "2", "3", "4", "5"]


async def test_trades_that_a_lost_connection_still_brings_belong_to_the_gap(offline):
    bench: OfflineExchange = offline("binanceus", "BTC/USDT")
    lost = bench.client
    bench.receive(trade(1))
    bench.client.on_error(NetworkError("gone"))
    bench.receive(trade(2))
    bench.client = bench.exchange.client(lost.url)
    for number in (5, 6):
        bench.receive(trade(number))
    assert bench.client is not lost
    assert trade_ids(bench) == ["1", "5", "6"], "nothing says that 3 and 4 lie between 2 and 5"
