"""Which parts of others a task's parts stand for, and which of them go: pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from daedalus.etl.foreign_parts import Partition, Span
from daedalus.etl.task import Task
from daedalus_common.plans import HOUR_NS


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a task has read of its run's input. Times in ns."""

    begin: int
    """The hour of the run's first event begins; rows before it are not computed."""
    last: int
    """Of the task's last event."""
    end: int
    """Of the last event that the run can read."""
    hours: tuple[int, ...]
    """In which the task has read events, ascending; the one in which the task before ended is among them."""


def stretch_of(task: Task, first_ts: int, last_ts: int, hours: Iterable[int]) -> Stretch:
    """`first_ts`, `last_ts`, `hours` are of the events that the task has read."""
    before = (task.after_ts // HOUR_NS,) if task.after_ts else ()
    is_final = bool(task.segments) and (task.last_hour + 1) * HOUR_NS > task.input_end
    begin = task.first_ts or first_ts
    # What the final task did not find will not come: its segments are damaged.
    end = last_ts if is_final else max(task.input_end, last_ts)
    return Stretch(begin // HOUR_NS * HOUR_NS, last_ts, end, tuple(sorted({*hours, *before})))


def foreign(partition: Partition, job: str) -> list[Span]:
    """The parts that another job or the live featurizer has written, or nobody knows who."""
    return [span for span in partition.spans if span.job != job]


def objection(span: Span, stretch: Stretch, *, replaces: bool) -> str | None:
    """Why a part of others, in the hours of rows that a task would write, cannot be written over."""
    if span.is_unknown:
        return "is no part of Daedalus, and lies where this run would write; move it away"
    whose = f"another run (job {span.job})" if span.job else "the live featurizer, or somebody else"
    if not replaces:
        return (
            f"holds rows of {whose}, from {_time(span.first)} to {_time(span.last)}, where this run would write too; "
            "give --replace to put its rows in their place, or choose another --output"
        )
    if span.last > stretch.end:
        return (
            f"holds rows of {whose} up to {_time(span.last)}, later than the input that was read, up to "
            f"{_time(stretch.end)}: to replace it would lose them; end the run a day earlier with --to, or read on "
            "as far as that"
        )
    if span.first < stretch.begin:
        return (
            f"holds rows of {whose} from {_time(span.first)}, before the input that was read, from "
            f"{_time(stretch.begin)}: to replace it would lose them; begin a day earlier with --from, or choose "
            "another --output"
        )
    if span.first != span.last and not span.touches(stretch.hours):
        # The bar that an hour without events begins with is computed; it alone is replaced.
        return (
            f"holds rows of {whose}, from {_time(span.first)} to {_time(span.last)}, hours that the input lacks: to "
            "replace it would lose them; move it away, or choose another --output"
        )
    return None


def reaches_past(span: Span, stretch: Stretch) -> bool:
    """Whether a later task would be refused for it: better before the first one has replaced anything."""
    return not span.is_unknown and stretch.last < stretch.end and span.first <= stretch.end < span.last


def outdated(
    partitions: Mapping[str, Partition], job: str, stretch: Stretch, written: Mapping[str, Sequence[int]]
) -> list[str]:
    """The keys of others' parts whose rows are all recomputed once this task is done, also where it gave none.

    `written` are the hours of its rows by partition. A part that holds later rows goes with a later task; one in
    hours without any input stays.
    """
    return [
        span.found.key
        for name, partition in partitions.items()
        for span in foreign(partition, job)
        if span.first >= stretch.begin and span.last <= stretch.last
        if span.touches(stretch.hours) or span.touches(written.get(name, ()))
    ]


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="seconds")
