"""What is merged into what, and what is deleted: pure, of a listing, the footers and the time.

members of a partition, in the order of their rows -> units (an hour of Bronze, a day elsewhere) -> runs to merge
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, groupby

from daedalus_common.parquet.covers import Covers, name_of
from daedalus_common.stores import ObjectInfo
from daedalus_compactor.footers import Facts

QUIET = timedelta(minutes=10)
"""A writer that works off a backlog adds to partitions that ended long ago: so long nothing may have come."""


@dataclass(frozen=True, slots=True)
class Rules:
    """As configured, section `compactor`."""

    closed_after: timedelta
    grace: timedelta
    min_objects: int
    target_size_bytes: int


@dataclass(frozen=True, slots=True)
class Member:
    """An object that counts; `facts` is None for one that cannot be merged: damaged, or of a newer version."""

    info: ObjectInfo
    facts: Facts | None


@dataclass(frozen=True, slots=True)
class Run:
    """Objects, neighbours in the order of their rows, that become one."""

    members: tuple[Member, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(member.info.key for member in self.members)

    @property
    def facts(self) -> list[Facts]:
        return [member.facts for member in self.members if member.facts is not None]


@dataclass(frozen=True, slots=True)
class Due:
    """A unit that waits: since when, and its runs."""

    since: datetime
    runs: tuple[Run, ...]

    @property
    def objects(self) -> int:
        return sum(len(run.members) for run in self.runs)


def is_foreign(members: Iterable[Member]) -> bool:
    """Whether a partition holds rows that the writer did not write: those of `daedalus etl` are left as they are, and
    so is what lies beside them, for a run may be replacing it."""
    return any(member.facts is not None and not member.facts.is_live for member in members)


def closed_at(info: ObjectInfo, rules: Rules) -> datetime | None:
    """When the hour or day in an object's name is closed; None for a name that is not ours."""
    name = name_of(info.key)
    try:
        return None if name is None else name.end + rules.closed_after
    except ValueError:
        return None


def units(infos: Iterable[ObjectInfo], rules: Rules) -> list[tuple[datetime | None, list[ObjectInfo]]]:
    """Of the objects that count of one folder, in their order: the pieces of one hour (Bronze) or one day, each with
    the time when it is closed. A merged object never holds more."""
    return [(at, list(of_unit)) for at, of_unit in groupby(infos, key=lambda info: closed_at(info, rules))]


def is_ready(closed: datetime | None, infos: Sequence[ObjectInfo], rules: Rules, now: datetime) -> bool:
    """Whether a unit may be merged by its listing alone; footers need not be read where it may not."""
    return closed is not None and len(infos) >= rules.min_objects and _due_at(closed, infos) <= now


def due(closed: datetime, members: Sequence[Member], rules: Rules) -> Due | None:
    """The runs of a ready unit; None where nothing is to be merged."""
    runs = tuple(runs_of(members, rules))
    return Due(_due_at(closed, [member.info for member in members]), runs) if runs else None


def runs_of(members: Sequence[Member], rules: Rules) -> list[Run]:
    """Neighbours of one kind, as many as the target size allows; fewer than the least number stay as they are."""
    runs: list[list[Member]] = []
    size_bytes = 0
    for member in members:
        before = runs[-1][-1] if runs else None
        fits = size_bytes + member.info.size_bytes <= rules.target_size_bytes
        if before is not None and fits and _follows(before, member):
            runs[-1].append(member)
            size_bytes += member.info.size_bytes
        else:
            runs.append([member])
            size_bytes = member.info.size_bytes
    return [Run(tuple(run)) for run in runs if len(run) >= rules.min_objects and run[0].facts is not None]


def next_counter(infos: Iterable[ObjectInfo], covers: Mapping[str, Covers], stamp: str) -> int:
    """The first counter of a stamp that nothing has and nothing had."""
    names = (name_of(info.key) for info in infos)
    taken = [name.counter for name in names if name is not None and name.stamp == stamp]
    return 1 + max([*taken, *(of_key.last_counter(stamp) for of_key in covers.values())], default=0)


def deletable(
    covered: Iterable[ObjectInfo],
    merged: Mapping[str, tuple[ObjectInfo, Covers]],
    verified: Collection[str],
    rules: Rules,
    now: datetime,
) -> list[ObjectInfo]:
    """The covered objects that may go: a merged one that was verified stands for them, and its grace has passed."""
    ready = [covers for key, (info, covers) in merged.items() if key in verified and info.modified + rules.grace <= now]
    return [info for info in covered if any(info.key in covers for covers in ready)]


def rivals(merged: Mapping[str, Covers], foreign: Mapping[str, Covers]) -> list[tuple[str, str]]:
    """Pairs of objects that stand for the same rows, the one that should go last: that of which the other one has all.

    So it is when two compactors were at work, or `daedalus etl` has replaced what was being merged.
    """
    found = []
    for key, covers in sorted(merged.items()):
        found += [(other, key) for other, its in foreign.items() if its.overlaps(covers)][:1]
    for (one, first), (two, second) in combinations(sorted(merged.items()), 2):
        if first.overlaps(second):
            is_part = second.includes(first) and not first.includes(second)
            found.append((two, one) if is_part else (one, two))
    return found


def _due_at(closed: datetime, infos: Sequence[ObjectInfo]) -> datetime:
    return max(closed, max(info.modified for info in infos) + QUIET)


def _follows(before: Member, member: Member) -> bool:
    """Whether the rows of both can be in one object, in their order."""
    one, two = before.facts, member.facts
    if one is None or two is None or one.kind != two.kind or one.last_entry >= two.first_entry:
        return False
    # In a new generation numbers may come again.
    return one.layer != "bronze" or one.last_seq < two.first_seq
