"""Events as the lines of NDJSON files, and what is read from them."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

from daedalus.etl.ndjson import LineChunk, NdjsonInput
from daedalus_common.events import Book, Event, Gap, Genesis, Heartbeat, Ticker, Trade
from daedalus_common.markets import Market
from daedalus_features import Tickers
from support.bronze import Told, told, varied_events

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("binanceus", "ETH/USDT")


def line(event: Event, market: Market = BTC) -> str:
    """The event in the documented form."""
    said: dict[str, object] = {"exchange": market.exchange, "symbol": market.symbol, "capture_ts": event.capture_ts}
    match event:
        case Book():
            said |= {"channel": "orderbook", "exchange_ts": None, "nonce": 7, "bids": event.bids, "asks": event.asks}
        case Trade():
            said |= {"channel": "trades", "id": event.id, "price": event.price, "amount": event.amount}
            said["side"] = event.side
        case Ticker():
            said |= {"channel": "ticker"} | {name: getattr(event, name) for name in Tickers.FIELDS}
        case Gap():
            said |= {"channel": "gap", "reason": event.reason}
        case Heartbeat():
            said["channel"] = "heartbeat"
    return json.dumps(said)


def events_of(seed: int, count: int) -> list[Event]:
    return [event for event in varied_events(seed, count) if not isinstance(event, Genesis)]


def write(path: Path, lines: Sequence[str]) -> NdjsonInput:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{text}\n" for text in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return NdjsonInput([path])


def contents(chunks: Sequence[LineChunk]) -> list[Told]:
    return told(*(chunk.events for chunk in chunks))
