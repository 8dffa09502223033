"""When a step is due and how many of the waiting entries it takes: pure."""

from collections.abc import Sequence

NO_STEP = 0


def entries_to_step(
    waiting: Sequence[int],
    interval: int | None,
    emit_interval_ns: int,
    *,
    max_entries: int,
    max_rows: int,
    overdue: bool,
) -> int:
    """How many waiting entries to process and commit now; 0 = wait for more.

    `waiting` are their `ts`, never decreasing; `interval` is the grid interval of the last entry processed before them
    (None before the first). Each entry that opens a later interval may make one row due. A step is taken when a row is
    due, when `max_entries` wait, or when the oldest has waited long enough (`overdue`); it ends before the row that
    would be one too many. Only rows of the grid count, which take 1.5 KB: the others follow from `max_entries`, a trade
    gives its own row and rarely closes a bar (500 trades that close one of each kind are 3,500 rows, 0.4 MB, 70 ms).
    """
    if not waiting:
        return NO_STEP
    first = waiting[0] // emit_interval_ns if interval is None else interval
    row_is_due = waiting[-1] // emit_interval_ns > first
    if not (row_is_due or overdue or len(waiting) >= max_entries):
        return NO_STEP
    return _within_rows(waiting[:max_entries], first, emit_interval_ns, max_rows)


def _within_rows(waiting: Sequence[int], interval: int, emit_interval_ns: int, max_rows: int) -> int:
    rows = 0
    for count, ts in enumerate(waiting):
        if ts // emit_interval_ns > interval:
            rows += 1
            if rows > max_rows:
                return count
            interval = ts // emit_interval_ns
    return len(waiting)
