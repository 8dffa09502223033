"""I7: every gap has a cause among the run's faults; where nothing was lost none is declared."""

from collections.abc import Iterator, Sequence

from faults.cells import NOBODY_WATCHED, Window
from faults.evidence import Evidence, Violation

SECOND = 1_000_000_000
LATE_SECONDS = 1.5
"""A gap may be declared so long after the fault's recovery was seen."""
HANDING_OVER_SECONDS = 15.0
"""After an owner came or went the replicas share the markets out anew, one after the other."""
EARLY_SECONDS = 0.5


def no_needless_gap(evidence: Evidence) -> Iterator[Violation]:
    """The first gap of every channel needs no cause: before it nobody watched."""
    for market in evidence.markets:
        gaps = evidence.gaps[market]
        begun: set[str] = set()
        for gap in gaps.iter_rows(named=True) if not gaps.is_empty() else ():
            is_first = gap["reason"] == "start" and gap["channel"] not in begun
            begun.add(gap["channel"])
            # A service whose clock jumps stamps its events wrongly, a server whose clock jumps their ids.
            moments = (gap["capture_ts"], gap["stream_ms"] * 1_000_000)
            if not is_first and not any(explained(gap["reason"], at, evidence.windows) for at in moments):
                text = f'{market.name} {gap["channel"]}: gap "{gap["reason"]}" (seq {gap["seq"]}) has no cause'
                yield Violation("I7", text, gap["capture_ts"])


def explained(reason: str, at_ns: int, windows: Sequence[Window]) -> bool:
    """Was there a fault at that time that may cost this?"""
    late = HANDING_OVER_SECONDS if reason in NOBODY_WATCHED else LATE_SECONDS
    return any(
        reason in window.cell.gaps
        and window.began_ns - EARLY_SECONDS * SECOND <= at_ns <= window.ended_ns + late * SECOND
        for window in windows
    )
