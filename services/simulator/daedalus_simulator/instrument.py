"""What is traded: names, tick and lot of one symbol, and how its prices and sizes are written."""

import math
import re
import zlib
from dataclasses import dataclass

QUOTES = ("FDUSD", "USDT", "USDC", "USD", "EUR", "GBP", "TRY", "BRL", "BTC", "ETH", "BNB")
"""Quote assets by which an id such as ``BTCUSDT`` is split; an earlier one wins over its own suffix."""

_DOLLARS = {"USD", "USDT", "USDC", "FDUSD", "DAI"}
_DOLLAR_VALUES = {
    "BTC": 60_000.0,
    "ETH": 2_600.0,
    "SOL": 150.0,
    "BNB": 550.0,
    "EUR": 1.08,
    "GBP": 1.27,
    "TRY": 0.03,
    "BRL": 0.18,
}
_CENT_PRICED = {"BTC", "ETH", "SOL", "BNB"}
_SYMBOL = re.compile(r"([A-Z0-9]{1,20})/([A-Z0-9]{1,20})")
_MAX_DECIMALS = 8
"""Binance writes every price and size with eight decimals."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One spot pair. A price is a whole number of ticks of ``10 ** -price_decimals``, a size of lots."""

    base: str
    quote: str
    price_decimals: int
    size_decimals: int
    initial_price: float

    @property
    def id(self) -> str:
        """The exchange's name, ``BTCUSDT``."""
        return self.base + self.quote

    @property
    def symbol(self) -> str:
        """The unified name, ``BTC/USDT``."""
        return f"{self.base}/{self.quote}"

    def price_text(self, ticks: int) -> str:
        return "%.8f" % (ticks / 10**self.price_decimals)

    def size_text(self, lots: int) -> str:
        return "%.8f" % (lots / 10**self.size_decimals)


def parse_symbol(text: str) -> Instrument:
    """``BASE/QUOTE`` as an instrument with a believable price.

    Well-known assets have their usual price; any other gets one between 0.05 and 500 dollars by the hash
    of its name, so that it is the same in every run. Raises ``ValueError`` if the text is no symbol.
    """
    match = _SYMBOL.fullmatch(text)
    if match is None or match[1] == match[2]:
        raise ValueError(f"{text!r} is not a symbol: write BASE/QUOTE in capitals, e.g. BTC/USDT")
    base, quote = match[1], match[2]
    base_dollars = _dollar_value(base)
    price = base_dollars / _dollar_value(quote)
    return Instrument(base, quote, _price_decimals(base, quote, price), _size_decimals(base_dollars), price)


def split_id(instrument_id: str) -> tuple[str, str]:
    """``BTCUSDT`` as ``("BTC", "USDT")``. Raises ``ValueError`` where no known quote asset ends the id."""
    for quote in QUOTES:
        base = instrument_id.removesuffix(quote)
        if base and base != instrument_id:
            return base, quote
    raise ValueError(f"cannot tell base from quote in {instrument_id!r}: it ends in none of {', '.join(QUOTES)}")


def _dollar_value(asset: str) -> float:
    if asset in _DOLLARS:
        return 1.0
    spread_over_four_decades = zlib.crc32(asset.encode()) / 2**32 * 4 - 1.3
    return _DOLLAR_VALUES.get(asset, float(10**spread_over_four_decades))


def _price_decimals(base: str, quote: str, price: float) -> int:
    if base in _CENT_PRICED and quote in _DOLLARS:
        return 2
    six_digits = 5 - math.floor(math.log10(price))
    return min(_MAX_DECIMALS, max(0, six_digits))


def _size_decimals(base_dollars: float) -> int:
    """A lot is worth between ten cents and a dollar, or one whole unit of a cheaper asset."""
    return min(_MAX_DECIMALS, max(0, math.ceil(math.log10(base_dollars))))
