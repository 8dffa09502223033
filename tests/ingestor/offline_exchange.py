"""A real ccxt.pro exchange with a tap and no network: frames are put into its client as the socket would."""

from itertools import count
from typing import Any

import orjson
from aiohttp import WSMessage, WSMsgType

from daedalus_common.entries import decode
from daedalus_common.events import Channel, Event
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_ingestor.connection import Connection
from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.recollection import Recollection
from daedalus_ingestor.subscriptions import Subscription
from daedalus_ingestor.tap import Tap

URL = "ws://127.0.0.1:1/stream/ws/0"


class OfflineExchange:
    """Records what its tap takes, and what its listener is told."""

    def __init__(self, exchange: Any, symbols: tuple[str, ...], depth: int = 50, url: str = URL) -> None:
        self.exchange = exchange
        exchange.set_markets([_market(exchange, symbol) for symbol in symbols])
        self.queue = EventQueue(100_000)
        self.told: list[tuple[Any, ...]] = []
        self.tap = Tap(self.queue, depth, self, now_ns=count(1).__next__)
        self.tap.attach(exchange)
        self.subscriptions: dict[tuple[str, Channel], Subscription] = {}
        for symbol in symbols:
            self._subscribe(symbol)
        self.client = exchange.client(url)
        self.connection: Connection = self.tap.connections()[0]

    def _subscribe(self, symbol: str) -> None:
        market = Market(self.exchange.id, symbol)
        outbox = self.queue.open(Lease(market, 1, "token"))
        nothing = Recollection()
        for channel in Channel:
            place, trades = nothing.place(channel), nothing.trades()
            subscription = Subscription(market, _id(symbol), channel, outbox, place, trades)
            self.tap.add(subscription)
            self.subscriptions[symbol, channel] = subscription

    def receive(self, frame: Any) -> None:
        """A text frame: JSON of `frame`, or `frame` itself where it is text."""
        text = frame if isinstance(frame, str) else orjson.dumps(frame).decode()
        self.client.handle_message(WSMessage(WSMsgType.TEXT, text, None))

    def events(self, symbol: str = "BTC/USDT") -> list[Event]:
        """Everything recorded of the market, in order."""
        outbox = self.subscriptions[symbol, Channel.ORDERBOOK].outbox
        return [decode(payload) for _, payload in outbox.events]

    async def close(self) -> None:
        self.tap.detach()
        self.exchange.timeout_on_exit = 0
        await self.exchange.close()

    # the tap's listener

    def rejected(self, subscription: Subscription, error: BaseException) -> None:
        self.told.append(("rejected", subscription.channel, type(error).__name__))

    def connection_lost(self, connection: Connection, reason: Reason, error: BaseException) -> None:
        self.told.append(("lost", reason, {(s.market.symbol, s.channel) for s in connection.fed}))

    def frame_failed(self, connection: Connection, kind: str, error: BaseException, frame: str) -> None:
        self.told.append(("frame", kind))


def _id(symbol: str) -> str:
    return symbol.replace("/", "")


def _market(exchange: Any, symbol: str) -> Any:
    base, quote = symbol.split("/")
    own_forms = {"okx": f"{base}-{quote}", "coinbase": f"{base}-{quote}", "htx": f"{base}{quote}".lower()}
    id_ = own_forms.get(exchange.id, _id(symbol))
    return exchange.safe_market_structure(
        {
            "id": id_,
            "lowercaseId": id_.lower(),
            "symbol": symbol,
            "type": "spot",
            "spot": True,
            "active": True,
            "base": base,
            "quote": quote,
            "baseId": base,
            "quoteId": quote,
            "contract": False,
            "precision": {"price": 0.01, "amount": 0.00001},
        }
    )
