"""The account of a market's numbers: every one published is stored, rejected, lost and said so, or waits in Redis.

hours, in their order -> add() -> close() -> days and problems; pure, and small whatever the length of the history
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from daedalus.quality.hours import HourRows
from daedalus.quality.names import missing_names
from daedalus.quality.numbers import Spans, holes, once, spans
from daedalus_common.gap_tracking import GapEvent
from daedalus_common.plans import hour_at
from daedalus_features.arrays import IntArray

LOSS = "server_lost"
"""The reason of gaps whose `lost` events had numbers in the sequence: those right before the gap event's own."""

_SHOWN = 5
_BEYOND = 2**62
_NO_NUMBERS: IntArray = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What Redis held before the objects were listed; a place is (generation, seq)."""

    newest: tuple[int, int]
    """The number given last."""
    first: tuple[int, int] | None
    """Of the first entry after the writer's cursor, before which all was durable; None where nothing waited."""

    @property
    def passed(self) -> int:
        """How many numbers were given before the first that waits."""
        return self.newest[1] if self.first is None else self.first[1] - 1

    def begin(self, generation: int) -> int:
        """The number from which on those of a generation waited."""
        if self.first is None or generation < self.first[0]:
            return _BEYOND
        return self.first[1] if generation == self.first[0] else 0


@dataclass(slots=True)
class Counts:
    """Numbers of one market and day. What is missing counts for the day of the row behind it."""

    stored: int = 0
    rejected: int = 0
    lost: int = 0
    waiting: int = 0
    unexplained: int = 0
    double: int = 0
    disordered: int = 0

    @property
    def published(self) -> int:
        return self.stored + self.rejected + self.lost + self.waiting + self.unexplained


@dataclass(slots=True)
class _Missing:
    """Numbers of one generation that are in no row of an hour, and the objects with the rows around them."""

    generation: int
    hour: int
    open: Spans
    before: str
    behind: str
    names: tuple[str, ...]


@dataclass(slots=True)
class _Generation:
    first: int
    last: int
    last_key: str
    last_begins: int
    """The first number in the object that holds the last one."""
    gone: list[_Missing] = field(default_factory=list)

    def unfinished(self) -> int:
        """From which number on a run may be stored in part: all before the newest run was durable when that began."""
        begin = self.last_begins
        for missing in reversed(self.gone):
            for first, last in reversed(missing.open.pairs()):
                if last == begin - 1:
                    begin = first
        return begin


