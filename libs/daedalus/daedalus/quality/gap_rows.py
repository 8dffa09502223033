"""Every gap event of Bronze has its row of phase `open` in quality/gaps, on the same day; and no row is there twice.

A recording may be older than the table: what is required begins with the table's first row.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from daedalus.etl.chunks import BadSegment
from daedalus.etl.filters import FilterSpec
from daedalus.quality.quality_tables import has_table, read_table
from daedalus_common.gap_tracking import StreamPlace
from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import one_array
from daedalus_common.stores import ObjectStore

_COLUMNS = ("generation", "stream_ms", "stream_seq", "phase")
_SHOWN = 5

_Row = tuple[StreamPlace, str]
"""(place, phase)"""


@dataclass(slots=True)
class GapRows:
    """What is wrong with quality/gaps, and what should be known of it."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_gap_rows(
    store: ObjectStore,
    market: Market,
    filters: FilterSpec,
    gaps: Mapping[StreamPlace, int],
    may_lack: Callable[[int, int], bool],
    may_end_twice: bool,
) -> GapRows:
    """`gaps` are the seqs of Bronze's gap events of the days that match, by their places.

    `may_lack(generation, seq)` tells of those whose row may not be stored yet, or was lost with a plan; with
    `may_end_twice` Redis has lost its end: another event may have ended a gap once more. Raises StoreError.
    """
    found = GapRows()
    if not has_table(store, "gaps", market):
        if gaps:
            found.notes.append(
                f"{market.name}: recorded before quality/gaps was written, or that table is gone; its gaps are those "
                f"of Bronze ({len(gaps):,})"
            )
        return found
    rows = _rows(store, market, filters, found)
    double = sorted(row for row, count in rows.items() if count > 1 and not (may_end_twice and row[1] == "closed"))
    if double:
        some = ", ".join(f"{phase}: {_place(place)}" for place, phase in double[:_SHOWN])
        more = ", …" if len(double) > _SHOWN else ""
        found.problems.append(
            f"{market.name}: {len(double):,} rows of quality/gaps are there more than once ({some}{more})"
        )
    lack = [place for place in sorted(gaps) if (place, "open") not in rows and not may_lack(place[0], gaps[place])]
    if lack:
        # Only now, and of all days: nearly always nothing lacks.
        every = _rows(store, market, FilterSpec(), GapRows())
        first = min((place for place, phase in every if phase == "open"), default=None)
        _tell(market, gaps, [place for place in lack if first is not None and place >= first], len(lack), found)
    return found


def _rows(store: ObjectStore, market: Market, filters: FilterSpec, found: GapRows) -> Counter[_Row]:
    """How often each row is there."""
    rows: Counter[_Row] = Counter()
    for table in read_table(store, "gaps", market, _COLUMNS, filters):
        if isinstance(table, BadSegment):
            found.problems.append(table.reason)
            continue
        columns = (one_array(table[name]).to_pylist() for name in _COLUMNS)
        rows.update(((generation, ms, sub), phase) for generation, ms, sub, phase in zip(*columns, strict=True))
    return rows


def _tell(
    market: Market, gaps: Mapping[StreamPlace, int], missing: list[StreamPlace], lacking: int, found: GapRows
) -> None:
    if lacking > len(missing):
        found.notes.append(
            f"{market.name}: {lacking - len(missing):,} of {len(gaps):,} gap events are older than quality/gaps"
        )
    if missing:
        some = "; ".join(f"seq {gaps[place]} of generation {place[0]}, {_place(place)}" for place in missing[:_SHOWN])
        more = "; …" if len(missing) > _SHOWN else ""
        found.problems.append(
            f"{market.name}: {len(missing):,} of {len(gaps):,} gap events have no row in quality/gaps ({some}{more})"
        )


def _place(place: StreamPlace) -> str:
    return f"entry {place[1]}-{place[2]}"
