"""What an audit found: per market and day, and as JSON.

Keys of the JSON (`daedalus audit --json`):

    reconciled    true when every market's numbers add up and nothing is damaged or double
    problems      what is wrong, one sentence each, with market, numbers and objects
    notes         what should be known and is no fault
    markets       per market: market, published, stored, rejected, lost, waiting, unexplained, double, disordered
                  (published = stored + rejected + lost + waiting + unexplained), strangers (dead letters without a
                  number), late (rows outside the sequence), objects, redis (whether it was asked), features
                  {rows, parts, double}, and days
    days          per day: day, first and last event (ISO 8601), the same numbers, gaps, and per channel coverage
                  (0 to 1) and gap_seconds
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from daedalus.quality.ledger import Counts
from daedalus_common.markets import Market


@dataclass(frozen=True, slots=True)
class ChannelCoverage:
    """Of one channel and day; `share` is of the time from the day's first event to its last."""

    channel: str
    share: float
    gap_seconds: float


@dataclass(frozen=True, slots=True)
class DayAudit:
    """One market's day; `first_ts` and `last_ts` are ns."""

    day: date
    first_ts: int
    last_ts: int
    counts: Counts
    gaps: int
    channels: Sequence[ChannelCoverage]


@dataclass(slots=True)
class MarketAudit:
    """One market. `published` comes from the ends of its generations, all else from what was found."""

    market: Market
    published: int = 0
    days: list[DayAudit] = field(default_factory=list)
    strangers: int = 0
    late: int = 0
    objects: int = 0
    redis_asked: bool = False
    feature_rows: int = 0
    feature_parts: int = 0
    feature_double: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def total(self, name: str) -> int:
        """The sum of one of the counts over all days."""
        return sum(getattr(day.counts, name) for day in self.days)


@dataclass(slots=True)
class Audit:
    """Everything."""

    place: str
    markets: list[MarketAudit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return [problem for market in self.markets for problem in market.problems]

    @property
    def reconciled(self) -> bool:
        return not self.problems


NUMBERS = ("stored", "rejected", "lost", "waiting", "unexplained", "double", "disordered")


def to_json(audit: Audit) -> dict[str, Any]:
    """Plain values; the keys are those of the module's text."""
    return {
        "reconciled": audit.reconciled,
        "place": audit.place,
        "problems": audit.problems,
        "notes": [*audit.notes, *(note for market in audit.markets for note in market.notes)],
        "markets": [_market(market) for market in audit.markets],
    }


def _market(market: MarketAudit) -> dict[str, Any]:
    return {
        "market": market.market.name,
        "published": market.published,
        **{name: market.total(name) for name in NUMBERS},
        "strangers": market.strangers,
        "late": market.late,
        "objects": market.objects,
        "redis": market.redis_asked,
        "features": {"rows": market.feature_rows, "parts": market.feature_parts, "double": market.feature_double},
        "days": [_day(day) for day in market.days],
    }


def _day(day: DayAudit) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "first": moment(day.first_ts),
        "last": moment(day.last_ts),
        "published": day.counts.published,
        **{name: getattr(day.counts, name) for name in NUMBERS},
        "gaps": day.gaps,
        "channels": {
            each.channel: {"coverage": round(each.share, 6), "gap_seconds": round(each.gap_seconds, 3)}
            for each in day.channels
        },
    }


def moment(ns: int) -> str:
    """ISO 8601 to the millisecond."""
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds")
