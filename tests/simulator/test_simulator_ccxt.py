"""Unmodified ccxt.pro clients, after nothing but a rewrite of their addresses."""

import asyncio

import ccxt
import pytest

from simulator.harness import ccxt_client, simulator, until

EXCHANGES = pytest.mark.parametrize("exchange_id", ["binanceus", "binance"])


class Watcher:
    """Watches a book for as long as it is entered, as a recorder does: again after each error."""

    def __init__(self, exchange, symbol):
        self.exchange = exchange
        self.symbol = symbol
        self.errors = []
        self.updates = 0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch())
        await until(lambda: self.updates > 0)
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self):
        while True:
            try:
                await self.exchange.watch_order_book(self.symbol)
                self.updates += 1
            except ccxt.BaseError as error:
                self.errors.append(error)
                await asyncio.sleep(0.05)

    async def recovers(self, seconds=20):
        """Returns when the book goes on."""
        before = self.updates
        await until(lambda: self.updates > before + 3, seconds)

    async def agrees_with(self, sim):
        """Whether the client's book is the simulator's, once all is sent."""
        await sim.control("pause")
        truth = await sim.depth(self.symbol.replace("/", ""))
        await until(lambda: self.exchange.orderbooks[self.symbol]["nonce"] == truth["lastUpdateId"])
        book = self.exchange.orderbooks[self.symbol]
        return all(
            [list(level) for level in book[side][:50]] == [[float(p), float(q)] for p, q in truth[side][:50]]
            for side in ("bids", "asks")
        )


@EXCHANGES
async def test_markets_load_with_tick_and_lot(sim, exchange_id):
    async with ccxt_client(sim, exchange_id) as exchange:
        markets = await exchange.load_markets()
    assert set(markets) == {"BTC/USDT", "ETH/USDT"}
    assert markets["BTC/USDT"]["precision"] == {"amount": 1e-5, "price": 0.01, "base": 1e-8, "quote": 1e-8}
    assert (markets["ETH/USDT"]["active"], markets["ETH/USDT"]["type"]) == (True, "spot")


@EXCHANGES
async def test_markets_load_with_api_keys_too(sim, exchange_id):
    async with ccxt_client(sim, exchange_id, apiKey="key", secret="secret") as exchange:
        assert set(await exchange.load_markets()) == {"BTC/USDT", "ETH/USDT"}


@EXCHANGES
async def test_watched_book_ends_equal_to_the_simulators_own(sim, exchange_id):
    async with ccxt_client(sim, exchange_id) as exchange, Watcher(exchange, "BTC/USDT") as watcher:
        await watcher.recovers()
        assert await watcher.agrees_with(sim)
        assert watcher.errors == []


@EXCHANGES
async def test_watched_trades_are_those_sent(sim, exchange_id):
    received = []
    async with ccxt_client(sim, exchange_id) as exchange:
        while len(received) < 40:
            received += await exchange.watch_trades("ETH/USDT")
        ledger = await sim.channel("ETH/USDT", "trade")
    assert [int(trade["id"]) for trade in received] == ledger["ids"][: len(received)]
    assert {trade["side"] for trade in received} == {"buy", "sell"}
    assert all(trade["symbol"] == "ETH/USDT" and trade["amount"] > 0 for trade in received)


@EXCHANGES
async def test_watched_ticker_has_bid_and_ask(sim, exchange_id):
    async with ccxt_client(sim, exchange_id) as exchange:
        first = await exchange.watch_ticker("BTC/USDT", {"name": "ticker"})
        second = await exchange.watch_ticker("BTC/USDT", {"name": "ticker"})
    assert first["bid"] < first["ask"]
    assert first["timestamp"] < second["timestamp"]


async def test_mini_tickers_and_bids_asks_are_watched(sim):
    async with ccxt_client(sim) as exchange:
        tickers = await exchange.watch_tickers(["BTC/USDT", "ETH/USDT"])
        touches = await exchange.watch_bids_asks(["BTC/USDT"])
    assert all(ticker["last"] > 0 for ticker in tickers.values())
    assert touches["BTC/USDT"]["bid"] < touches["BTC/USDT"]["ask"]


