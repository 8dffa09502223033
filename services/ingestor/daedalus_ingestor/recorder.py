"""Takes what ccxt resolves on one connection: which subscription it belongs to, is it new, encode, queue.

Results are told apart by their type, not by their hash, whose form differs from exchange to exchange.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from ccxt.async_support.base.ws.cache import ArrayCache, ArrayCacheBySymbolById
from ccxt.async_support.base.ws.order_book import CountedOrderBook, IndexedOrderBook, OrderBook

from daedalus_common.events import Channel
from daedalus_ingestor import readings
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.subscriptions import Subscription

log = structlog.get_logger(__name__)

Subscriptions = dict[Channel, dict[str, Subscription]]
"""By channel and symbol."""


class Recorder:
    """Records for `subscriptions`, which may change at any time."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        queue: EventQueue,
        depth: int,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.frame = 0
        """The number of the frame that is being handled; the connection counts it up."""
        self.events = 0
        self.fed: dict[Subscription, None] = {}
        """The subscriptions that got something from here."""
        self.takers: Mapping[type, Callable[[Any, str], None]] = {
            OrderBook: self._take_book,
            IndexedOrderBook: self._take_book,
            CountedOrderBook: self._take_book,
            ArrayCache: self._take_trades,
            ArrayCacheBySymbolById: self._take_trades,
            dict: self._take_tickers,
        }
        """Type of a result -> what takes it, with its message hash."""
        self._subscriptions = subscriptions
        self._queue = queue
        self._depth = depth
        self._now_ns = now_ns
        self._by_hash: dict[Channel, dict[str, Subscription | None]] = {channel: {} for channel in Channel}

    def named(self, message_hash: str) -> list[Subscription]:
        """The subscriptions that got something under this hash."""
        found = (by_hash.get(message_hash) for by_hash in self._by_hash.values())
        return [subscription for subscription in found if subscription is not None]

    def expect(self, subscription: Subscription) -> None:
        """A subscription is new: hashes that named nobody until now may name it."""
        by_hash = self._by_hash[subscription.channel]
        for message_hash in [h for h, s in by_hash.items() if s is None]:
            del by_hash[message_hash]

    def forget(self, subscription: Subscription) -> frozenset[str]:
        """The subscription ends or begins anew; returns the hashes that are others'."""
        self.fed.pop(subscription, None)
        by_hash = self._by_hash[subscription.channel]
        for message_hash in [h for h, s in by_hash.items() if s is subscription]:
            del by_hash[message_hash]
        return frozenset(h for hashes in self._by_hash.values() for h, s in hashes.items() if s is not None)

    def pass_over(self, result: Any, message_hash: str) -> None:
        """The connection is lost, and what its socket still held comes to ccxt: it belongs to the gap.

        Books begin anew with a snapshot; the cache of trades goes on, and the next connection's trades follow these.
        """
        if isinstance(result, ArrayCache) and len(result):
            candidates = self._subscriptions[Channel.TRADES]
            named = next((s for s in candidates.values() if s.is_named_in(message_hash)), None)
            subscription = named or candidates.get(result[-1].get("symbol", ""))
            if subscription is not None:
                subscription.trades.begin_after((result,))

    def _take_book(self, book: Any, message_hash: str) -> None:
        subscription = self._by_hash[Channel.ORDERBOOK].get(message_hash)
        if subscription is None:
            subscription = self._find(Channel.ORDERBOOK, message_hash, book.get("symbol"))
            if subscription is None:
                return
        if book is subscription.old_book:
            self.events += 1
            return
        nonce = book["nonce"]
        if self._is_repeated(subscription, message_hash, nonce):
            return
        capture_ts = self._now_ns()
        try:
            payload = readings.book_payload(capture_ts, book, self._depth)
        except readings.Unencodable as error:
            self._refuse(subscription, capture_ts, error)
            return
        if self._queue.offer(subscription, capture_ts, payload):
            place = subscription.place
            place.last_nonce = nonce if type(nonce) is int else readings.whole(nonce)
            place.gap_open = False
            subscription.events += 1
        self.events += 1

    def _take_trades(self, cache: Any, message_hash: str) -> None:
        subscription = self._by_hash[Channel.TRADES].get(message_hash)
        if subscription is None:
            subscription = self._find(Channel.TRADES, message_hash, cache[-1].get("symbol") if len(cache) else None)
            if subscription is None:
                return
        capture_ts = self._now_ns()
        new = subscription.trades.read(cache)
        if new.repeated:
            subscription.count_repeated(new.repeated)
        if not new.complete:
            self._declare(subscription, Reason.BURST, capture_ts)
        for trade in new.trades:
            self._take_trade(subscription, capture_ts, trade)
        self.events += 1

    def _take_trade(self, subscription: Subscription, capture_ts: int, trade: dict[str, Any]) -> None:
        try:
            payload = readings.trade_payload(capture_ts, trade)
        except readings.Unencodable as error:
            self._refuse(subscription, capture_ts, error)
            return
        if self._queue.offer(subscription, capture_ts, payload):
            id_ = readings.trade_id(trade)
            subscription.trades.remember(id_)
            subscription.place.last_id = id_ or None
            subscription.place.gap_open = False
            subscription.events += 1

    def _take_tickers(self, result: dict[str, Any], message_hash: str) -> None:
        """One ticker, or several by their symbol; other dicts (answers to requests, orders) are passed over."""
        if not message_hash or message_hash.startswith("bidask"):
            return
        for ticker in (result,) if "symbol" in result else result.values():
            if isinstance(ticker, dict) and "baseVolume" in ticker and "last" in ticker:
                self._take_ticker(ticker, message_hash)

    def _take_ticker(self, ticker: dict[str, Any], message_hash: str) -> None:
        subscription = self._by_hash[Channel.TICKER].get(message_hash)
        if subscription is None:
            subscription = self._find(Channel.TICKER, message_hash, ticker.get("symbol"))
            if subscription is None:
                return
        if self._is_repeated(subscription, message_hash, ticker):
            return
        capture_ts = self._now_ns()
        try:
            payload = readings.ticker_payload(capture_ts, ticker)
        except readings.Unencodable as error:
            self._refuse(subscription, capture_ts, error)
            return
        if self._queue.offer(subscription, capture_ts, payload):
            subscription.place.gap_open = False
            subscription.events += 1
        self.events += 1

    def _is_repeated(self, subscription: Subscription, message_hash: str, seen: Any) -> bool:
        """The same update under a second hash within one frame. Under one hash each is an update of its own."""
        if subscription.frame == self.frame and subscription.message_hash != message_hash:
            return bool(subscription.seen == seen)
        subscription.frame = self.frame
        subscription.message_hash = message_hash
        subscription.seen = seen
        return False

    def _find(self, channel: Channel, message_hash: str, symbol: str | None) -> Subscription | None:
        """By a hash that names the market (and then remembered), otherwise by the result's own symbol.

        The hash comes first: for coinbase BTC/USD and BTC/USDC are one book, resolved under two hashes.
        """
        by_hash, candidates = self._by_hash[channel], self._subscriptions[channel]
        subscription: Subscription | None = None
        if message_hash not in by_hash:
            subscription = next((s for s in candidates.values() if s.is_named_in(message_hash)), None)
            by_hash[message_hash] = subscription
        if subscription is None and symbol:
            subscription = candidates.get(symbol)
        if subscription is not None:
            self.fed[subscription] = None
        return subscription

    def _refuse(self, subscription: Subscription, capture_ts: int, error: Exception) -> None:
        subscription.count_rejected()
        market, channel = subscription.market.name, subscription.channel.value
        log.warning("update rejected", market=market, channel=channel, reason=str(error))
        self._declare(subscription, Reason.UNENCODABLE, capture_ts)

    def _declare(self, subscription: Subscription, reason: Reason, capture_ts: int) -> None:
        gap = subscription.place.declare(reason, capture_ts)
        if gap is not None:
            subscription.count_gap(gap)
            self._queue.declare(subscription.outbox, gap)
