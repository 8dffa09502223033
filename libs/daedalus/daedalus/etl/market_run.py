"""One market on its way through a job: the task before it runs and what it did, each durable before the next step."""

from collections import Counter
from collections.abc import Callable

from msgspec.structs import replace

from daedalus.etl.checkpoint import Checkpoint
from daedalus.etl.sources import TaskSource
from daedalus.etl.task import Task, TaskDone
from daedalus_common.events import CONTROL
from daedalus_common.markets import Market
from daedalus_common.plans import HOUR_NS

Keep = Callable[[Checkpoint], None]
"""Makes a checkpoint durable."""


class MarketRun:
    """Hands out the market's tasks and takes in what they did. A task that was under way comes first, as it was."""

    def __init__(self, source: TaskSource, checkpoint: Checkpoint, keep: Keep, delete_segments: bool) -> None:
        self._source = source
        self._keep = keep
        self._deletes = delete_segments
        self.checkpoint = checkpoint
        self.counters: dict[str, int] = {}
        """The last counter that this run has given in each partition."""

    @property
    def market(self) -> Market:
        return self.checkpoint.market

    @property
    def held_back(self) -> int:
        return self._source.held_back

    def follow(self, source: TaskSource) -> None:
        """From now on tasks come from here: a source that sees what has come since."""
        self._source = source

    def next_task(self) -> Task | None:
        """The task to carry out now, durable as the pending one; None when there is nothing to do."""
        if self.checkpoint.pending is not None:
            return self.checkpoint.pending
        task = self._source.next_task(self.checkpoint)
        if task is None:
            return None
        before = self.checkpoint
        task = replace(task, owner=before.owner, first_ts=before.first_ts, after_ts=before.last_ts)
        self._save(replace(self.checkpoint, pending=task))
        return task

    def done(self, task: Task, done: TaskDone) -> tuple[str, ...]:
        """Makes durable what the task did; gives the segments to delete."""
        for part in done.parts:
            self.counters[part.folder] = max(part.counter, self.counters.get(part.folder, 0))
        checkpoint = after(self.checkpoint, task, done)
        if self._deletes and not was_cut(task, done):
            bad = {segment.key for segment in done.bad_segments}
            # What a market computes with is known from its geneses alone, in whatever run comes next.
            payloads = (keys for table, keys in task.segments.items() if table != CONTROL)
            keys = tuple(key for of_table in payloads for key in of_table if key not in bad)
            checkpoint = replace(checkpoint, deleting=keys)
        self._save(checkpoint)
        return checkpoint.deleting

    def refused(self) -> None:
        """The pending task cannot be carried out as things are, and has written nothing."""
        self._save(replace(self.checkpoint, pending=None))

    def deleted(self) -> None:
        """The segments of finished tasks are gone."""
        if self.checkpoint.deleting:
            self._save(replace(self.checkpoint, deleting=()))

    def _save(self, checkpoint: Checkpoint) -> None:
        self._keep(checkpoint)
        self.checkpoint = checkpoint


def after(before: Checkpoint, task: Task, done: TaskDone) -> Checkpoint:
    """The checkpoint once the task is done: pure."""
    cut = was_cut(task, done)
    reached = before.with_bad_segments(done.bad_segments)
    return replace(
        reached,
        number=task.number,
        place=done.place,
        # The segments of a task that ended at a limit have more to give.
        hour=done.last_ts // HOUR_NS if cut else task.last_hour if task.segments else before.hour,
        consumed=() if cut else task.last_keys,
        first_ts=before.first_ts or done.first_ts,
        last_ts=max(before.last_ts, done.last_ts),
        state=done.state,
        seqs=done.seqs,
        events=before.events + done.events,
        rows=dict(Counter(before.rows) + Counter(done.rows)),
        missing=before.missing + done.missing,
        refused_rows=before.refused_rows + done.refused_rows,
        pending=None,
    )


def was_cut(task: Task, done: TaskDone) -> bool:
    """Whether it ended at its limit, with events left."""
    return task.limit is not None and done.events >= task.limit
