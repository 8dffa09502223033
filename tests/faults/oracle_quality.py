"""quality/gaps is what Bronze's control table says: every gap is a row (I1), one of its begin and one of its end (I2).

A row is compared in all that it repeats of its event. Two things are no fault: an older build wrote no such rows, and
of a run that was being written when Redis lost its newest entries some objects are there and the others never come
(the same gives a gap whose end was lost a second one).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from daedalus_common.markets import Market
from faults.cells import Window
from faults.evidence import PLACE, Evidence, Violation

MS = 1_000_000
EARLY_NS = 1_000_000_000
"""The first half of a transaction that was cut is lost too, a flush earlier."""
WAITED_NS = 15_000_000_000
"""A gap ends at the time its event was captured; from a spool that may come into Redis so much later."""
EVENT = (*PLACE, "seq", "channel", "reason", "lost")

Row = tuple[Any, ...]


def every_gap_is_a_row(evidence: Evidence) -> Iterator[Violation]:
    """I1 and I2 of every market."""
    for market in evidence.markets:
        events = _rows(evidence.gaps[market], EVENT)
        rows = evidence.gap_rows[market]
        by_phase = {
            phase: _rows(rows.filter(pl.col("phase") == phase) if not rows.is_empty() else rows, (*EVENT, "end_ts"))
            for phase in ("open", "closed")
        }
        yield from _missing(market, events, by_phase["open"], evidence.windows)
        for phase, found in by_phase.items():
            yield from _strange(market, phase, events, found, evidence.windows)
            yield from _doubles(market, phase, found, evidence.windows)


def _rows(frame: pl.DataFrame, columns: Sequence[str]) -> list[Row]:
    return [] if frame.is_empty() else frame.select(columns).rows()


def _missing(
    market: Market, events: Sequence[Row], opened: Sequence[Row], windows: Sequence[Window]
) -> Iterator[Violation]:
    there = {row[: len(EVENT)] for row in opened}
    for event in events:
        excused = _by_an_older_build(_at(event), windows) or _in_a_lost_tail(_at(event), windows)
        if event not in there and not excused:
            yield Violation("I1", f"{_told(market, event)} is no row of quality/gaps", _at(event))


def _strange(
    market: Market, phase: str, events: Sequence[Row], found: Sequence[Row], windows: Sequence[Window]
) -> Iterator[Violation]:
    declared = set(events)
    for row in found:
        event = row[: len(EVENT)]
        if event not in declared and not _in_a_lost_tail(_at(event), windows):
            yield Violation("I1", f"quality/gaps ({phase}): Bronze has no {_told(market, event)}", _at(event))


def _doubles(market: Market, phase: str, found: Sequence[Row], windows: Sequence[Window]) -> Iterator[Violation]:
    by_place: dict[Row, list[Row]] = {}
    for row in found:
        by_place.setdefault(row[: len(PLACE)], []).append(row)
    for rows in by_place.values():
        ends = sorted(row[-1] or 0 for row in rows)
        lost = phase == "closed" and all(_in_a_lost_tail(end, windows, WAITED_NS) for end in ends[:-1])
        if len(rows) > 1 and not lost:
            told = _told(market, rows[0][: len(EVENT)])
            yield Violation("I2", f"quality/gaps: {told} has {len(rows)} rows of phase {phase}", _at(rows[0]))


def _by_an_older_build(at_ns: int, windows: Sequence[Window]) -> bool:
    return any("older" in window.cell.needs and at_ns <= window.healed_ns for window in windows)


def _in_a_lost_tail(at_ns: int, windows: Sequence[Window], early_ns: int = EARLY_NS) -> bool:
    return any(
        window.lost_from_ns is not None and window.lost_from_ns - early_ns <= at_ns <= window.healed_ns
        for window in windows
    )


def _at(row: Row) -> int:
    return int(row[PLACE.index("stream_ms")]) * MS


def _told(market: Market, row: Row) -> str:
    event: Mapping[str, Any] = dict(zip(EVENT, row, strict=True))
    return f'{market.name} {event["channel"]}: gap "{event["reason"]}" (seq {event["seq"]})'
