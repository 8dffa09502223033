"""Who notices when an exchange's frame is missing.

ccxt checks the sequence of some books itself and rejects with ChecksumError. Where it does not, and the exchange
numbers its frames without holes, we check. Elsewhere nobody can: `book["nonce"]` grows there, but by any step, or is
not set at all (bybit's `u` and kraken's checksum are not used: the first is not documented to be without holes, the
second crashes in ccxt's Python). There a frame that could not be read costs the connection, so that books begin anew.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

_BINANCE: Final = ("binance", "binanceus", "binanceusdm", "binancecoinm")
_OKX: Final = ("okx", "okxus", "myokx")
CHECKED_BY_CCXT: Final = frozenset((*_BINANCE, *_OKX, "cryptocom", "gate", "gateeu", "htx"))
"""ccxt ids whose books cannot silently miss an update: each one names the one before it."""

SequenceNumber = Callable[[Mapping[str, Any]], int | None]


def _coinbase(message: Mapping[str, Any]) -> int | None:
    """One number for all frames of a connection, of all channels, from 0."""
    number = message.get("sequence_num")
    return number if isinstance(number, int) else None


NUMBERED: Final[dict[str, SequenceNumber]] = {"coinbase": _coinbase}
"""ccxt id -> the number that a decoded frame carries; each connection counts without holes."""


def books_are_checked(exchange_id: str) -> bool:
    return exchange_id in CHECKED_BY_CCXT or exchange_id in NUMBERED


def is_hole(last: int | None, number: int) -> bool:
    """Is anything missing between the frames numbered `last` (None: there was none) and `number`?"""
    return last is not None and number > last + 1
