"""What one stream of an owned market has brought since its last flush."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from daedalus_common.batches import RawEntry
from daedalus_common.broker.keys import LATE, RAW
from daedalus_common.leases import Lease
from daedalus_common.plans import HOUR_NS
from daedalus_writer.flush import Limits, Look
from daedalus_writer.gathering import Gathering
from daedalus_writer.reading import FIRST_GUESS_BYTES, entries_to_ask, learned_size, next_wait

ENTRY_MEMORY_BYTES = 512
"""What an entry takes besides its payload: a tuple, a dict of four fields, their values, all Python objects."""

Name = tuple[str, str]
"""(market, stream)"""


@dataclass(slots=True)
class Run:
    """Consecutive entries, the first of them perhaps gathered already, and what their size is."""

    replies: list[list[RawEntry]] = field(default_factory=list)
    """Entries that nobody has begun to gather."""
    gathering: Gathering | None = None
    decoding: asyncio.Task[None] | None = None
    encoding: asyncio.Task[None] | None = None
    entries: int = 0
    size_bytes: int = 0
    raw_memory_bytes: int = 0
    """What the entries take that are not gathered yet, or not to the end."""
    gathered_bytes: int = 0
    since: float = 0.0
    first_id: str = ""
    last_id: str = ""
    hours: set[int] = field(default_factory=set)

    @property
    def memory_bytes(self) -> int:
        return self.raw_memory_bytes + self.gathered_bytes

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return [task for task in (self.decoding, self.encoding) if task is not None]

    def add(self, stream: str, reply: list[RawEntry], now: float) -> None:
        if not self.entries:
            self.since = now
            self.first_id = reply[0][0].decode()
        self.last_id = reply[-1][0].decode()
        self.replies.append(reply)
        size_bytes = sum(_payload_bytes(fields) for _, fields in reply)
        self.entries += len(reply)
        self.size_bytes += size_bytes
        self.raw_memory_bytes += size_bytes + len(reply) * ENTRY_MEMORY_BYTES
        # Times never go back within a stream, so the ends tell whether an hour has passed.
        ends = (_time_ns(stream, fields) for fields in (reply[0][1], reply[-1][1]))
        self.hours |= {ns // HOUR_NS for ns in ends if ns is not None}


@dataclass(slots=True)
class Intake:
    """One stream under one lease; `cursor` is what is committed, `position` how far the run has been read."""

    lease: Lease
    stream: str
    cursor: str
    position: str
    poll: timedelta
    """The shortest pause between reads, and `idle` the longest."""
    idle: timedelta
    run: Run = field(default_factory=Run)
    wait: timedelta = timedelta(0)
    read_at: float = 0.0
    entry_bytes: int = FIRST_GUESS_BYTES
    drained: bool = False
    """The last read came to the end of the stream."""

    @property
    def name(self) -> Name:
        return self.lease.market.name, self.stream

    def accept(self, asked: int, reply: list[RawEntry], now: float) -> None:
        """Takes a reply to a read of `asked` entries after `position`."""
        self.drained = len(reply) < asked
        self.wait = next_wait(self.wait, asked, len(reply), self.poll, self.idle)
        self.read_at = now + self.wait.total_seconds()
        if reply:
            before = self.run.raw_memory_bytes
            self.run.add(self.stream, reply, now)
            self.entry_bytes = learned_size(self.entry_bytes, len(reply), self.run.raw_memory_bytes - before)
            self.position = self.run.last_id

    def entries_to_ask(self, room_bytes: int, limits: Limits) -> int:
        """The COUNT of the next read: what memory has room for, and no more than the run may still take."""
        left = min(limits.rows - self.run.entries, (limits.size_bytes - self.run.size_bytes) // self.entry_bytes)
        return min(entries_to_ask(self.entry_bytes, room_bytes), max(1, left))

    def is_full(self, limits: Limits) -> bool:
        """The run is as long as one may be; it waits for the one before it to be written."""
        return self.run.size_bytes >= limits.size_bytes or self.run.entries >= limits.rows

    def take(self) -> Run:
        """The run so far; the next one begins empty."""
        run, self.run = self.run, Run()
        return run

    def look(self, now: float, *, writing: bool, last: bool = False) -> Look[Name]:
        run = self.run
        return Look(
            name=self.name,
            entries=run.entries,
            size_bytes=run.size_bytes,
            memory_bytes=run.memory_bytes,
            age=timedelta(seconds=now - run.since),
            crosses_hour=len(run.hours) > 1,
            writing=writing,
            last=last,
        )


def _payload_bytes(fields: Mapping[bytes, bytes]) -> int:
    payload = fields.get(b"e") or fields.get(b"p")
    return len(payload) if payload else sum(map(len, fields.values()))


def _time_ns(stream: str, fields: Mapping[bytes, bytes]) -> int | None:
    """The instant that decides about the hour; None where the entry is none of ours."""
    if stream == RAW:
        text = fields.get(b"t", b"")
        return int(text) if text.isdigit() and len(text) < 20 else None
    if stream == LATE:
        return None  # its hours come in no order
    payload = fields.get(b"p", b"")
    return int.from_bytes(payload[8:16], "little") if len(payload) >= 16 else None
