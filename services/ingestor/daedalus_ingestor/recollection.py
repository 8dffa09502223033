"""What the newest entries of a market's stream say about where its channels stand.

A take-over declares after which event it does not know what happened, and must not record again the trades that an
exchange sends anew to every subscriber.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.entries import ForeignEntry, decode, kind_of
from daedalus_common.events import Book, Channel, Kind, Trade
from daedalus_common.markets import Market
from daedalus_ingestor.gaps import Place
from daedalus_ingestor.trades import TradeReader

ENTRIES: Final = 1000
"""At 20 events a second that is a minute; books of 2 x 50 levels make it 1.6 MB, read once per take-over."""

_NS_PER_MS: Final = 1_000_000


class Recollection(msgspec.Struct, frozen=True):
    last_nonce: int | None = None
    trade_ids: tuple[str, ...] = ()
    """Oldest first; without the trades that had no id."""
    trade_ts: int | None = None
    """The exchange's time of the newest trade, in ms; where there is none, our own since when there was none."""

    def place(self, channel: Channel) -> Place:
        if channel is Channel.ORDERBOOK:
            return Place(channel, last_nonce=self.last_nonce)
        if channel is Channel.TRADES:
            return Place(channel, last_id=self.trade_ids[-1] if self.trade_ids else None)
        return Place(channel)

    def trades(self) -> TradeReader:
        return TradeReader(self.trade_ids, self.trade_ts)


async def recall(client: Client, market: Market, spooled: Sequence[bytes] = ()) -> Recollection:
    """Reads the end of the market's raw stream, which `spooled` payloads, oldest first, are to follow.

    Raises redis errors.
    """
    entries: Any = await client.xrevrange(keys.stream(market, keys.RAW), count=ENTRIES)
    return recollect([*reversed(spooled), *(fields[b"e"] for _, fields in entries if b"e" in fields)])


async def is_begun(client: Client, market: Market) -> bool:
    """Somebody has published events of the market. Raises redis errors.

    The stream cannot tell: it may hold a genesis before the first event, and none of the events any more.
    """
    return bool(await client.hget(keys.sequence(market), "epoch"))


def recollect(payloads: list[bytes]) -> Recollection:
    """From payloads, newest first; what is no event of ours is passed over."""
    nonce: int | None = None
    ids: list[str] = []
    trade_ts: int | None = None
    traded = False
    for payload in payloads:
        try:
            kind = kind_of(payload)
            if kind is Kind.TRADE or (kind is Kind.BOOK and nonce is None):
                event = decode(payload)
                if isinstance(event, Trade):
                    traded = True
                    if event.id:
                        ids.append(event.id)
                    trade_ts = event.exchange_ts if trade_ts is None else max(trade_ts, event.exchange_ts or trade_ts)
                elif isinstance(event, Book):
                    nonce = event.nonce
        except ForeignEntry:
            continue
    if not traded:
        # Whatever was traded before these is recorded already, or in a gap.
        trade_ts = _watched_since(payloads)
    return Recollection(nonce, tuple(reversed(ids)), trade_ts)


def _watched_since(payloads: list[bytes]) -> int | None:
    """When the oldest of these was captured, in ms. A genesis may stand before the first that anybody captured."""
    for payload in reversed(payloads):
        with suppress(ForeignEntry):
            if kind_of(payload) is not Kind.GENESIS:
                return decode(payload).capture_ts // _NS_PER_MS
    return None
