"""Rows of the quality tables, and the gap events of Bronze's control table that they come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daedalus_common.gap_tracking import ChannelEvents, GapEvent, GapRow
from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import categories, memory, numbers, one_array, texts
from daedalus_common.parquet.arrow_tables import arrow_schema
from daedalus_common.parquet.stored_rows import StoredRows, split
from daedalus_common.plans import HOUR_NS, Destination, hour_at, quality_destination
from daedalus_common.tables import GAP_PHASES, QUALITY

Int64s = NDArray[np.int64]

NANOSECONDS = pa.timestamp("ns", "UTC")
LARGEST = 2**63 - 1
_MILLISECOND_NS = 1_000_000
_LAST_MS = 9_000_000_000_000
"""Of the year 2255: a day for the ids of strangers that lie beyond, and ns still fit."""

_PLACE = ("generation", "stream_ms", "stream_seq", "seq", "ts", "capture_ts")
_GAP_CELLS = ("channel", "reason", "last_nonce", "last_id", "lost")


@dataclass(frozen=True, slots=True)
class Rejected:
    """An entry of the raw stream that became a dead letter; None where its field cannot be read.

    An id beyond int64, which only a stranger gives, counts as the largest.
    """

    stream_ms: int
    stream_seq: int
    generation: int | None
    seq: int | None
    ts: int | None
    reason: str
    size_bytes: int


def rejected_entry(id_: bytes, fields: Mapping[bytes, bytes], reason: str) -> Rejected:
    """What can be read of an entry's fields; never raises for its content."""
    ms, sub = (min(int(part), LARGEST) for part in id_.split(b"-"))
    generation, seq, ts = (
        _whole(fields.get(name, b""), limit) for name, limit in ((b"g", 2**31), (b"s", 2**53), (b"t", 2**62))
    )
    return Rejected(ms, sub, generation, seq, ts, reason, sum(len(name) + len(text) for name, text in fields.items()))


def channel_events(rows: pa.Table) -> ChannelEvents:
    """Rows of a Bronze table, in the order of the stream, as the tracker of gaps takes them."""
    generation, ms, sub, ts = (
        memory(one_array(rows[name]), np.int32 if name == "generation" else np.int64)
        for name in ("generation", "stream_ms", "stream_seq", "ts")
    )
    return ChannelEvents(generation, ms, sub, ts)


def gap_events(control: pa.Table) -> list[GapEvent]:
    """The gap events among the rows of Bronze's control table, in their order."""
    at = [row for row, kind in enumerate(one_array(control["kind"]).to_pylist()) if kind == "gap"]
    if not at:
        return []
    place = {name: memory(one_array(control[name]), np.int32 if name == "generation" else np.int64) for name in _PLACE}
    chosen = control.select(_GAP_CELLS).take(numbers(np.array(at, np.int64), pa.int64()))
    cells = [one_array(chosen[name]).to_pylist() for name in _GAP_CELLS]
    return [
        GapEvent(
            **{name: int(column[row]) for name, column in place.items()},
            channel=channel or "",
            reason=reason or "",
            last_nonce=last_nonce,
            last_id=last_id,
            lost=lost,
        )
        for row, channel, reason, last_nonce, last_id, lost in zip(at, *cells, strict=True)
    ]


def gap_rows(market: Market, rows: Sequence[GapRow]) -> Iterator[tuple[Destination, StoredRows]]:
    """Rows of quality/gaps by their place, which follows the instant at which a row became known."""
    if not rows:
        return
    table, events = QUALITY["gaps"], [row.gap.event for row in rows]
    durations = [row.duration_ns for row in rows]
    phases = np.array([GAP_PHASES.index(row.phase) for row in rows], np.int32)
    columns = {
        "generation": numbers(np.array([event.generation for event in events], np.int32), pa.int32()),
        "stream_ms": _integers([event.stream_ms for event in events]),
        "stream_seq": _integers([event.stream_seq for event in events]),
        "seq": _integers([event.seq for event in events]),
        "ts": _integers([event.ts for event in events], NANOSECONDS),
        "capture_ts": _integers([event.capture_ts for event in events], NANOSECONDS),
        "phase": categories(phases, GAP_PHASES, phases < 0),
        "channel": texts([event.channel for event in events]),
        "reason": texts([event.reason for event in events]),
        "last_nonce": _integers([event.last_nonce for event in events]),
        "last_id": texts([event.last_id for event in events]),
        "lost": _integers([event.lost for event in events]),
        "begin_ts": _integers([row.gap.begin_ts for row in rows], NANOSECONDS),
        "end_ts": _integers([row.end_ts for row in rows], NANOSECONDS),
        "duration_seconds": numbers(
            np.array([0.0 if ns is None else ns / 1e9 for ns in durations]),
            pa.float64(),
            np.array([ns is None for ns in durations]),
        ),
    }
    schema = arrow_schema(table)
    arrow = pa.Table.from_arrays([columns[field.name] for field in schema], schema=schema)
    keys = np.array([(row.at.stream_ms, row.at.stream_seq, row.gap.event.seq) for row in rows], np.int64)
    yield from _by_hour(market, StoredRows(table, arrow, keys), np.array([row.at.ts for row in rows], np.int64))


def rejected_rows(market: Market, rejected: Sequence[Rejected]) -> Iterator[tuple[Destination, StoredRows]]:
    """Rows of quality/rejected by their place, which follows the entries' ids: all that every entry has."""
    if not rejected:
        return
    table = QUALITY["rejected"]
    generations = np.array([each.generation or 0 for each in rejected], np.int32)
    columns = {
        "stream_ms": _integers([each.stream_ms for each in rejected]),
        "stream_seq": _integers([each.stream_seq for each in rejected]),
        "generation": numbers(generations, pa.int32(), np.array([each.generation is None for each in rejected])),
        "seq": _integers([each.seq for each in rejected]),
        "ts": _integers([each.ts for each in rejected], NANOSECONDS),
        "reason": texts([each.reason for each in rejected]),
        "size_bytes": _integers([each.size_bytes for each in rejected]),
    }
    schema = arrow_schema(table)
    arrow = pa.Table.from_arrays([columns[field.name] for field in schema], schema=schema)
    keys = np.array([(each.stream_ms, each.stream_seq, each.seq or 0) for each in rejected], np.int64)
    instants = np.minimum(keys[:, 0], _LAST_MS) * _MILLISECOND_NS
    yield from _by_hour(market, StoredRows(table, arrow, keys), instants)


def _by_hour(market: Market, rows: StoredRows, ts: Int64s) -> Iterator[tuple[Destination, StoredRows]]:
    for hour, of_hour in split(rows, ts // HOUR_NS).items():
        yield quality_destination(rows.table.name, market, hour_at(hour)), of_hour


def _whole(text: bytes, limit: int) -> int | None:
    """As the decoder of entries reads it; None where that refuses the field."""
    try:
        value = int(text) if len(text) < 32 else limit
    except ValueError:
        return None
    return value if 0 <= value < limit else None


def _integers(values: Sequence[int | None], kind: pa.DataType | None = None) -> pa.Array:
    absent = np.array([value is None for value in values], dtype=np.bool_)
    return numbers(np.array([value or 0 for value in values], dtype=np.int64), kind or pa.int64(), absent)
