"""Blocks of several tables as one sequence of events.

rows of each table, ordered by themselves -> all rows ordered by `seq` -> a gap event before each that has no neighbour
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daedalus.etl.bronze_columns import Control, joined, joined_books
from daedalus.etl.chunks import Position
from daedalus.etl.table_reader import Block, Spot
from daedalus_features import Books, Events, Genesis, Kind, Tickers, Trades
from daedalus_features.arrays import IntArray


@dataclass(frozen=True, slots=True)
class Stretch:
    """Recorded rows of one generation in order; `events` has a gap event more before each row of `holes`."""

    events: Events
    generation: int
    stream_ms: IntArray
    stream_seq: IntArray
    seq: IntArray
    holes: IntArray
    """Rows that do not follow the one before them, ascending."""
    lost: IntArray
    """How many are missing before each of these."""

    def __len__(self) -> int:
        return len(self.seq)

    def position(self, row: int) -> Position:
        return Position(self.generation, int(self.stream_ms[row]), int(self.stream_seq[row]), int(self.seq[row]))

    def part(self, begin: int, end: int) -> tuple[Events, int]:
        """The events of the rows from `begin` to before `end`, gaps before them included, and how many are missing."""
        first, last = (int(self.holes.searchsorted(row)) for row in (begin, end))
        return self.events.part(begin + first, end + last), int(self.lost[first:last].sum())


def merged(blocks: Sequence[Block], before: Spot) -> Stretch:
    """Blocks of one generation, those of a table in order, as one sequence; `before` is the event before it."""
    tables: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        tables[block.table].append(block)
    ordered = [block for of_table in tables.values() for block in of_table]
    generation = ordered[0].generation
    seq, place = _places([block.seq for block in ordered])
    ts, ms, sub, kind = (
        _scattered(place, columns)
        for columns in (
            [block.ts for block in ordered],
            [block.stream_ms for block in ordered],
            [block.stream_seq for block in ordered],
            [block.kind for block in ordered],
        )
    )
    holes, lost = _holes(seq, before[1] if before[0] == generation else None)
    if len(holes):
        ts, kind = np.insert(ts, holes, ts[holes]), np.insert(kind, holes, Kind.GAP)
        place = place + holes.searchsorted(place, side="right")
    events, begin = Events(ts, kind, Books.empty(), Trades.empty()), 0
    for of_table in tables.values():
        count = sum(map(len, of_table))
        events = _with_payload(events, of_table, place[begin : begin + count])
        begin += count
    return Stretch(events, generation, ms, sub, seq, holes, lost)


def _places(seqs: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """All numbers ascending, and the place of each of the given ones among them."""
    given = np.concatenate(seqs) if len(seqs) > 1 else seqs[0]
    first = int(min(seq[0] for seq in seqs))
    last = int(max(seq[-1] for seq in seqs))
    if last - first + 1 == len(given):
        # Nearly always: no hole, so that the number itself tells the place.
        place = given - first
        seen = np.zeros(len(given), np.bool_)
        seen[place] = True
        if seen.all():
            return np.arange(first, last + 1), place
    order = given.argsort(kind="stable")
    place = np.empty(len(given), np.int64)
    place[order] = np.arange(len(given))
    return given[order], place


def _scattered(place: IntArray, columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    values = np.empty(len(place), columns[0].dtype)
    begin = 0
    for column in columns:
        values[place[begin : begin + len(column)]] = column
        begin += len(column)
    return values


def _holes(seq: IntArray, before: int | None) -> tuple[IntArray, IntArray]:
    steps = np.diff(seq, prepend=seq[0] - 1 if before is None else before)
    holes = np.flatnonzero(steps > 1)
    return holes, steps[holes] - 1


def _with_payload(events: Events, blocks: Sequence[Block], position: IntArray) -> Events:
    payloads = [block.payload for block in blocks]
    match payloads[0]:
        case Books():
            return replace(events, books=joined_books([p for p in payloads if isinstance(p, Books)], position))
        case Trades():
            trades = [p for p in payloads if isinstance(p, Trades)]
            price, amount, side = (joined([getattr(p, name) for p in trades]) for name in ("price", "amount", "side"))
            return replace(events, trades=Trades(position, price, amount, side))
        case Tickers():
            values = [p.values for p in payloads if isinstance(p, Tickers)]
            return replace(events, tickers=Tickers(position, values[0] if len(values) == 1 else np.hstack(values)))
        case Control():
            return replace(events, geneses=_geneses([p for p in payloads if isinstance(p, Control)], position))
        case None:
            return events


def _geneses(parts: Sequence[Control], position: IntArray) -> tuple[Genesis, ...]:
    found, begin = [], 0
    for part in parts:
        found += [Genesis(int(position[begin + row]), id_, params) for row, id_, params in part.geneses]
        begin += len(part.kind)
    return tuple(found)
