"""The synthetic market: a book that is always sound, trades that eat it, and updates that tell the truth."""

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daedalus_simulator.arrivals import Arrivals, Excitation
from daedalus_simulator.book import Book, Fill, Side
from daedalus_simulator.frames import CHANNELS, Frame
from daedalus_simulator.instrument import parse_symbol
from daedalus_simulator.market import MarketSettings, SyntheticMarket, market_generator
from simulator.harness import ClientBook

BTC = parse_symbol("BTC/USDT")


def market(seed: int = 0, symbol: str = "BTC/USDT", **settings: Any) -> SyntheticMarket:
    instrument = parse_symbol(symbol)
    return SyntheticMarket(instrument, market_generator(seed, instrument), MarketSettings(**settings))


def run(market: SyntheticMarket, seconds: float) -> Iterator[Frame]:
    for step in range(round(seconds * 100)):
        yield from market.step(1_700_000_000_000 + 10 * step, CHANNELS)


def data(frames: Iterator[Frame], channel: str) -> list[dict]:
    return [orjson.loads(frame.payload) for frame in frames if frame.channel == channel]


symbols = st.sampled_from(["BTC/USDT", "ETH/USDT", "SOL/USDT", "DOGE/USDT", "ETH/BTC", "QQQ/BTC", "A1/EUR"])
rates = st.sampled_from([(0.5, 0.0), (20.0, 5.0), (20.0, 200.0), (3000.0, 20.0), (1000.0, 1000.0)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), symbol=symbols, rates=rates, volatility=st.sampled_from([0.05, 0.6, 20.0]))
def test_book_is_never_crossed_and_every_level_has_a_size(seed, symbol, rates, volatility):
    running = market(seed, symbol, depth_rate=rates[0], trade_rate=rates[1], annual_volatility=volatility)
    for _ in run(running, 1):
        bids, asks = (side.totals for side in running.book.sides)
        assert 0 < max(bids) < min(asks)
        assert min(bids.values()) > 0
        assert min(asks.values()) > 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), symbol=symbols, rates=rates)
def test_each_trade_is_at_the_touch_and_the_next_depth_update_agrees_with_it(seed, symbol, rates):
    running = market(seed, symbol, depth_rate=rates[0], trade_rate=rates[1], depth_interval_ms=0)
    client = ClientBook(running.snapshot(5000).as_json())
    eaten: dict[tuple[int, float], float] = {}
    for frame in run(running, 0.5):
        message = orjson.loads(frame.payload)
        if frame.channel == "trade":
            side = 0 if message["m"] else 1
            price, size = float(message["p"]), float(message["q"])
            assert price == (max(client.sides[0]) if message["m"] else min(client.sides[1]))
            left = client.sides[side][price] - size
            assert left > -1e-9
            eaten[side, price] = left
            if left < 1e-9:
                del client.sides[side][price]
            else:
                client.sides[side][price] = left
        elif frame.channel == "depth":
            client.apply(message)
            for (side, price), left in eaten.items():
                assert client.sides[side].get(price, 0.0) == pytest.approx(left, abs=1e-9)
            eaten.clear()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    interval=st.sampled_from([0, 10, 100, 250]),
    channel=st.sampled_from(["depth", "depth@1000ms"]),
)
def test_a_client_that_applies_every_update_holds_the_markets_book(seed, interval, channel):
    running = market(seed, depth_rate=300, trade_rate=50, depth_interval_ms=interval)
    client = ClientBook(running.snapshot(5000).as_json())
    expected = client.last_id + 1
    for update in data(run(running, 3), channel) + data(iter(running.flush(0, CHANNELS)), channel):
        assert update["U"] == expected
        assert update["u"] >= update["U"]
        expected = update["u"] + 1
        client.apply(update)
    assert client.sides == ClientBook(running.snapshot(5000).as_json()).sides


def test_a_snapshot_between_two_updates_is_bridged_by_the_next_one():
    running = market(depth_rate=300)
    updates = data(run(running, 0.95), "depth")
    client = ClientBook(running.snapshot(5000).as_json())
    assert client.last_id > updates[-1]["u"], "the snapshot is to fall between two updates"
    assert [client.apply(update) for update in updates] == [False] * len(updates)
    assert all(client.apply(update) for update in data(run(running, 1), "depth"))


def test_book_ticker_names_the_top_at_its_update_id():
    running = market(depth_rate=500, trade_rate=50, depth_interval_ms=0)
    client = ClientBook(running.snapshot(5000).as_json())
    seen = 0
    for frame in run(running, 2):
        message = orjson.loads(frame.payload)
        if frame.channel == "depth":
            client.apply(message)
        elif frame.channel == "bookTicker":
            assert message["u"] == client.last_id
            assert client.top == tuple(float(message[key]) for key in "bBaA")
            seen += 1
    assert seen > 100


def test_ticker_times_grow_even_when_the_clock_stands_still():
    running = market()
    frames = [frame for _ in range(500) for frame in running.step(1_700_000_000_000, ["ticker"])]
    assert [frame.first_id for frame in frames] == [1_700_000_000_000 + second for second in range(5)]


