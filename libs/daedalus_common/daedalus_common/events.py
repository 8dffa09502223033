"""What happens on a market, as frozen values.

Times: `capture_ts` is ns since the epoch, taken when the frame was handled; `exchange_ts` is the exchange's own
time in ms, as ccxt gives it. Prices are in quote units, sizes and amounts in base units.
"""

from enum import IntEnum, StrEnum
from typing import Annotated

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a column can hold: MessagePack would bring 2**64 - 1, and one such entry would stop every consumer."""

Level = tuple[float, float]
"""(price, size)"""


class Channel(StrEnum):
    """What a user subscribes to; also the table name in Bronze."""

    ORDERBOOK = "orderbook"
    TRADES = "trades"
    TICKER = "ticker"


CONTROL = "control"
"""Bronze table of the events that are ours: gap, heartbeat, genesis."""


class Kind(IntEnum):
    """First byte of an encoded event."""

    BOOK = 0
    TRADE = 1
    TICKER = 2
    GAP = 3
    HEARTBEAT = 4
    GENESIS = 5


class Book(msgspec.Struct, frozen=True):
    """The book after one update, best first."""

    capture_ts: int
    exchange_ts: int | None
    nonce: int | None
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Trade(msgspec.Struct, frozen=True):
    """One trade; `side` is the aggressor's: buy, sell or unknown."""

    capture_ts: int
    exchange_ts: int | None
    id: str
    price: float
    amount: float
    side: str | None


class Ticker(msgspec.Struct, frozen=True, array_like=True):
    """The exchange's own 24 h summary, its fields as given."""

    capture_ts: int
    exchange_ts: Int64 | None
    bid: float | None
    bid_size: float | None
    ask: float | None
    ask_size: float | None
    last: float | None
    open: float | None
    high: float | None
    low: float | None
    vwap: float | None
    base_volume: float | None
    quote_volume: float | None


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Events of `channel` may be missing between the event with `last_nonce`/`last_id` and the next one."""

    capture_ts: int
    channel: str
    reason: str
    last_nonce: Int64 | None = None
    last_id: str | None = None
    lost: Int64 | None = None
    """How many events we know to have dropped; None where nobody can know."""


class Heartbeat(msgspec.Struct, frozen=True, array_like=True):
    """Nothing came for a second, and we were watching."""

    capture_ts: int


class Genesis(msgspec.Struct, frozen=True, array_like=True):
    """From here on features are computed from nothing, with these parameters."""

    capture_ts: int
    id: str
    params: bytes
    """Canonical JSON of the feature parameters."""


Event = Book | Trade | Ticker | Gap | Heartbeat | Genesis