async def test_skipped_updates_make_the_client_resynchronise(sim):
    async with ccxt_client(sim) as exchange, Watcher(exchange, "BTC/USDT") as watcher:
        await sim.fault("skip", symbol="BTC/USDT", count=3)
        await until(lambda: watcher.errors)
        assert isinstance(watcher.errors[0], ccxt.ChecksumError)
        await watcher.recovers()
        ledger = await sim.get("/control/ledger", symbol="BTC/USDT")
        assert await watcher.agrees_with(sim)
    counts = ledger["symbols"]["BTC/USDT"]["channels"]["depth"]
    assert counts["generated"] == counts["sent"] + 3
    assert len(ledger["symbols"]["BTC/USDT"]["snapshots"]) == 2
    assert [(fault["kind"], fault["count"]) for fault in ledger["faults"]] == [("skip", 3)]


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_dropped_client_connects_again(sim, how):
    async with ccxt_client(sim) as exchange, Watcher(exchange, "BTC/USDT") as watcher:
        assert (await sim.fault("drop", how=how))["connections"] == 1
        await until(lambda: watcher.errors)
        assert isinstance(watcher.errors[0], ccxt.NetworkError)
        await watcher.recovers()
        assert await watcher.agrees_with(sim)
        assert (await sim.get("/control/status"))["connections"] == {"open": 1, "opened": 2}


async def test_a_malformed_frame_ends_the_receive_loop_of_a_bare_client_silently(sim):
    async with ccxt_client(sim) as exchange, Watcher(exchange, "BTC/USDT") as watcher:
        await sim.fault("malformed")
        await asyncio.sleep(1)
        updates = watcher.updates
        await asyncio.sleep(1)
        assert watcher.updates == updates
        assert watcher.errors == []


async def test_an_error_frame_does_not_disturb_the_book(sim):
    async with ccxt_client(sim) as exchange, Watcher(exchange, "BTC/USDT") as watcher:
        await sim.fault("error_frame")
        await watcher.recovers()
        assert await watcher.agrees_with(sim)


@pytest.mark.parametrize(
    ("status", "error"), [(429, ccxt.DDoSProtection), (418, ccxt.DDoSProtection), (503, ccxt.ExchangeNotAvailable)]
)
async def test_a_refused_request_raises_what_the_real_exchange_would_make_it_raise(sim, status, error):
    await sim.fault("status", status=status, count=1)
    async with ccxt_client(sim) as exchange:
        with pytest.raises(error):
            await exchange.load_markets()
        assert await exchange.load_markets()


async def test_a_snapshot_refused_at_first_is_asked_for_again(sim):
    async with ccxt_client(sim) as exchange:
        await exchange.load_markets()
        await sim.fault("status", status=429, path="/depth", count=1, retry_after_seconds=1)
        async with Watcher(exchange, "BTC/USDT") as watcher:
            await watcher.recovers()
            assert await watcher.agrees_with(sim)


async def test_an_unsubscribed_client_hears_no_more(sim):
    async with ccxt_client(sim) as exchange:
        await exchange.watch_trades("BTC/USDT")
        await exchange.un_watch_trades("BTC/USDT")
        assert (await sim.get("/control/status"))["subscriptions"] == {}


async def test_a_stalled_client_hears_nothing_and_a_new_one_hears_again(sim):
    async with ccxt_client(sim) as exchange, Watcher(exchange, "BTC/USDT") as watcher:
        await sim.fault("stall", seconds=60)
        await asyncio.sleep(0.3)
        updates = watcher.updates
        await asyncio.sleep(1)
        assert watcher.updates == updates
        async with ccxt_client(sim) as rebuilt, Watcher(rebuilt, "BTC/USDT") as second:
            await second.recovers()


async def test_many_symbols_share_one_connection():
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "DOGE/USDT", "ETH/BTC"]
    async with simulator("--symbols", *symbols) as sim, ccxt_client(sim) as exchange:
        seen = set()
        async with asyncio.timeout(30):
            while seen != set(symbols):
                seen.add((await exchange.watch_order_book_for_symbols(symbols))["symbol"])
        assert (await sim.get("/control/status"))["connections"]["open"] == 1
