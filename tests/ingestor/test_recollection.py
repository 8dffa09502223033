"""A take-over knows from the stream where its predecessor stopped."""

from datetime import timedelta

from ccxt.async_support.base.ws.cache import ArrayCache

from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.entries import encode
from daedalus_common.events import Book, Channel, Gap, Genesis, Heartbeat, Trade
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.recollection import recall, recollect

MARKET = Market("binanceus", "BTC/USDT")


def book(nonce):
    return encode(Book(1, None, nonce, ((1.0, 1.0),), ()))


def trade(id_):
    return encode(Trade(1, None, id_, 1.0, 1.0, "buy"))


def test_an_empty_stream_says_nothing():
    nothing = recollect([])
    assert (nothing.last_nonce, nothing.trade_ids) == (None, ())
    assert nothing.place(Channel.TRADES).last_id is None


def test_the_newest_book_and_all_trades_count_whatever_stands_between():
    heartbeat, gap = encode(Heartbeat(1)), encode(Gap(1, "trades", "stale"))
    newest_first = [heartbeat, trade(""), trade("8"), book(42), gap, b"?", trade("7"), book(41)]
    found = recollect(newest_first)
    assert (found.last_nonce, found.trade_ids) == (42, ("7", "8"))
    declared = found.place(Channel.ORDERBOOK).declare(Reason.TAKEOVER, 5)
    assert declared == Gap(5, "orderbook", "takeover", 42, None)
    assert found.place(Channel.TRADES).declare(Reason.TAKEOVER, 5) == Gap(5, "trades", "takeover", None, "8")


def test_the_time_of_the_newest_trade_is_known_though_later_ones_had_none():
    payloads = [encode(Trade(1, ts, id_, 1.0, 1.0, "buy")) for id_, ts in (("9", None), ("8", 1700), ("7", 1800))]
    assert recollect(payloads).trade_ts == 1800
    assert recollect(payloads[:1]).trade_ts is None


def test_where_nobody_traded_all_trades_from_before_are_old():
    """Some exchanges send a new subscriber their latest 50 trades, which are hours in a quiet market."""
    seconds = 10**9
    genesis = encode(Genesis(1 * seconds, "id", b"{}"))
    quiet = [encode(Heartbeat(9 * seconds)), encode(Book(7 * seconds, None, 5, ((1.0, 1.0),), ())), b"?", genesis]
    found = recollect(quiet)
    assert (found.trade_ids, found.trade_ts) == ((), 7000)
    sent = ArrayCache(1000)
    for ts in (1000, 6999, 7000, 9500):
        sent.append({"id": str(ts), "timestamp": ts})
    assert [each["id"] for each in found.trades().read(sent).trades] == ["7000", "9500"]
    assert recollect([genesis]).trade_ts is None, "nobody watched before"


async def test_the_end_of_a_real_stream_is_read_newest_first(redis_url):
    client = connect(redis_url)
    keeper = LeaseKeeper(client, Role.INGESTOR, "me", [MARKET], timedelta(seconds=30), lambda: "token")
    await keeper.renew()
    log = MarketLog(client)
    await log.open_market(MARKET)
    payloads = [trade(str(number)) for number in range(1500)] + [book(7), encode(Heartbeat(1))]
    await log.publish(keeper.held[MARKET], 1, [(1, payload) for payload in payloads])
    found = await recall(client, MARKET)
    assert (found.last_nonce, found.trade_ids[-1], len(found.trade_ids)) == (7, "1499", 998)
    await client.aclose()
