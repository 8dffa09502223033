"""A market is one (exchange, symbol); its name is safe in Redis keys, file paths and object keys."""

from typing import NewType
from urllib.parse import quote

import msgspec

MarketName = NewType("MarketName", str)
"""`binanceus:BTC-USDT`: the market's name in keys, paths, metrics and logs."""

_SAFE_IN_PATHS = "._-"


def path_symbol(symbol: str) -> str:
    """`BTC/USDT` -> `BTC-USDT`, `BTC/USDT:USDT` -> `BTC-USDT_USDT`; anything else unusual is percent-encoded.

    Redis hash tags end at `}` and object keys split at `/`, so neither may appear.
    """
    return quote(symbol.replace("/", "-").replace(":", "_"), safe=_SAFE_IN_PATHS)


class Market(msgspec.Struct, frozen=True, order=True):
    """One (exchange, symbol); `symbol` is ccxt's unified form, such as `BTC/USDT`."""

    exchange: str
    symbol: str

    @property
    def name(self) -> MarketName:
        return MarketName(f"{self.exchange}:{path_symbol(self.symbol)}")

    @property
    def partition(self) -> str:
        """Hive partitions of the market: `exchange=binanceus/symbol=BTC-USDT`."""
        return f"exchange={self.exchange}/symbol={path_symbol(self.symbol)}"
