"""`ccxt`: which exchanges, channels and symbols to record."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, SecretStr

from daedalus_common.config.sections.base import FrozenMap, HttpUrl, Section, Symbol, Unique, empty_map
from daedalus_common.events import Channel
from daedalus_common.markets import Market


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """One market to record, with its channels in the order orderbook, trades, ticker."""

    market: Market
    channels: tuple[Channel, ...]

    @property
    def exchange(self) -> str:
        return self.market.exchange

    @property
    def symbol(self) -> str:
        return self.market.symbol


Symbols = Annotated[Unique[Symbol], Field(min_length=1)]


class ChannelSettings(Section):
    """Symbols per channel; a channel that is left out is not recorded."""

    key_word = "channel"

    # ccxt's own method names.
    watchOrderBook: Symbols | None = None
    watchTrades: Symbols | None = None
    watchTicker: Symbols | None = None

    def by_channel(self) -> Mapping[Channel, tuple[str, ...]]:
        """The symbols of each channel that has any."""
        symbols = {
            Channel.ORDERBOOK: self.watchOrderBook,
            Channel.TRADES: self.watchTrades,
            Channel.TICKER: self.watchTicker,
        }
        return MappingProxyType({channel: names for channel, names in symbols.items() if names})


class ExchangeSettings(Section):
    """One exchange. Public market data needs no API key."""

    max_orderbook_depth: Annotated[int, Field(ge=1, le=5000)] = 50
    api_key: SecretStr = SecretStr("")
    api_secret: SecretStr = SecretStr("")
    api_url: HttpUrl | None = None
    options: FrozenMap[str, Any] = Field(default_factory=empty_map)
    channels: ChannelSettings

    def markets(self, name: str) -> tuple[MarketSettings, ...]:
        """The markets of this exchange under its configured `name`, in the order in which they are first listed."""
        by_channel = self.channels.by_channel()
        symbols = dict.fromkeys(symbol for names in by_channel.values() for symbol in names)
        return tuple(
            MarketSettings(
                Market(name, symbol), tuple(channel for channel, names in by_channel.items() if symbol in names)
            )
            for symbol in symbols
        )


class CcxtSettings(Section):
    """The exchanges by the name that paths and keys carry."""

    exchanges: FrozenMap[str, ExchangeSettings] = Field(default_factory=empty_map)
