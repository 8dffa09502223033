"""What a proxy does to what passes: the rules, and what all its connections share."""

import random
from dataclasses import dataclass, field
from enum import Enum

MAX_WAITING_BYTES = 1 << 20
"""What a pipe holds back before it stops reading: a slow network does not swallow megabytes either."""

TRICKLES_PER_SECOND = 20
"""Under a bandwidth a chunk goes in pieces of a 20th of a second, or a client would see nothing and then all."""


class Way(Enum):
    """A direction."""

    REQUEST = "to the server"
    REPLY = "to the client"


@dataclass(frozen=True, slots=True)
class Cut:
    """Of every connection so many more bytes go these ways, and then it ends: with a FIN, or with a RST."""

    ways: frozenset[Way]
    after_bytes: int
    with_reset: bool = False


@dataclass(slots=True)
class Rules:
    """What holds now, for every connection."""

    latency: float = 0.0
    jitter: float = 0.0
    bytes_per_second: int | None = None
    close_delay: float = 0.0
    drop_replies: bool = False
    silent_new: bool = False
    reset_new: bool = False
    cut: Cut | None = None


@dataclass(slots=True)
class Medium:
    """What all connections of a proxy share: the rules, the wire's time, the counts."""

    chance: random.Random
    rules: Rules = field(default_factory=Rules)
    wire_free_at: float = 0.0
    hits: int = 0
    bytes_passed: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))

    @property
    def room_bytes(self) -> int:
        """What a pipe may hold back: on a slow wire a second's worth, or the client would see no slowness."""
        rate = self.rules.bytes_per_second
        return MAX_WAITING_BYTES if rate is None else min(MAX_WAITING_BYTES, rate)

    def pieces(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """When which piece may leave."""
        rules = self.rules
        due = now
        if rules.latency:
            self.hits += 1
            due += max(0.0, rules.latency + self.chance.uniform(-rules.jitter, rules.jitter))
        if rules.bytes_per_second is None:
            return [(due, data)]
        self.hits += 1
        size = max(1, rules.bytes_per_second // TRICKLES_PER_SECOND)
        pieces = []
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.wire_free_at = max(due, self.wire_free_at) + len(piece) / rules.bytes_per_second
            pieces.append((self.wire_free_at, piece))
        return pieces
