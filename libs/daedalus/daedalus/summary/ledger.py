"""What was sent and what was recorded, as values that can be compared."""

from dataclasses import dataclass

from daedalus_common.events import Channel
from daedalus_common.markets import Market

Position = tuple[int, int, int]
"""(generation, stream_ms, stream_seq): the order of a market's sequence in Bronze."""

Number = tuple[int, int]
"""(generation, seq): unique in its market. After a loss on the server numbers may come again in a new generation."""


@dataclass(frozen=True, slots=True, order=True)
class Feed:
    """One channel of one market."""

    market: Market
    channel: Channel

    def __str__(self) -> str:
        return f"{self.market.name} {self.channel.value}"


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent on one feed."""

    ids: tuple[str, ...]
    """In sending order: a book update's last update id, a trade's id, a ticker's event time in ms."""
    snapshots: tuple[str, ...] = ()
    """Update ids of the whole books that clients fetched. A book may be recorded as fetched: then its nonce is one of
    these, and stands for all updates up to it."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One row of Bronze, with the same id as in `Sent`."""

    position: Position
    id: str


@dataclass(frozen=True, slots=True)
class DeclaredGap:
    """One gap event of Bronze's control table; `lost` is None where nobody can know."""

    position: Position
    channel: str
    reason: str
    lost: int | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of everything sent on one feed."""

    feed: Feed
    sent: int
    recorded: int
    declared: int
    """Sent, not recorded, and covered by a declared gap."""
    missing: tuple[str, ...]
    """Ids sent, not recorded, and covered by no gap."""
    double: tuple[str, ...]
    """Ids recorded more often than sent."""
    never_sent: tuple[str, ...]
    """Ids recorded that nobody sent."""
    disordered: tuple[str, ...]
    """Ids recorded after one that was sent later."""

    @property
    def reconciled(self) -> bool:
        # A feed of which nothing arrived is broken, whatever gap its one attempt declared.
        silent = self.sent > 0 and self.recorded == 0
        return not (silent or self.missing or self.double or self.never_sent or self.disordered)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A market's numbers of this run in Bronze, over all tables: without a hole and without a double."""

    market: Market
    first: int
    """The number that the run's first event had to get."""
    last: int
    """The number of the run's last event; `first - 1` where there was none."""
    holes: tuple[tuple[int, int], ...]
    """(first, last) of each run of numbers that are in no row."""
    double: tuple[int, ...]
    lost: int
    """Events that the server lost after confirming them, as gap events declare: so many numbers may be missing."""

    @property
    def missing(self) -> int:
        return sum(last - first + 1 for first, last in self.holes)

    @property
    def whole(self) -> bool:
        return self.missing <= self.lost and not self.double


@dataclass(frozen=True, slots=True)
class Ledger:
    """All feeds and markets of a run."""

    balances: tuple[Balance, ...]
    sequences: tuple[Sequence, ...] = ()

    @property
    def reconciled(self) -> bool:
        feeds = bool(self.balances) and all(balance.reconciled for balance in self.balances)
        return feeds and all(sequence.whole for sequence in self.sequences)
