"""I7: every gap has a cause among the run's faults; where nothing was lost none is declared.

What may cost which gap says the cell. A gap of a connection (`reconnect`, `stale`) must be true besides: the exchange
must have seen a connection that carried the channel end since the channel's last gap, or have withheld frames of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daedalus.quality.ledger import LOSS
from daedalus.summary.ledger import Feed
from daedalus_common.events import Channel
from daedalus_common.markets import Market
from faults.cells import NOBODY_WATCHED, Window
from faults.evidence import Ending, Evidence, Violation

SECOND = 1_000_000_000
LATE_SECONDS = 2.5
"""A gap may be declared so long after the fault's recovery was seen: ccxt looks after a connection every 2 s here."""
HANDING_OVER_SECONDS = 15.0
"""After an owner came or went the replicas share the markets out anew, one after the other."""
EARLY_SECONDS = 0.5
OF_A_CONNECTION = frozenset({"reconnect", "stale"})
SEEN_LATE_NS = 2 * SECOND
"""The exchange may see the end of a connection so much later than the client that ended it."""


def no_needless_gap(evidence: Evidence) -> Iterator[Violation]:
    """The first gap of every channel needs no cause: before it nobody watched."""
    for market in evidence.markets:
        gaps = evidence.gaps[market]
        last: dict[str, Mapping[str, Any]] = {}
        for gap in gaps.iter_rows(named=True) if not gaps.is_empty() else ():
            channel, reason = gap["channel"], gap["reason"]
            before = last.get(channel)
            last[channel] = gap
            where = f'{market.name} {channel}: gap "{reason}" (seq {gap["seq"]})'
            # A service whose clock jumps stamps its events wrongly, a server whose clock jumps their ids.
            if reason == "start" and before is None:
                continue
            if not any(explained(reason, at, evidence.windows) for at in _moments(gap)):
                yield Violation("I7", f"{where} has no cause", gap["capture_ts"])
            elif reason in OF_A_CONNECTION and not _has_ended(market, gap, before, evidence.endings):
                yield Violation("I7", f"{where}: the exchange saw no connection end", gap["capture_ts"])


def explained(reason: str, at_ns: int, windows: Sequence[Window]) -> bool:
    """Was there a fault at that time that may cost this?"""
    late = HANDING_OVER_SECONDS if reason in NOBODY_WATCHED else LATE_SECONDS
    return any(
        reason in window.cell.gaps
        and (reason != LOSS or window.lost_from_ns is not None)
        and window.began_ns - EARLY_SECONDS * SECOND <= at_ns <= window.ended_ns + late * SECOND
        for window in windows
    )


def _has_ended(
    market: Market, gap: Mapping[str, Any], before: Mapping[str, Any] | None, endings: Sequence[Ending]
) -> bool:
    feed = Feed(market, Channel(gap["channel"]))
    first = 0 if before is None else min(_moments(before)) - SEEN_LATE_NS
    last = max(_moments(gap)) + SEEN_LATE_NS
    return any(first <= ending.at_ns <= last and feed in ending.feeds for ending in endings)


def _moments(gap: Mapping[str, Any]) -> tuple[int, int]:
    return gap["capture_ts"], gap["stream_ms"] * 1_000_000
