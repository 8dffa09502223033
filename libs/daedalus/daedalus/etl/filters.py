"""Which part of the recorded history a run is about."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

from daedalus_common.markets import Market, path_symbol


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One exchange, one symbol, and UTC days from `begin` to `end`, both inclusive; None does not restrict.

    `symbol` may have either form, `BTC/USDT` or the `BTC-USDT` of paths. Raises ValueError when no day can match.
    """

    exchange: str | None = None
    symbol: str | None = None
    begin: date | None = None
    end: date | None = None

    def __post_init__(self) -> None:
        if self.begin is not None and self.end is not None and self.end < self.begin:
            raise ValueError(f"the range of days ends ({self.end}) before it begins ({self.begin})")

    def matches_exchange(self, exchange: str) -> bool:
        return self.exchange is None or self.exchange == exchange

    def matches_symbol(self, symbol: str) -> bool:
        """Whether a symbol, in either form, is the one asked for."""
        return self.symbol is None or path_symbol(self.symbol) == path_symbol(symbol)

    def matches_market(self, market: Market) -> bool:
        return self.matches_exchange(market.exchange) and self.matches_symbol(market.symbol)

    def matches_day(self, day: date) -> bool:
        return self._overlaps(day, day)

    def matches_month(self, year: int, month: int) -> bool:
        """Whether any day of the month matches."""
        return self._overlaps(date(year, month, 1), date(year, month, monthrange(year, month)[1]))

    def matches_year(self, year: int) -> bool:
        """Whether any day of the year matches."""
        return self._overlaps(date(year, 1, 1), date(year, 12, 31))

    def _overlaps(self, first: date, last: date) -> bool:
        return (self.begin is None or self.begin <= last) and (self.end is None or first <= self.end)
