"""The account of a market's numbers: every one published is stored, rejected, lost and said so, or waits in Redis.

hours, in their order -> add() -> close() -> days and problems; pure, and small whatever the length of the history
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np

from daedalus.etl.bronze_catalog import TABLES
from daedalus.quality.generations import Generation, Missing, declared_loss
from daedalus.quality.hours import HourRows
from daedalus.quality.names import missing_names
from daedalus.quality.numbers import Spans, holes, once, spans
from daedalus_common.events import CONTROL
from daedalus_common.gap_tracking import GapEvent
from daedalus_common.plans import hour_at
from daedalus_features.arrays import IntArray

LOSS = "server_lost"
"""The reason of gaps whose `lost` events had numbers in the sequence: those right before the gap event's own."""

_SHOWN = 5
_BEYOND = 2**62
_CONTROL = TABLES.index(CONTROL)
_NO_NUMBERS: IntArray = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What Redis held before the objects were listed; a place is (generation, seq)."""

    newest: tuple[int, int]
    """The number given last."""
    first: tuple[int, int] | None
    """Of the first entry after the writer's cursor, before which all was durable; None where nothing waited."""
    loss: GapEvent | None = None
    """That entry, where it declares that Redis has lost its end."""

    @property
    def passed(self) -> int:
        """How many numbers were given before the first that waits."""
        return self.newest[1] if self.first is None else self.first[1] - 1

    def begin(self, generation: int) -> int:
        """The number from which on those of a generation waited, or were not given yet."""
        first = self.first or (self.newest[0], self.newest[1] + 1)
        if generation < first[0]:
            return _BEYOND
        return first[1] if generation == first[0] else 0


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


