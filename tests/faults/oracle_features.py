"""I4: Silver and Gold are what the features, computed offline over Bronze, say they are."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from daedalus_common.markets import Market
from daedalus_features import Column, Rows
from faults.evidence import Evidence, Violation
from support.offline import bronze, expected_rows, stored_tables

TOLERANCE = 1e-9


UNSURE_BEFORE_NS = 5_000_000_000
"""Rows so much older than a loss of Redis' tail may have been computed from entries that were lost."""
BEGIN_ANEW_NS = 30_000_000_000
"""The bound of I6. All events may be passed before it: of a market that changed hands the writer looks at the store."""
LONGEST_BAR_NS = 65_000_000_000
"""A bar carries the time of its beginning: the one that was open at the loss may be so much older."""

Span = tuple[int, int]


def features_follow_from_bronze(evidence: Evidence) -> Iterator[Violation]:
    """Every row of every table, in order, with every value."""
    for market in evidence.markets:
        if not evidence.has_table(market, "control"):
            yield Violation("I4", f"{market.name}: Bronze holds no genesis, so no features can be compared")
            continue
        yield from _of_market(evidence, market)


def _of_market(evidence: Evidence, market: Market) -> Iterator[Violation]:
    expected = expected_rows(evidence.data, market.partition)
    stored = stored_tables(evidence.data, market.partition)
    spans = unsure_spans(evidence, market)
    for name in sorted({*expected, *stored}):
        where = f"{market.name} {name}"
        early = LONGEST_BAR_NS if name.startswith("gold/") else 0
        excused = [(first - early, last) for first, last in spans]
        if name not in stored:
            missing = int(_outside(excused, expected[name].timestamp).sum())
            if missing:
                yield Violation("I4", f"{where}: {missing} rows should be stored, there is no table")
        elif name not in expected:
            yield Violation("I4", f"{where}: {stored[name].height} rows are stored that Bronze does not give")
        else:
            yield from differences(where, *_without(excused, stored[name], expected[name]))


def unsure_spans(evidence: Evidence, market: Market) -> list[Span]:
    """Where live may lack rows that Bronze gives (docs/adr/0015): from a loss of Redis' tail to the next genesis."""
    geneses = bronze(evidence.data, "control", market.partition).filter(pl.col("kind").cast(pl.String) == "genesis")
    times = sorted(geneses["ts"].dt.epoch("ns").to_list())
    spans = []
    for window in evidence.windows:
        after = [at for at in times if at > window.began_ns]
        in_time = bool(after) and after[0] <= max(window.ended_ns, window.healed_ns + BEGIN_ANEW_NS)
        if window.lost_from_ns is not None and in_time:
            lost_from = min(window.began_ns, window.lost_from_ns)
            spans.append((lost_from - UNSURE_BEFORE_NS, after[0]))
    return spans


def _without(spans: list[Span], stored: pl.DataFrame, expected: Rows) -> tuple[pl.DataFrame, Rows]:
    """Both without the rows of these times."""
    rows = _outside(spans, expected.timestamp)
    of_stored = pl.Series(_outside(spans, stored["timestamp"].dt.epoch("ns").to_numpy()))
    return stored.filter(of_stored), Rows(expected.table, expected.timestamp[rows], expected.values[rows])


def _outside(spans: list[Span], times: np.ndarray) -> np.ndarray:
    """Of each time whether it is in none of the spans."""
    inside = [(first <= times) & (times <= last) for first, last in spans]
    return ~np.logical_or.reduce(inside) if inside else np.ones(len(times), dtype=bool)


def differences(where: str, stored: pl.DataFrame, expected: Rows) -> Iterator[Violation]:
    """The first place where the rows differ, then the values of each column."""
    times = stored["timestamp"].dt.epoch("ns").to_numpy()
    common = min(len(times), len(expected.timestamp))
    unequal = np.flatnonzero(times[:common] != expected.timestamp[:common])
    if len(unequal) or len(times) != len(expected.timestamp):
        at = int(unequal[0]) if len(unequal) else common
        side = expected.timestamp if at < len(expected.timestamp) else times
        text = (
            f"{where}: {len(times)} rows are stored, {len(expected.timestamp)} expected; they differ from row {at} on"
        )
        yield Violation("I4", text, int(side[at]))
        return
    names = set(expected.table.index)
    if set(stored.columns) != {"timestamp", "seq", *names}:
        yield Violation("I4", f"{where}: columns differ: {sorted(set(stored.columns) ^ {'timestamp', 'seq', *names})}")
        return
    for column in expected.table.columns:
        found, wanted = _codes(stored[column.name], column), expected.column(column.name)
        wrong = np.flatnonzero(~np.isclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
        if len(wrong):
            at = int(wrong[0])
            text = (
                f"{where}: {column.name} of {len(wrong)} rows differs, first in row {at}: {found[at]}, not {wanted[at]}"
            )
            yield Violation("I4", text, int(times[at]))


def _codes(stored: pl.Series, column: Column) -> np.ndarray:
    """A column's values as the features give them: NaN for null, a label by its place."""
    if column.dtype == "category":
        codes = {label: float(place) for place, label in enumerate(column.labels)}
        stored = stored.cast(pl.String).replace_strict(codes, return_dtype=pl.Float64)
    values: np.ndarray = stored.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values
