"""How far the young end of Bronze is complete: pure.

The writer uploads the objects of one plan in any order, so that for a moment the sequence has holes that close again.
Plans of a market follow one another: the objects of one are durable before those of the next are begun.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EntryId = tuple[int, int]
"""(stream_ms, stream_seq)."""

_FIRST: EntryId = (0, 0)
_LAST: EntryId = (2**63, 2**63)


@dataclass(frozen=True, slots=True)
class Segment:
    """A Bronze segment by its footer. `settled`: so old that whatever belongs beside it has long arrived."""

    key: str
    series: str
    """Its table and hour: a plan has one object at most in it."""
    first_id: EntryId
    last_id: EntryId
    first_seq: int
    last_seq: int
    rows: int
    settled: bool


@dataclass(frozen=True, slots=True)
class Damaged:
    """A segment without a readable footer, between the ids of its neighbours in its series."""

    key: str
    after: EntryId
    before: EntryId


@dataclass(frozen=True, slots=True)
class _Run:
    """Segments whose ids overlap: they belong to one plan."""

    segments: tuple[Segment, ...]

    @property
    def first_id(self) -> EntryId:
        return min(segment.first_id for segment in self.segments)

    @property
    def last_id(self) -> EntryId:
        return max(segment.last_id for segment in self.segments)

    @property
    def first_seq(self) -> int:
        return min(segment.first_seq for segment in self.segments)

    @property
    def last_seq(self) -> int:
        return max(segment.last_seq for segment in self.segments)

    @property
    def is_whole(self) -> bool:
        return sum(segment.rows for segment in self.segments) == self.last_seq - self.first_seq + 1

    @property
    def is_settled(self) -> bool:
        return all(segment.settled for segment in self.segments)


def complete(segments: Iterable[Segment], damaged: Sequence[Damaged], next_seq: int) -> list[str]:
    """The keys up to the first hole that may still close; damaged ones are no such hole, and are always among them.

    `next_seq` follows the last event read before; 1 where nothing was. A run that ended at a limit has read some
    segments in part, and these begin before it.
    """
    runs = _runs(segments)
    taken = [segment.key for segment in damaged]
    expected, reached = next_seq, _FIRST
    for number, run in enumerate(runs):
        later = runs[number:]
        if run.first_seq > expected and not _is_loss(later, run, damaged, reached, run.first_id):
            break
        if not run.is_whole and not _is_loss(runs[number + 1 :], run, damaged, run.first_id, run.last_id):
            break
        taken += [segment.key for segment in run.segments]
        expected, reached = max(expected, run.last_seq + 1), run.last_id
    return taken


def _is_loss(later: Sequence[_Run], run: _Run, damaged: Iterable[Damaged], begin: EntryId, end: EntryId) -> bool:
    """Whether a hole at or before `run`, between the ids `begin` and `end`, will stay."""
    explained = any(segment.after < end and segment.before > begin for segment in damaged)
    return explained or run.is_settled or _has_two_plans(later)


def _has_two_plans(runs: Iterable[_Run]) -> bool:
    """Two objects of one series are of two plans, the earlier of which is complete, and all before it."""
    series = [segment.series for run in runs for segment in run.segments]
    return len(set(series)) < len(series)


def _runs(segments: Iterable[Segment]) -> list[_Run]:
    runs: list[list[Segment]] = []
    reached = _FIRST
    for segment in sorted(segments, key=lambda each: each.first_id):
        if runs and segment.first_id <= reached:
            runs[-1].append(segment)
        else:
            runs.append([segment])
        reached = max(reached, segment.last_id)
    return [_Run(tuple(run)) for run in runs]


def between_neighbours(series: Sequence[Segment | str]) -> list[Damaged]:
    """The damaged segments (given by key) of one series, in order, each between its nearest readable neighbours."""
    found = []
    for place, segment in enumerate(series):
        if isinstance(segment, str):
            before = [each.last_id for each in series[:place] if isinstance(each, Segment)]
            after = [each.first_id for each in series[place + 1 :] if isinstance(each, Segment)]
            found.append(Damaged(segment, before[-1] if before else _FIRST, after[0] if after else _LAST))
    return found
