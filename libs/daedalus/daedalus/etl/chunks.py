"""A stretch of recorded history on its way from a reader to the features."""

from dataclasses import dataclass

import msgspec

from daedalus_features import Events


class Position(msgspec.Struct, frozen=True, order=True):
    """The place of an event in its market's sequence; positions compare as their events follow each other."""

    generation: int
    stream_ms: int
    stream_seq: int
    seq: int


class BadSegment(msgspec.Struct, frozen=True):
    """A segment that cannot be read, wholly or in part: these rows are missing from the sequence."""

    key: str
    reason: str
    """What is wrong with it, for people; names the segment."""
    found: str = ""
    """Size and time of the object when it was put aside, see `quarantine`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events that follow each other in one market's sequence, and what came to light while they were read."""

    events: Events
    """With a gap event before each event that does not follow the one before it."""
    end: Position | None
    """Of the last event read, whereto a later run can go back; None where none was ever read."""
    recorded: int
    """How many of the events were recorded: all but those gaps."""
    missing: int = 0
    """How many events the sequence lacks, by the holes in `seq`."""
    doubled: int = 0
    """Rows left out because an earlier segment had them too."""
    bad: tuple[BadSegment, ...] = ()