class Ledger:
    """One market's account. `rejected` are the numbers of dead letters by generation, ascending and once each."""

    def __init__(self, market: str, rejected: Mapping[int, IntArray]) -> None:
        self._market = market
        self._rejected = rejected
        self._generations: dict[int, _Generation] = {}
        self._newest_day: date | None = None
        self.days: dict[date, Counts] = defaultdict(Counts)
        self.problems: list[str] = []

    @property
    def published(self) -> int:
        """By the ends of each generation."""
        return sum(each.last - each.first + 1 for each in self._generations.values())

    def newest(self, generation: int) -> int:
        """The last number of a generation that is in a row."""
        return self._generations[generation].last

    def add(self, hour: int, rows: HourRows) -> None:
        """The next hour."""
        self._newest_day = day = hour_at(hour).date()
        for generation in np.unique(rows.generation).tolist():
            self._add(hour, day, generation, rows, rows.of_generation(generation))
        for gap in rows.gaps:
            if gap.reason == LOSS:
                self._explain_loss(day, gap)

    def close(self, waiting: Waiting | None) -> None:
        """When every hour is added: what is still unexplained becomes a problem."""
        if waiting is not None:
            self._wait(waiting)
        for generation in self._generations.values():
            for missing in generation.gone:
                if len(missing.open):
                    counts = self.days[hour_at(missing.hour).date()]
                    counts.unexplained += missing.open.numbers
                    self.problems.append(self._sentence(missing))

    def _add(self, hour: int, day: date, generation: int, rows: HourRows, chosen: slice) -> None:
        seq, objects, counts = rows.seq[chosen], rows.object[chosen], self.days[day]
        numbers, double = once(seq)
        account = self._generations.get(generation)
        again = _NO_NUMBERS if account is None else numbers[numbers <= account.last]
        if len(again) and account is not None:
            numbers, again = numbers[len(again) :], self._filled(account, day, again)
        fell = int((np.diff(seq) < 0).sum())
        if fell:
            counts.disordered += fell
            self.problems.append(f"{self._hour(hour)}: {fell:,} rows have a number below that of the row before them")
        if len(double) or len(again):
            counts.double += len(seq) - len(np.unique(seq)) + len(again)
            self.problems.append(self._doubles(hour, generation, rows, np.union1d(double, again), chosen))
        counts.stored += len(numbers)
        if not len(numbers):
            return
        account = account or self._begun(generation, int(numbers[0]), day)
        first = account.last + 1
        gone = holes(numbers, first)
        if len(gone):
            before, behind = (np.flatnonzero(seq == number) for number in (gone.first[0] - 1, gone.last[-1] + 1))
            key = rows.keys[objects[before[0]]] if len(before) else account.last_key
            names = missing_names((*rows.keys, *rows.covered))
            missing = _Missing(generation, hour, gone, key, rows.keys[objects[behind[0]]], names)
            self._reject(day, missing)
            account.gone.append(missing)
        account.last = int(numbers[-1])
        holder = objects[int(np.flatnonzero(seq == numbers[-1])[0])]
        account.last_key, account.last_begins = rows.keys[holder], int(seq[objects == holder].min())

    def _begun(self, generation: int, number: int, day: date) -> _Generation:
        """A generation goes on with the numbers of those before it, or again with some that Redis has lost."""
        newest = max(self._before(generation), key=lambda each: each.last, default=None)
        if newest is None or number <= newest.last:
            found = _Generation(number, number - 1, "the beginning", number)
            self._forgive_all(day, generation, number)
        else:
            found = _Generation(newest.last + 1, newest.last, newest.last_key, newest.last_begins)
        self._generations[generation] = found
        return found

    def _before(self, generation: int) -> list[_Generation]:
        return [each for name, each in self._generations.items() if name < generation]

    def _forgive_all(self, day: date, generation: int, number: int) -> None:
        for account in self._before(generation):
            if account.last >= number:
                self._forgive(day, account, number)

    def _forgive(self, day: date, account: _Generation, number: int) -> None:
        """Redis has lost an earlier generation's numbers from this one on: and with them, perhaps, the plan of a run
        that was under way, of which some objects are there and the others never came."""
        begin = max(number, account.unfinished())
        for missing in account.gone:
            self._lose(day, missing, missing.open.within(begin, _BEYOND))

    def _lose(self, day: date, missing: _Missing, numbers: Spans) -> None:
        missing.open = missing.open.minus(numbers)
        self.days[day].lost += numbers.numbers

    def _filled(self, account: _Generation, day: date, numbers: IntArray) -> IntArray:
        """Numbers of hours before, which belong into holes there; those that were in rows already are given back."""
        left = numbers
        for missing in account.gone:
            inside = missing.open.holds(left)
            filled = int(inside.sum())
            if filled:
                missing.open = missing.open.without(left)
                left = left[~inside]
                counts = self.days[day]
                counts.stored += filled
                counts.disordered += filled
                self.problems.append(f"{self._hour(missing.hour)}: {filled:,} of its rows lie in a later hour")
        return left

    def _reject(self, day: date, missing: _Missing) -> None:
        before = missing.open.numbers
        missing.open = missing.open.without(self._rejected.get(missing.generation, _NO_NUMBERS))
        self.days[day].rejected += before - missing.open.numbers

    def _explain_loss(self, day: date, gap: GapEvent) -> None:
        """The declared loss is what lies right before its gap event."""
        lost = gap.lost or 0
        for missing in self._generations[gap.generation].gone:
            self._lose(day, missing, _loss(missing.open.within(0, gap.seq), gap.seq, lost))
        if lost:
            self._forgive_all(day, gap.generation, gap.seq - lost)
        else:  # A market raised behind what is stored: how much more Redis has lost nobody can know.
            for account in self._before(gap.generation):
                if account.last == gap.seq - 1:
                    self._forgive(day, account, 0)

    def _wait(self, waiting: Waiting) -> None:
        if self._newest_day is None:
            return
        counts = self.days[self._newest_day]
        for generation, account in self._generations.items():
            for missing in account.gone:
                # Of a plan under way some objects are there and some are not yet.
                there = missing.open.within(waiting.begin(generation), _BEYOND)
                missing.open = missing.open.minus(there)
                counts.waiting += there.numbers
        generation, seq = waiting.newest
        found = self._generations.get(generation)
        if found is None and waiting.first is not None and waiting.first[0] == generation:
            found = self._begun(generation, waiting.first[1], self._newest_day)
        if found is None or seq <= found.last:
            return
        tail = spans((found.last + 1, seq))
        known = tail.without(self._rejected.get(generation, _NO_NUMBERS))
        there = known.within(waiting.begin(generation), _BEYOND)
        counts.rejected += tail.numbers - known.numbers
        counts.waiting += there.numbers
        left, found.last = known.minus(there), seq
        if len(left):
            hour = int(np.datetime64(self._newest_day, "h").astype(np.int64))
            found.gone.append(_Missing(generation, hour, left, found.last_key, "what waits in Redis", ()))

    def _sentence(self, missing: _Missing) -> str:
        pairs = missing.open.pairs()
        some = ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in pairs[:_SHOWN]) + (
            f", … {pairs[-1][1]}" if len(pairs) > _SHOWN else ""
        )
        names = f"; by its number missing: {', '.join(missing.names[:_SHOWN])}" if missing.names else ""
        return (
            f"{self._hour(missing.hour)}: {missing.open.numbers:,} numbers of its sequence are in no row and in no gap "
            f"({some}; generation {missing.generation}), between {missing.before} and {missing.behind}{names}"
        )

    def _doubles(self, hour: int, generation: int, rows: HourRows, double: IntArray, chosen: slice) -> str:
        inside = np.isin(rows.seq[chosen], double)
        keys = list(dict.fromkeys(rows.keys[number] for number in np.unique(rows.object[chosen][inside]).tolist()))
        some = ", ".join(keys[:_SHOWN]) + (", …" if len(keys) > _SHOWN else "")
        return (
            f"{self._hour(hour)}: {len(double):,} numbers ({int(double[0])}-{int(double[-1])}, generation "
            f"{generation}) are in more than one row, in {some}"
        )

    def _hour(self, hour: int) -> str:
        return f"{self._market} {hour_at(hour):%Y-%m-%dT%H}"


def _loss(before: Spans, seq: int, lost: int) -> Spans:
    """Of the numbers missing before a gap event, which has the number `seq`, those that it stands for."""
    if len(before) and before.last[-1] == seq - 1:
        return before.within(seq - lost, seq)
    # Before there were quality tables the gap event came some events later.
    at = np.flatnonzero(before.sizes == lost)[-1:]
    return Spans(before.first[at], before.last[at])
