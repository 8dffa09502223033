"""The exchange is ccxt's own class; only its options and addresses are set."""

from datetime import timedelta
from typing import Any

import ccxt.pro
import pytest

from daedalus_common.config.exchanges import EXCHANGES, ccxt_id
from daedalus_common.events import Channel
from daedalus_ingestor.ccxt_exchange import (
    WATCH,
    ExchangeAccess,
    book_limit,
    make_exchange,
    rewritten,
    unsupported,
)


def access(id_: str = "binanceus", *symbols: str, **fields: object) -> ExchangeAccess:
    given: dict[str, Any] = {"name": id_, "id": id_, "symbols": symbols or ("BTC/USDT",), "api_url": None} | fields
    return ExchangeAccess(**{"stale_after": timedelta(seconds=30), **given})


def leaves(urls):
    return [leaf for value in urls.values() for leaf in leaves(value)] if isinstance(urls, dict) else [urls]


def test_the_class_is_ccxts_own_and_unmodified():
    exchange = make_exchange(access())
    assert type(exchange) is ccxt.pro.binanceus
    assert exchange.newUpdates is True
    assert exchange.enableRateLimit is True


@pytest.mark.parametrize("id_", ["binanceus", "binance", "okx", "kraken", "coinbase"])
def test_a_local_exchange_takes_the_place_of_every_address(id_):
    exchange = make_exchange(access(id_, api_url="http://127.0.0.1:8787/"))
    assert set(leaves(exchange.urls["api"])) == {"http://127.0.0.1:8787/api/v3", "ws://127.0.0.1:8787/stream/ws"}


def test_https_becomes_wss_and_what_is_no_address_stays():
    urls = {"rest": "https://a.example/v1", "ws": {"spot": "wss://b.example/ws", "none": None}}
    expected = {"rest": "https://local/api/v3", "ws": {"spot": "wss://local/stream/ws", "none": None}}
    assert rewritten(urls, "https://local") == expected


def test_binance_is_asked_for_spot_markets_and_the_full_ticker():
    options = make_exchange(access("binance")).options
    assert options["fetchMarkets"]["types"] == ["spot"]
    assert options["fetchCurrencies"] is False
    assert options["watchTicker"]["name"] == options["watchTickers"]["name"] == "ticker"


def test_derivatives_are_loaded_where_a_symbol_needs_them():
    options = make_exchange(access("binance", "BTC/USDT", "BTC/USDT:USDT")).options
    assert options["fetchMarkets"]["types"] == ["spot", "linear", "inverse"]


def test_the_users_options_win_over_ours():
    options = make_exchange(access("binance", options={"watchTicker": {"name": "miniTicker"}})).options
    assert options["watchTicker"]["name"] == "miniTicker"


def test_credentials_reach_the_exchange_and_no_log():
    given = access(api_key="key-1", api_secret="secret-1")
    exchange = make_exchange(given)
    assert (exchange.apiKey, exchange.secret) == ("key-1", "secret-1")
    assert "secret-1" not in repr(given)


@pytest.mark.parametrize(("stale_after", "keep_alive"), [(30, 10_000), (3, 1_000), (3600, 180_000)])
def test_pings_come_three_times_as_often_as_a_connection_turns_stale(stale_after, keep_alive):
    """binance's own interval is 180 s: too rare to tell a quiet market from a dead connection."""
    exchange = make_exchange(access("binance", stale_after=timedelta(seconds=stale_after)))
    assert exchange.streaming["keepAlive"] == keep_alive


@pytest.mark.parametrize(
    ("id_", "depth", "limit"),
    [("kraken", 50, 100), ("kraken", 10, 25), ("kraken", 1000, 1000), ("bybit", 50, 200), ("binance", 50, None)],
)
def test_books_are_subscribed_deeper_than_recorded(id_, depth, limit):
    assert book_limit(id_, depth) == limit


def test_a_channel_that_ccxt_cannot_watch_is_told():
    assert unsupported(make_exchange(access("bitbns" if "bitbns" in EXCHANGES else "luno")), tuple(Channel)) != ()
    assert unsupported(make_exchange(access("binanceus")), tuple(Channel)) == ()


def test_the_old_name_of_coinbase_still_means_it():
    given = access(ccxt_id("coinbaseadvanced"), name="coinbaseadvanced")
    assert type(make_exchange(given)) is ccxt.pro.coinbase


def test_every_exchange_that_a_configuration_may_name_has_the_methods_it_claims():
    for id_ in sorted(EXCHANGES):
        exchange = make_exchange(access(id_))
        for channel, (has, watch, _) in WATCH.items():
            assert callable(getattr(exchange, watch)), (id_, channel, has)
