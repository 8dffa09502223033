"""How much of the recorded time somebody watched: pure, over gaps as `daedalus_common.gap_tracking` gives them."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from daedalus.quality.hours import HourRows
from daedalus_common.events import CONTROL
from daedalus_common.gap_tracking import GapState, OpenGap, stretches, track
from daedalus_common.plans import hour_at

Interval = tuple[int, int]
"""(begin, end) in ns since the epoch."""


class Coverage:
    """One market's. Of each day what counts is the time from its first event to its last."""

    def __init__(self) -> None:
        self._state = GapState()
        self._gaps: dict[str, list[Interval]] = defaultdict(list)
        self.recorded: dict[date, Interval] = {}
        self.gap_counts: dict[date, int] = defaultdict(int)

    def add(self, hour: int, rows: HourRows) -> None:
        """The next hour."""
        if not len(rows):
            return
        day, first, last = hour_at(hour).date(), int(rows.ts.min()), int(rows.ts.max())
        begin, end = self.recorded.get(day, (first, last))
        self.recorded[day] = min(begin, first), max(end, last)
        self.gap_counts[day] += len(rows.gaps)
        self._state, found = track(self._state, stretches(rows.channels(), rows.gaps))
        for row in found:
            if row.end_ts is not None:
                self._note(row.gap, row.end_ts)

    def close(self) -> None:
        """When every hour is added: what is open lasts to the end."""
        end = max((end for _, end in self.recorded.values()), default=0)
        for gap in self._state.open:
            self._note(gap, end)

    def channels(self) -> list[str]:
        """Those with any event or gap."""
        return sorted({*self._state.last, *self._gaps} - {CONTROL})

    def gap_seconds(self, day: date, channel: str) -> float:
        """Time of the day in which nobody watched the channel, as far as it was recorded at all."""
        begin, end = self.recorded[day]
        mine = [*self._gaps.get(channel, ()), *self._gaps.get(CONTROL, ())]
        return union_ns(mine, begin, end) / 1e9

    def share(self, day: date, channel: str) -> float:
        """Of the recorded time of the day, from 0 to 1."""
        begin, end = self.recorded[day]
        whole = (end - begin) / 1e9
        return 1.0 - self.gap_seconds(day, channel) / whole if whole else 1.0

    def _note(self, gap: OpenGap, end: int) -> None:
        begin = gap.event.ts if gap.begin_ts is None else gap.begin_ts
        spans = self._gaps[gap.event.channel]
        # Those that were open together are one.
        if end > begin and (not spans or spans[-1] != (begin, end)):
            spans.append((begin, end))


def union_ns(intervals: Iterable[Interval], begin: int, end: int) -> int:
    """The time from `begin` to `end` that lies in any of the intervals."""
    covered, at = 0, begin
    for first, last in sorted(intervals):
        first, last = max(first, at), min(last, end)
        if last > first:
            covered += last - first
            at = last
    return covered
