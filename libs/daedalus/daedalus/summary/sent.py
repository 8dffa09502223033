"""Reads the simulator's ledger: `GET /control/ledger`."""

from collections.abc import Iterable, Mapping

import msgspec

from daedalus.summary.ledger import Feed, Sent
from daedalus_common.config import MarketSettings
from daedalus_common.events import Channel

# The simulator's names, in whose JSON depth ids are [U, u] and all others single numbers.
_CHANNELS = {"depth": Channel.ORDERBOOK, "trade": Channel.TRADES, "ticker": Channel.TICKER}


class LedgerError(ValueError):
    """The answer is not a ledger that we can compare with."""


class _ChannelLedger(msgspec.Struct, frozen=True):
    sent: int
    first: int
    ids: list[int | tuple[int, int]]


class _Snapshot(msgspec.Struct, frozen=True):
    last_update_id: int


class _SymbolLedger(msgspec.Struct, frozen=True):
    channels: dict[str, _ChannelLedger]
    snapshots: list[_Snapshot] = []


class _ExchangeLedger(msgspec.Struct, frozen=True):
    symbols: dict[str, _SymbolLedger]


class SentByFeed(msgspec.Struct, frozen=True):
    """What was sent on each recorded feed, and what is wrong with the ledger itself."""

    feeds: Mapping[Feed, Sent]
    problems: tuple[str, ...]


def parse_sent(answer: bytes, markets: Iterable[MarketSettings]) -> SentByFeed:
    """The ledger's part for each configured feed. Raises LedgerError."""
    try:
        ledger = msgspec.json.decode(answer, type=_ExchangeLedger)
    except msgspec.DecodeError as error:
        raise LedgerError(f"the simulator's ledger cannot be read: {error}") from error
    feeds: dict[Feed, Sent] = {}
    problems: list[str] = []
    used: set[tuple[str, str]] = set()
    for settings in markets:
        symbol = ledger.symbols.get(settings.symbol)
        for name, channel in _CHANNELS.items():
            if channel not in settings.channels:
                continue
            used.add((settings.symbol, name))
            feed = Feed(settings.market, channel)
            found = symbol.channels.get(name) if symbol is not None else None
            if symbol is None or found is None or found.sent == 0:
                problems.append(f"{feed}: nothing was sent, for nobody subscribed to it")
                continue
            if found.first > 0:
                problems.append(f"{feed}: the simulator forgot the first {found.first} ids of {found.sent}")
            snapshots = symbol.snapshots if channel is Channel.ORDERBOOK else []
            feeds[feed] = Sent(
                tuple(str(id_ if isinstance(id_, int) else id_[1]) for id_ in found.ids),
                tuple(str(snapshot.last_update_id) for snapshot in snapshots),
            )
    problems += _unused(ledger, used)
    return SentByFeed(feeds, tuple(problems))


def _unused(ledger: _ExchangeLedger, used: set[tuple[str, str]]) -> list[str]:
    return [
        f"{symbol}: {channel.sent} events were sent on {name}, which no configured channel records"
        for symbol, of_symbol in sorted(ledger.symbols.items())
        for name, channel in sorted(of_symbol.channels.items())
        if channel.sent and (symbol, name) not in used
    ]
