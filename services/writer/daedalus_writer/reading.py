"""How much to read of a stream, and when: pure decisions.

A quiet stream is asked seldom and a busy one often, so that a reply has about the same number of entries: each XRANGE
costs this process 100 to 150 us whatever it brings, and a writer of ten markets watches thirty streams.
"""

from datetime import timedelta

REPLY_SIZE_BYTES = 8 * 1024 * 1024
"""At most, so that one reply neither blocks the server (8 MB: 3 ms) nor fills the memory."""

MAX_COUNT = 2000
WANTED_ENTRIES = 200
FIRST_GUESS_BYTES = 16 * 1024


def entries_to_ask(entry_bytes: int, room_bytes: int) -> int:
    """The COUNT for a stream whose entries took `entry_bytes` lately; 0 where there is no room for any."""
    return min(MAX_COUNT, max(0, min(REPLY_SIZE_BYTES, room_bytes)) // max(1, entry_bytes))


def learned_size(guess_bytes: int, found: int, size_bytes: int) -> int:
    """What to expect of the next entries after a reply of `found` entries and `size_bytes`.

    Up at once, for memory is at stake; down by and by, for a few small entries say little about the next.
    """
    mean = size_bytes // found
    if mean >= guess_bytes:
        return mean
    return guess_bytes - (guess_bytes - mean) * max(found, 20) // (max(found, 20) + 180)


def next_wait(wait: timedelta, asked: int, found: int, shortest: timedelta, longest: timedelta) -> timedelta:
    """The pause before the next read, after the last one led to `found` entries of `asked`; none after a full reply."""
    if found >= asked:
        return timedelta(0)
    factor = min(2.0, max(0.5, WANTED_ENTRIES / max(1, found)))
    return min(longest, max(shortest, wait * factor))
