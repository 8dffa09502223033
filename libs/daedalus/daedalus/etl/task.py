"""The unit of work: a piece of one market's history, what a worker needs beside it, and what came of it.

All of it is plain data: a task is written into the checkpoint before it runs, and goes to other processes and machines.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from daedalus.etl.chunks import BadSegment
from daedalus.etl.ndjson_files import LineFile
from daedalus_common.markets import Market
from daedalus_common.stores import StoreSettings

Parameters = Literal["recorded", "config"]


class StoredState(msgspec.Struct, frozen=True):
    """A market's feature state as bytes: `daedalus_features.dump` and the records of recent rows, float64."""

    hot: bytes
    history: bytes


class Origin(msgspec.Struct, frozen=True):
    """Where a market's features start from when there is no state yet: the parameters as canonical JSON."""

    genesis_id: str
    params_json: bytes


class Task(msgspec.Struct, frozen=True):
    """Events of one market to turn into parts. Carried out twice it gives the same rows under the same names.

    `segments` are Bronze keys by table, `files` NDJSON files; one of them is empty. `place` is where in them the rows
    begin: the encoded position of the last event read before, empty for none.
    """

    owner: str
    """The job and the attempt at it; in the footers of the parts."""
    number: int
    """Counted per market and owner, from 1."""
    market: Market
    day: str
    """The UTC day in ISO form; empty where only reading tells."""
    segments: dict[str, tuple[str, ...]] = {}
    files: tuple[LineFile, ...] = ()
    """As they were when the task was planned: it reads no more of them."""
    line_bytes: int = 0
    """About so many bytes the market's lines of an NDJSON task take."""
    place: bytes = b""
    limit: int | None = None
    """At most so many events."""
    sizes: dict[str, int] = {}
    """Bytes of the segments by key."""
    last_hour: int = 0
    """Of Bronze tasks, counted from the epoch."""
    last_keys: tuple[str, ...] = ()
    """The segments of that hour that are read once this task is done, by it or before."""
    seqs: dict[str, int] = {}
    """Rows that the market's tables have so far, by table."""
    first_ts: int = 0
    """ns of the first event that the tasks before have read; 0 where there are none."""
    after_ts: int = 0
    """ns of the last one of these."""
    input_end: int = 0
    """ns of the last event that the run can read; 0: not known, it may end with this task."""
    origin: Origin | None = None
    """For a start without a state; None: nothing before the first recorded genesis."""

    @property
    def size_bytes(self) -> int:
        return self.line_bytes + sum(self.sizes.values())


class Part(msgspec.Struct, frozen=True):
    """An object that is durable; `folder` is its table and partition."""

    folder: str
    counter: int
    key: str
    table: str
    rows: int
    size_bytes: int
    created: bool
    """False where an earlier attempt had created it."""


class TaskDone(msgspec.Struct, frozen=True):
    """What a task did; `place` and `state` are where the next one begins."""

    place: bytes
    state: StoredState | None
    last_ts: int
    """ns of the last event; 0 where there was none."""
    first_ts: int = 0
    events: int = 0
    rows: dict[str, int] = {}
    """Rows written by table, such as `silver/orderbook`."""
    seqs: dict[str, int] = {}
    """As in the task, after it."""
    parts: tuple[Part, ...] = ()
    replaced: tuple[str, ...] = ()
    """Keys of others' parts that were covered and deleted."""
    missing: int = 0
    doubled: int = 0
    refused_rows: int = 0
    """With a value that its column cannot hold."""
    before_genesis: int = 0
    invalid: dict[str, int] = {}
    bad_segments: tuple[BadSegment, ...] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """What every task of a job needs. Holds secrets: it is sent to workers and never written down."""

    source: StoreSettings | None
    """Where Bronze is; None for NDJSON."""
    output: StoreSettings
    codec: str
    level: int | None
    tables: frozenset[str]
    """Which tables' rows are written."""
    channels: tuple[str, ...]
    payloads: frozenset[str]
    parameters: Parameters
    replace: bool
    extensions: bool = True
    """Whether users' transforms are to be loaded where the task runs."""
