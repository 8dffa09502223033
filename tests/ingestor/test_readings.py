"""ccxt's values become events: what is no number is unknown or rejected, never a crash."""

import math

import pytest
from ccxt.async_support.base.ws.order_book import CountedOrderBook, IndexedOrderBook, OrderBook
from hypothesis import given
from hypothesis import strategies as st

from daedalus_common.entries import decode
from daedalus_common.events import Book, Ticker, Trade
from daedalus_ingestor.readings import Unencodable, book_payload, ticker_payload, trade_payload

TRADE = {"id": "7", "timestamp": 1700, "price": 1.5, "amount": 2.0, "side": "sell"}
TICKER_FIELDS = {
    "bid": "bid", "bidVolume": "bid_size", "ask": "ask", "askVolume": "ask_size", "last": "last", "open": "open",
    "high": "high", "low": "low", "vwap": "vwap", "baseVolume": "base_volume", "quoteVolume": "quote_volume",
}  # fmt: skip


def book(bids, asks, **fields):
    return {"timestamp": 1700, "nonce": 42, "symbol": "BTC/USDT", "bids": bids, "asks": asks, **fields}


def test_the_top_of_the_live_book_is_copied():
    live = OrderBook(book([[10.0 - i, 1.0 + i] for i in range(5)], [[11.0 + i, 2.0] for i in range(5)]))
    payload = book_payload(5, live, 2)
    live["bids"].store(10.0, 99.0)
    assert decode(payload) == Book(5, 1700, 42, ((10.0, 1.0), (9.0, 2.0)), ((11.0, 2.0), (12.0, 2.0)))


def test_fewer_levels_than_asked_for_are_recorded_as_they_are():
    assert decode(book_payload(5, OrderBook(book([[10.0, 1.0]], [])), 50)) == Book(5, 1700, 42, ((10.0, 1.0),), ())


def test_an_empty_and_a_crossed_book_are_recorded_as_seen():
    assert decode(book_payload(5, OrderBook(book([], [])), 50)) == Book(5, 1700, 42, (), ())
    crossed = OrderBook(book([[12.0, 1.0]], [[11.0, 1.0]]))
    assert decode(book_payload(5, crossed, 50)) == Book(5, 1700, 42, ((12.0, 1.0),), ((11.0, 1.0),))


@pytest.mark.parametrize("kind", [CountedOrderBook, IndexedOrderBook])
def test_a_third_column_is_cut_off(kind):
    live = kind(book([[10.0, 1.0, 3], [9.0, 2.0, 4]], [[11.0, 1.5, 5]]))
    assert decode(book_payload(5, live, 50)) == Book(5, 1700, 42, ((10.0, 1.0), (9.0, 2.0)), ((11.0, 1.5),))


def test_a_book_that_mixes_level_forms_is_read_level_by_level():
    live = book([[10.0, 1.0, 1700], [9.0, 2.0]], [["11.5", "1.5"], [12, 3]])
    assert decode(book_payload(5, live, 50)) == Book(5, 1700, 42, ((10.0, 1.0), (9.0, 2.0)), ((11.5, 1.5), (12.0, 3.0)))


def test_none_in_a_level_is_not_a_number_but_an_unknown_one():
    event = decode(book_payload(5, book([[10.0, None]], [[None, 1.0]]), 50))
    assert isinstance(event, Book)
    assert event.bids[0][0] == 10.0
    assert math.isnan(event.bids[0][1])
    assert math.isnan(event.asks[0][0])


@pytest.mark.parametrize(("nonce", "read"), [(None, None), ("43", 43), (44.0, 44), ("x", None), (10**30, None)])
def test_a_nonce_in_any_form_is_an_integer_or_unknown(nonce, read):
    event = decode(book_payload(5, book([[1.0, 1.0]], [], nonce=nonce, timestamp=None), 50))
    assert isinstance(event, Book)
    assert (event.nonce, event.exchange_ts) == (read, None)


@pytest.mark.parametrize("level", [[10.0], [], ["ten", 1.0], [{}, 1.0], 5, None])
def test_a_level_that_is_no_price_and_size_is_rejected(level):
    with pytest.raises(Unencodable):
        book_payload(5, book([[11.0, 1.0], level], []), 50)


def test_a_trade_is_read():
    assert decode(trade_payload(5, TRADE)) == Trade(5, 1700, "7", 1.5, 2.0, "sell")


@pytest.mark.parametrize(
    ("field", "value", "attribute", "read"),
    [
        ("id", None, "id", ""),
        ("id", 12, "id", "12"),
        ("timestamp", None, "exchange_ts", None),
        ("timestamp", 1700.9, "exchange_ts", 1700),
        ("side", None, "side", None),
        ("side", "SELL", "side", None),
        ("price", 3, "price", 3.0),
        ("amount", "0.25", "amount", 0.25),
    ],
)
def test_a_trade_with_unusual_fields_is_read(field, value, attribute, read):
    assert getattr(decode(trade_payload(5, {**TRADE, field: value})), attribute) == read


@pytest.mark.parametrize("field", ["price", "amount"])
def test_a_trade_without_price_or_amount_is_kept_with_an_unknown_one(field):
    assert math.isnan(getattr(decode(trade_payload(5, {**TRADE, field: None})), field))


@pytest.mark.parametrize("change", [{"price": "dear"}, {"amount": []}, {"id": "x" * 70_000}])
def test_a_trade_of_no_numbers_is_rejected(change):
    with pytest.raises(Unencodable):
        trade_payload(5, {**TRADE, **change})


@given(values=st.fixed_dictionaries(dict.fromkeys(TICKER_FIELDS, st.none() | st.floats(allow_nan=False))))
def test_a_ticker_keeps_every_field_as_given(values):
    event = decode(ticker_payload(5, {"timestamp": 1700, "symbol": "BTC/USDT", **values}))
    assert isinstance(event, Ticker)
    assert {field: getattr(event, attribute) for field, attribute in TICKER_FIELDS.items()} == values


def test_a_ticker_with_text_for_a_number_is_read_or_rejected():
    event = decode(ticker_payload(5, {"last": "1.5"}))
    assert isinstance(event, Ticker)
    assert event.last == 1.5
    with pytest.raises(Unencodable):
        ticker_payload(5, {"last": "high"})