class Ledger:
    """One market's account. `rejected` are the numbers of dead letters by generation, ascending and once each."""

    def __init__(self, market: str, rejected: Mapping[int, IntArray]) -> None:
        self._market = market
        self._rejected = rejected
        self._generations: dict[int, Generation] = {}
        self._newest_hour: int | None = None
        self.days: dict[date, Counts] = defaultdict(Counts)
        self.problems: list[str] = []

    @property
    def published(self) -> int:
        """By the ends of each generation."""
        return sum(each.last - each.first + 1 for each in self._generations.values())

    def newest(self, generation: int) -> int:
        """The last number of a generation that is in a row."""
        return self._generations[generation].last

    @property
    def has_lost_tail(self) -> bool:
        """Redis has lost numbers that are stored: a gap that one of them ended was open again."""
        return any(each.has_lost_tail for each in self._generations.values())

    def may_lack_gap_row(self, generation: int, seq: int) -> bool:
        """Whether Redis may have lost this gap event before its row of quality/gaps was stored."""
        account = self._generations.get(generation)
        return account is not None and account.may_lack_gap_row(seq)

    def add(self, hour: int, rows: HourRows) -> None:
        """The next hour."""
        self._newest_hour, day = hour, hour_at(hour).date()
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
            missing = Missing(generation, hour, gone, key, rows.keys[objects[behind[0]]], names)
            self._reject(day, missing, account.since)
            account.gone.append(missing)
        account.last = int(numbers[-1])
        holder = objects[int(np.flatnonzero(seq == numbers[-1])[0])]
        account.last_key, account.last_begins = rows.keys[holder], int(seq[objects == holder].min())
        control = objects[rows.table[chosen] == _CONTROL]
        if len(control):
            account.control_begins = int(seq[objects == control[-1]].min())

    def _begun(self, generation: int, number: int, day: date) -> Generation:
        """A generation goes on with the numbers of those before it, or again with some that Redis has lost."""
        before = self._before(generation)
        since = max(before, key=lambda name: before[name].last, default=generation)
        newest = before.get(since)
        if newest is None or number <= newest.last:
            found = Generation(number, number - 1, "the beginning", number, generation)
            self._forgive_all(day, generation, number)
        else:
            found = Generation(newest.last + 1, newest.last, newest.last_key, newest.last_begins, since)
        self._generations[generation] = found
        return found

    def _before(self, generation: int) -> dict[int, Generation]:
        return {name: each for name, each in self._generations.items() if name < generation}

    def _forgive_all(self, day: date, generation: int, number: int) -> None:
        for account in self._before(generation).values():
            if account.last >= number:
                self._forgive(day, account, number)

    def _forgive(self, day: date, account: Generation, number: int) -> None:
        """Redis has lost an earlier generation's numbers from this one on: and with them, perhaps, the plan of a run
        that was under way, of which some objects are there and the others never came."""
        account.has_lost_tail = True
        begin = max(number, account.unfinished())
        for missing in account.gone:
            self._lose(day, missing, missing.open.within(begin, _BEYOND))

    def _lose(self, day: date, missing: Missing, numbers: Spans) -> None:
        missing.open = missing.open.minus(numbers)
        self.days[day].lost += numbers.numbers

    def _filled(self, account: Generation, day: date, numbers: IntArray) -> IntArray:
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

    def _reject(self, day: date, missing: Missing, since: int) -> None:
        before = missing.open.numbers
        missing.open = missing.open.without(self._refused(since, missing.generation))
        self.days[day].rejected += before - missing.open.numbers

    def _refused(self, since: int, generation: int) -> IntArray:
        """The numbers of dead letters: those of before a restart may be missed only behind it."""
        found = [numbers for name, numbers in self._rejected.items() if since <= name <= generation]
        return once(np.concatenate(found))[0] if found else _NO_NUMBERS

    def _explain_loss(self, day: date, gap: GapEvent) -> None:
        """The declared loss is what lies right before its gap event."""
        lost = gap.lost or 0
        for missing in self._generations[gap.generation].gone:
            self._lose(day, missing, declared_loss(missing.open.within(0, gap.seq), gap.seq, lost))
        if lost:
            self._forgive_all(day, gap.generation, gap.seq - lost)
        else:  # A market raised behind what is stored: how much more Redis has lost nobody can know.
            for account in self._before(gap.generation).values():
                if account.last == gap.seq - 1:
                    self._forgive(day, account, 0)

    def _wait(self, waiting: Waiting) -> None:
        if self._newest_hour is None:
            return
        day = hour_at(self._newest_hour).date()
        counts = self.days[day]
        for generation, account in self._generations.items():
            for missing in account.gone:
                # Of a plan under way some objects are there and some are not yet.
                there = missing.open.within(waiting.begin(generation), _BEYOND)
                missing.open = missing.open.minus(there)
                counts.waiting += there.numbers
        generation, seq = waiting.newest
        found = self._generations.get(generation) or self._unstored(day, waiting)
        if found is not None and seq > found.last:
            self._end(counts, found, waiting)
        if waiting.loss is not None and waiting.loss.generation in self._generations:
            self._explain_loss(day, waiting.loss)

    def _end(self, counts: Counts, found: Generation, waiting: Waiting) -> None:
        """The numbers of the server's generation behind the last one stored."""
        generation, seq = waiting.newest
        tail = spans((found.last + 1, seq))
        known = tail.without(self._refused(found.since, generation))
        there = known.within(waiting.passed + 1, _BEYOND)
        counts.rejected += tail.numbers - known.numbers
        counts.waiting += there.numbers
        left, found.last = known.minus(there), seq
        if len(left) and self._newest_hour is not None:
            behind = "what waits in Redis" if len(there) else "the last number that Redis gave"
            found.gone.append(Missing(generation, self._newest_hour, left, found.last_key, behind, ()))

    def _unstored(self, day: date, waiting: Waiting) -> Generation | None:
        """The server's generation where no row of it is stored: a restart begins one. None where no number lacks."""
        generation, seq = waiting.newest
        if waiting.first is not None and waiting.first[0] == generation:
            return self._begun(generation, waiting.first[1], day)
        if generation < max(self._generations, default=_BEYOND):  # Redis has lost its end and nobody has looked yet.
            return None
        last = max(each.last for each in self._generations.values())
        if seq > last:
            return self._begun(generation, last + 1, day)
        # A market that was raised has the last number stored, and perhaps no event in its new generation.
        if seq < last and waiting.begin(generation):
            self.problems.append(
                f"{self._market}: of generation {generation}, in which Redis gave numbers up to {seq:,} and of which "
                f"nothing waits, no row is stored; how many lack is unknown, for numbers up to {last:,} are repeated"
            )
        return None

    def _sentence(self, missing: Missing) -> str:
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
