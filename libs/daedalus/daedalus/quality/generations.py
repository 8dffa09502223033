"""What is known of one generation's numbers while a market's hours are read: its ends, and what is missing in it."""

from dataclasses import dataclass, field

import numpy as np

from daedalus.quality.numbers import Spans


@dataclass(slots=True)
class Missing:
    """Numbers of one generation that are in no row of an hour, and the objects with the rows around them."""

    generation: int
    hour: int
    open: Spans
    before: str
    behind: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Generation:
    """From its first number to its last one that is in a row."""

    first: int
    last: int
    last_key: str
    last_begins: int
    """The first number in the object that holds the last one."""
    since: int
    """The generation that its numbers go on from; its own name where they begin."""
    control_begins: int = 0
    """The first number in its newest object of control events."""
    has_lost_tail: bool = False
    """Redis has lost numbers of it that are stored."""
    gone: list[Missing] = field(default_factory=list)

    def unfinished(self) -> int:
        """From which number on a run may be stored in part: all before the newest run was durable when that began."""
        begin = self.last_begins
        for missing in reversed(self.gone):
            for first, last in reversed(missing.open.pairs()):
                if last == begin - 1:
                    begin = first
        return begin

    def may_lack_gap_row(self, seq: int) -> bool:
        """A run stored in part whose plan Redis has lost: its rows of quality/gaps are the last to be stored."""
        return self.has_lost_tail and seq >= self.control_begins


def declared_loss(before: Spans, seq: int, lost: int) -> Spans:
    """Of the numbers missing before a gap event, which has the number `seq`, those that it stands for."""
    if len(before) and before.last[-1] == seq - 1:
        return before.within(seq - lost, seq)
    # Before there were quality tables the gap event came some events later.
    at = np.flatnonzero(before.sizes == lost)[-1:]
    return Spans(before.first[at], before.last[at])
