"""The emission grid: which valid books belong to which row, and which rows are due."""

from dataclasses import dataclass

import numpy as np

from daedalus_features.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class OpenInterval:
    """The interval of the last valid book, as far as it has been read; `interval` is -1 before the first book.

    `pending` says that its row is not emitted yet; only then do the others hold anything: `gap` that a gap lies
    before its last book, `sums` (f,) the sums over its books. `gap_since` says that a gap follows the last book.
    """

    interval: int
    pending: bool
    gap: bool
    gap_since: bool
    sums: FloatArray


@dataclass(frozen=True, slots=True)
class BookGroups:
    """The r intervals of valid books that are due as rows, and the one after them that stays open.

    `sampled` (r,) is the place of each one's last book, counted with the book before the first in front;
    `sums` (f, r) are the sums over its books, `gap` (r,) whether a gap lies before the last of them.
    """

    interval: IntArray
    sampled: IntArray
    gap: BoolArray
    sums: FloatArray
    open: OpenInterval


def gaps_before(gaps: IntArray, position: IntArray, before: OpenInterval) -> IntArray:
    """How many gap events lie between the last book and each next one; (n + 1,), the last book itself in front."""
    count = np.zeros(len(position) + 1, np.int64)
    if len(gaps) or before.gap_since:
        count[1:] = gaps.searchsorted(position)
        count[1:] += before.gap_since
    return count


def group_books(
    interval: IntArray, series: FloatArray, gap_count: IntArray, gaps: int, now: int, before: OpenInterval
) -> BookGroups:
    """Groups of books by interval; `now` is the interval of the last event, of whatever kind.

    `interval` (n + 1,) is that of each book and `series` (f, n + 1) is summed over each group: both, like
    `gap_count` (see `gaps_before`), with the open interval in front. `gaps` is the number of gap events read.
    """
    last = len(interval) - 1
    ends = (interval[1:] != interval[:-1]).nonzero()[0]
    if before.pending:
        starts = np.concatenate(((0,), ends + 1))
        sampled = np.concatenate((ends, (last,)))
    else:
        starts = ends + 1
        sampled = np.concatenate((ends[1:], (last,)))[: len(starts)]
    gap_since = gaps + before.gap_since > int(gap_count[last])
    if not len(starts):
        none = np.zeros(0, np.bool_)
        closed = OpenInterval(before.interval, False, False, gap_since, np.zeros(len(series)))
        return BookGroups(starts, sampled, none, np.zeros((len(series), 0)), closed)
    sums = np.add.reduceat(series, starts, axis=1)
    counted = gap_count[sampled]
    gap = counted > np.concatenate(((0,), counted[:-1]))
    gap[0] |= before.gap
    intervals = interval[sampled]
    newest = int(intervals[-1])
    if newest < now:
        closed = OpenInterval(newest, False, False, gap_since, np.zeros(len(series)))
        return BookGroups(intervals, sampled, gap, sums, closed)
    still_open = OpenInterval(newest, True, bool(gap[-1]), gap_since, sums[:, -1].copy())
    return BookGroups(intervals[:-1], sampled[:-1], gap[:-1], sums[:, :-1], still_open)