def test_ticker_adds_up_the_trades_and_shows_the_touch():
    running = market(trade_rate=50)
    frames = list(run(running, 30))
    trades, ticker = data(iter(frames), "trade"), data(iter(frames), "ticker")[-1]
    prices = [float(trade["p"]) for trade in trades]
    assert ticker["n"] == len(trades)
    assert float(ticker["v"]) == pytest.approx(sum(float(trade["q"]) for trade in trades))
    assert float(ticker["c"]) == prices[-1]
    assert float(ticker["h"]) == max([*prices, BTC.initial_price])
    assert float(ticker["b"]) < float(ticker["a"])


def test_equal_seeds_give_equal_frames_and_other_seeds_others():
    first, again, other = ([frame.payload for frame in run(market(seed), 5)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_market_is_the_same_whatever_of_it_is_wanted():
    watched, unwatched = market(), market()
    list(run(watched, 3))
    for step in range(300):
        assert unwatched.step(step, ()) == []
    assert unwatched.snapshot(1000) == watched.snapshot(1000)


@pytest.mark.parametrize(("depth_rate", "trade_rate"), [(20, 5), (400, 40), (2000, 200)])
def test_rates_are_those_asked_for(depth_rate, trade_rate):
    seconds = 200 if depth_rate < 100 else 30
    running = market(depth_rate=depth_rate, trade_rate=trade_rate, depth_interval_ms=0)
    counts = Counter(frame.channel for frame in run(running, seconds))
    assert counts["depth"] / seconds == pytest.approx(depth_rate, rel=0.15)
    assert counts["trade"] / seconds == pytest.approx(trade_rate, rel=0.25)


def test_arrivals_come_in_clusters():
    instrument = parse_symbol("BTC/USDT")
    arrivals = Arrivals(market_generator(3, instrument), 0.01, Excitation())
    seconds = [sum(arrivals.draw(50, 20)[1] for _ in range(100)) for _ in range(400)]
    assert statistics.mean(seconds) == pytest.approx(20, rel=0.1)
    # Independent (Poisson) arrivals would have a variance equal to their mean.
    assert statistics.variance(seconds) > 1.8 * statistics.mean(seconds)


def test_spread_returns_to_its_usual_width():
    running = market(depth_rate=500, trade_rate=50)
    spreads = []
    for _ in range(100):
        list(run(running, 0.2))
        spreads.append(running.book.best_ask - running.book.best_bid)
    assert statistics.median(spreads) < 60
    widened = [i for i in range(len(spreads) - 5) if spreads[i] > 2 * statistics.median(spreads)]
    assert all(min(spreads[i + 1 : i + 6]) < spreads[i] for i in widened)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "SOL/USDT", "ZZZ/BTC"])
def test_a_book_keeps_its_depth(symbol):
    running = market(symbol=symbol, depth_rate=2000, trade_rate=200)
    seeded = [(len(side), side.orders) for side in running.book.sides]
    list(run(running, 20))
    for side, (levels, orders) in zip(running.book.sides, seeded, strict=True):
        assert 0.4 * levels < len(side) < 1.6 * levels
        assert side.orders < 2 * orders


@settings(max_examples=20, deadline=None)
@given(trades=st.integers(0, 300), depth=st.integers(0, 300), seed=st.integers(0, 99))
def test_a_burst_has_exactly_the_frames_asked_for(trades, depth, seed):
    running = market(seed)
    client = ClientBook(running.snapshot(5000).as_json())
    frames = [frame for update in running.burst(trades, depth, 1, ("depth", "trade")) for frame in update]
    assert Counter(frame.channel for frame in frames) == Counter({"trade": trades, "depth": depth})
    assert all(client.apply(update) for update in data(iter(frames), "depth"))


def test_orders_are_matched_best_price_first_and_oldest_first():
    book = Book(0)
    for price, lots in ((101, 5), (100, 3), (100, 4)):
        book.add(Side.ASK, price, lots)
    assert book.take(Side.ASK, 8, limit=101) == [Fill(100, 3), Fill(100, 4), Fill(101, 1)]
    assert book.sides[Side.ASK].top(9) == [(101, 4)]


def test_a_market_order_stops_at_its_limit():
    book = Book(0)
    book.add(Side.BID, 100, 2)
    book.add(Side.BID, 99, 2)
    assert book.take(Side.BID, 9, limit=100) == [Fill(100, 2)]
    assert book.best_bid == 99


@pytest.mark.parametrize(
    ("side", "price", "lots"), [(Side.BID, 101, 1), (Side.ASK, 100, 1), (Side.BID, 99, 0), (Side.BID, 0, 1)]
)
def test_an_order_that_would_cross_or_has_no_size_is_refused(side, price, lots):
    book = Book(0)
    book.add(Side.BID, 100, 1)
    book.add(Side.ASK, 101, 1)
    with pytest.raises(ValueError, match="cannot rest"):
        book.add(side, price, lots)
