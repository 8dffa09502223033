"""The tap sees every update that ccxt's own classes resolve, once, and nothing else."""

import asyncio
from typing import Any

import pytest
from ccxt.base.errors import ChecksumError, ExchangeError, NetworkError

from daedalus_common.events import Book, Channel, Gap, Ticker, Trade
from daedalus_ingestor.gaps import Reason


def depth(first: int, last: int, bids: list[list[str]] | None = None) -> dict[str, Any]:
    bids = [["100.0", "1.0"]] if bids is None else bids
    return {"e": "depthUpdate", "E": 1700, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": []}


def trade(id_: int, symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {"e": "trade", "E": 1700, "T": 1699, "s": symbol, "t": id_, "p": "100.5", "q": "0.25", "m": True, "M": True}


def with_book(offline: Any, nonce: int = 10, symbol: str = "BTC/USDT") -> Any:
    """The exchange has its snapshot of the book."""
    book = offline.exchange.order_book({"symbol": symbol, "asks": [[101.0, 1.0]], "bids": [[99.0, 1.0]]}, 1000)
    book["nonce"] = nonce
    offline.exchange.orderbooks[symbol] = book
    return offline


@pytest.fixture
async def binance(offline):
    return with_book(offline("binanceus", "BTC/USDT", "ETH/USDT"))


class TestEveryUpdate:
    async def test_of_a_book_is_recorded_though_nobody_awaits_it(self, binance):
        for number in range(11, 111):
            binance.receive(depth(number, number, [["100.0", str(number)]]))
        events = binance.events()
        assert [event.nonce for event in events] == list(range(11, 111))
        assert [event.bids[0] for event in events] == [(100.0, float(number)) for number in range(11, 111)]

    async def test_of_many_trades_is_recorded_though_ccxt_keeps_only_the_latest(self, binance):
        for number in range(5000):
            binance.receive(trade(number))
        assert [event.id for event in binance.events()] == [str(number) for number in range(5000)]

    async def test_is_stamped_in_the_order_in_which_it_came(self, binance):
        binance.receive(trade(1))
        binance.receive(depth(11, 11))
        binance.receive(trade(2))
        assert [type(event) for event in binance.events()] == [Trade, Book, Trade]
        assert [event.capture_ts for event in binance.events()] == [1, 2, 3]

    async def test_goes_to_its_own_market(self, binance):
        binance.receive(trade(1, "BTCUSDT"))
        binance.receive(trade(2, "ETHUSDT"))
        binance.receive(trade(3, "SOLUSDT"))
        assert [event.id for event in binance.events("BTC/USDT")] == ["1"]
        assert [event.id for event in binance.events("ETH/USDT")] == ["2"]

    async def test_of_a_ticker_keeps_its_fields(self, binance):
        frame = {"e": "24hrTicker", "E": 1700, "s": "BTCUSDT", "c": "100", "b": "99", "B": "2", "a": "101", "A": "3"}
        summary = {"o": "90", "h": "110", "l": "80", "v": "5", "q": "500", "w": "95", "p": "1", "P": "1"}
        binance.receive({**frame, **summary})
        (event,) = binance.events()
        assert isinstance(event, Ticker)
        assert (event.bid, event.bid_size, event.ask, event.ask_size) == (99.0, 2.0, 101.0, 3.0)
        assert (event.last, event.open, event.high, event.low, event.vwap) == (100.0, 90.0, 110.0, 80.0, 95.0)
        assert (event.base_volume, event.quote_volume, event.exchange_ts) == (5.0, 500.0, 1700)

    async def test_of_old_news_is_not_one(self, binance):
        binance.receive(depth(5, 9))
        assert binance.events() == []

    async def test_is_no_longer_recorded_after_the_tap_is_gone(self, binance):
        binance.tap.detach()
        binance.receive(trade(1))
        assert binance.events() == []


class TestACrowdedQueue:
    async def test_leaves_what_comes_in_the_socket_until_there_is_room(self, binance, monkeypatch):
        crowded = [True]
        monkeypatch.setattr(binance.connection, "_is_crowded", lambda: crowded[0])
        binance.client.asyncio_loop = asyncio.get_running_loop()
        binance.client.receive_loop()
        await asyncio.sleep(0.05)
        assert binance.told == [], "the socket was not even looked at"
        crowded[0] = False
        await asyncio.sleep(0.05)
        # It is looked at now: there is none in this test, which ccxt takes for a lost connection.
        assert [told[0] for told in binance.told] == ["lost"]


class TestBadFrames:
    @pytest.mark.parametrize(
        ("frame", "kind"),
        [
            ('{"e":"depthUpdate","E":17231612', "unreadable"),
            ("garbage", "unreadable"),
            ("", "unreadable"),
            ({"e": "trade"}, "handler"),
        ],
    )
    async def test_do_not_end_the_connection(self, binance, frame, kind):
        binance.receive(trade(1))
        binance.receive(frame)
        binance.receive(trade(2))
        assert [event.id for event in binance.events() if isinstance(event, Trade)][-1] == "2"
        assert binance.told == [("frame", kind)]

    async def test_an_error_message_of_the_exchange_is_told_and_survived(self, offline):
        coinbase = offline("coinbase", "BTC/USD")
        coinbase.receive({"type": "error", "message": "rate limit exceeded"})
        assert coinbase.told == [("frame", "refused")]
        coinbase.receive(coinbase_trades(0, "BTC-USD", ["1"]))
        assert [event.id for event in coinbase.events("BTC/USD")] == ["1"]

    async def test_values_that_are_no_numbers_are_declared_and_the_book_goes_on(self, binance):
        binance.receive(depth(11, 11))
        book = binance.exchange.orderbooks["BTC/USDT"]
        book["bids"].insert(0, [object(), 1.0])
        book["bids"]._index.insert(0, -1e9)
        binance.receive(depth(12, 12))
        del book["bids"][0], book["bids"]._index[0]
        binance.receive(depth(13, 13))
        events = binance.events()
        assert [getattr(event, "nonce", None) for event in events] == [11, None, 13]
        assert events[1] == Gap(events[1].capture_ts, "orderbook", "unencodable", 11, None, None)


class TestLosses:
    async def test_a_hole_in_binances_sequence_is_rejected_by_ccxt_and_told(self, binance):
        binance.receive(depth(11, 11))
        binance.receive(depth(13, 13))
        assert binance.told == [("rejected", Channel.ORDERBOOK, "ChecksumError")]
        assert binance.client.rejections == {}, "kept, it would come up again when the book is watched again"

    async def test_an_error_for_all_with_the_connection_ends_it(self, binance):
        binance.receive(depth(11, 11))
        binance.receive(trade(1))
        binance.client.reject(NetworkError("gone"))
        fed = {("BTC/USDT", Channel.ORDERBOOK), ("BTC/USDT", Channel.TRADES)}
        assert binance.told == [("lost", Reason.RECONNECT, fed)]
        assert binance.exchange.clients == {}, "the next watch must not get the dead client"

    async def test_an_answer_of_the_exchange_for_all_does_not(self, binance):
        binance.receive(trade(1))
        binance.client.reject(ExchangeError("no such stream"))
        assert binance.told == []

    async def test_a_connection_is_told_lost_once(self, binance):
        binance.receive(trade(1))
        binance.client.on_error(NetworkError("gone"))
        binance.client.on_close(1006)
        assert [told[0] for told in binance.told] == ["lost"]

    async def test_a_late_second_close_does_not_take_the_next_client_away(self, binance):
        binance.client.on_close(1006)
        successor = binance.exchange.client(binance.client.url)
        binance.client.on_close(1006)
        assert binance.exchange.clients == {successor.url: successor}

    async def test_a_lost_connection_records_nothing_more(self, binance):
        binance.client.on_close(1006)
        binance.receive(trade(1))
        assert binance.events() == []

    async def test_a_jump_in_coinbases_sequence_ends_the_connection(self, offline):
        coinbase = offline("coinbase", "BTC/USD")
        for number in (0, 1, 2, 4):
            coinbase.receive(coinbase_trades(number, "BTC-USD", [str(number)]))
        assert [event.id for event in coinbase.events("BTC/USD")] == ["0", "1", "2"]
        assert [told[:2] for told in coinbase.told] == [("lost", Reason.SEQUENCE)]

    async def test_a_checksum_error_that_leaves_the_handler_begins_the_connection_anew(self, binance):
        binance.receive(depth(11, 11))

        def refuse(client, message):
            raise ChecksumError("does not add up")

        binance.client.on_message_callback = refuse
        binance.receive(depth(12, 12))
        assert [told[:2] for told in binance.told] == [("frame", "checksum"), ("lost", Reason.RESYNC)]

    async def test_what_begins_anew_is_asked_for_again(self, binance):
        binance.client.subscriptions.update({"orderbook::BTC/USDT": True, "trade::BTC/USDT": True, "other": True})
        binance.receive(trade(1))
        binance.receive(depth(11, 11))
        binance.connection.forget(binance.subscriptions["BTC/USDT", Channel.ORDERBOOK])
        assert set(binance.client.subscriptions) == {"trade::BTC/USDT", "other"}


class TestOtherExchanges:
    async def test_okx_books_trades_and_tickers(self, offline):
        okx = offline("okx", "BTC/USDT")
        okx.client.subscriptions["books:BTC/USDT"] = True
        snapshot = {"asks": [["101", "1", "0", "2"]], "bids": [["99", "2", "0", "1"]], "ts": "1700"}
        arg = {"channel": "books", "instId": "BTC-USDT"}
        okx.receive({"arg": arg, "action": "snapshot", "data": [{**snapshot, "seqId": 5, "prevSeqId": -1}]})
        okx.receive({"arg": arg, "action": "update", "data": [{**snapshot, "seqId": 6, "prevSeqId": 5}]})
        row = {"instId": "BTC-USDT", "px": "100", "sz": "1", "side": "buy", "ts": "1700"}
        trades = {"channel": "trades", "instId": "BTC-USDT"}
        okx.receive({"arg": trades, "data": [{**row, "tradeId": "1"}, {**row, "tradeId": "2"}]})
        ticker = {"instId": "BTC-USDT", "instType": "SPOT", "last": "100", "bidPx": "99", "askPx": "101", "ts": "1700"}
        okx.receive({"arg": {"channel": "tickers", "instId": "BTC-USDT"}, "data": [ticker]})
        events = okx.events()
        assert [type(event) for event in events] == [Book, Book, Trade, Trade, Ticker]
        assert [event.nonce for event in events[:2]] == [5, 6]
        assert events[0].bids == ((99.0, 2.0),)
        assert [event.id for event in events[2:4]] == ["1", "2"]
        assert (events[4].bid, events[4].ask) == (99.0, 101.0)
        assert okx.told == []

    async def test_coinbase_resolves_one_book_under_two_names(self, offline):
        """BTC/USDC is an alias of BTC/USD there: each configured market gets its own copy, none gets two."""
        coinbase = offline("coinbase", "BTC/USD", "BTC/USDC")
        for number, size in enumerate(("1", "2", "3")):
            coinbase.receive(coinbase_book(number, "snapshot" if number == 0 else "update", size))
        for symbol in ("BTC/USD", "BTC/USDC"):
            assert [event.bids for event in coinbase.events(symbol)] == [((99.0, float(size)),) for size in "123"]

    async def test_coinbase_alias_is_recorded_once_where_only_one_market_is_wanted(self, offline):
        coinbase = offline("coinbase", "BTC/USD")
        coinbase.receive(coinbase_book(0, "snapshot", "1"))
        coinbase.receive(coinbase_book(1, "update", "2"))
        assert len(coinbase.events("BTC/USD")) == 2

    async def test_several_updates_of_one_frame_under_one_name_are_all_recorded(self, offline):
        coinbase = offline("coinbase", "BTC/USD")
        frame = coinbase_book(0, "snapshot", "1")
        frame["events"] += coinbase_book(0, "update", "2")["events"] + coinbase_book(0, "update", "3")["events"]
        coinbase.receive(frame)
        assert [event.bids[0][1] for event in coinbase.events("BTC/USD")] == [1.0, 2.0, 3.0]

    async def test_coinbase_snapshot_after_a_resubscription_does_not_double_trades(self, offline):
        coinbase = offline("coinbase", "BTC/USD")
        coinbase.receive(coinbase_trades(0, "BTC-USD", ["3", "2", "1"]))
        coinbase.receive(coinbase_trades(1, "BTC-USD", ["4", "3", "2", "1"]))
        assert [event.id for event in coinbase.events("BTC/USD")] == ["1", "2", "3", "4"]

    async def test_kraken_books_have_no_number_and_are_recorded_each(self, offline):
        kraken = offline("kraken", "BTC/USD")
        levels = {"symbol": "BTC/USD", "bids": [{"price": 99.0, "qty": 1.0}], "asks": [{"price": 101.0, "qty": 1.0}]}
        kraken.receive({"channel": "book", "type": "snapshot", "data": [{**levels, "checksum": 1}]})
        for _ in range(2):
            update = {**levels, "checksum": 2, "timestamp": "2026-01-01T00:00:00.000000Z"}
            kraken.receive({"channel": "book", "type": "update", "data": [update]})
        assert [event.nonce for event in kraken.events("BTC/USD")] == [None, None, None]

    async def test_htx_names_its_channels_by_its_own_ids(self, offline):
        htx = offline("htx", "BTC/USDT", "WBTC/USDT")
        for id_, number in (("btcusdt", 5), ("wbtcusdt", 6)):
            row = {"id": number, "price": 100.0, "amount": 1.0, "direction": "buy", "ts": 1700}
            htx.receive({"ch": f"market.{id_}.trade.detail", "ts": 1700, "tick": {"id": 1, "ts": 1700, "data": [row]}})
        assert [event.id for event in htx.events("BTC/USDT")] == ["5"]
        assert [event.id for event in htx.events("WBTC/USDT")] == ["6"]


def coinbase_book(number: int, kind: str, size: str) -> dict[str, Any]:
    update = {"side": "bid", "event_time": "2026-01-01T00:00:00Z", "price_level": "99", "new_quantity": size}
    event = {"type": kind, "product_id": "BTC-USD", "updates": [update]}
    return {"channel": "l2_data", "timestamp": "2026-01-01T00:00:00Z", "sequence_num": number, "events": [event]}


def coinbase_trades(number: int, product: str, ids: list[str]) -> dict[str, Any]:
    common = {"product_id": product, "price": "100", "size": "1", "side": "BUY", "time": "2026-01-01T00:00:00Z"}
    trades = [{"trade_id": id_, **common} for id_ in ids]
    event = {"type": "update", "trades": trades}
    return {"channel": "market_trades", "timestamp": "2026-01-01T00:00:00Z", "sequence_num": number, "events": [event]}
