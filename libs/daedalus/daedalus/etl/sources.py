"""Where tasks come from: each source cuts a market's events into the next tasks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus.etl.checkpoint import Checkpoint
from daedalus.etl.chunks import Position
from daedalus.etl.computing import restored
from daedalus.etl.filters import FilterSpec
from daedalus.etl.input_end import input_end
from daedalus.etl.ndjson import NdjsonPosition, NdjsonScan, check_unchanged
from daedalus.etl.origins import CONFIGURED, Geneses, configured_origin
from daedalus.etl.planning import TASK_BYTES, Hour, Piece, pieces
from daedalus.etl.problems import UsageError
from daedalus.etl.task import Origin, Parameters, Task
from daedalus.etl.young_hours import SETTLED_AFTER, ReadableHours
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectStore
from daedalus_features import FeatureConfig, SchemaError

NDJSON_TASK_EVENTS = 250_000
"""Half a minute of work, which a crash or a stop loses at most."""

ParamsOf = Callable[[Market], FeatureConfig]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events, and how they are cut."""

    filters: FilterSpec
    limit: int | None
    """At most so many events of each market, counted from its beginning."""
    parameters: Parameters
    whole_days: bool
    """Where others' parts are replaced, which hold up to a day."""


class TaskSource(Protocol):
    """The tasks of one market, one after the other."""

    held_back: int
    """Segments that are there but may not be read before others arrive."""

    def check(self, checkpoint: Checkpoint) -> None:
        """Raises UsageError where what there is now does not go on from what the checkpoint has reached."""
        ...

    def next_task(self, checkpoint: Checkpoint) -> Task | None:
        """The one that follows what the checkpoint has reached; None when there is nothing more for now."""
        ...


class BronzeTasks:
    """Tasks over Bronze. Lists a day at a time and goes on from there; a new one sees what has come since.

    A `patient` one leaves a market that nobody has recorded a genesis for alone until it is settled that none comes.
    """

    def __init__(
        self, store: ObjectStore, wanted: Wanted, params_of: ParamsOf, market: Market, now: datetime, patient: bool
    ) -> None:
        self.held_back = 0
        self._store = store
        self._catalog = BronzeCatalog(store)
        self._geneses = Geneses(store, self._catalog)
        self._readable = ReadableHours(store, now)
        self._wanted = wanted
        self._params_of = params_of
        self._market = market
        self._now = now
        self._patient = patient
        self._pieces: Iterator[Piece] | None = None
        self._end: int | None = None

    def check(self, checkpoint: Checkpoint) -> None:
        began = _genesis_of(checkpoint)
        now = configured_origin(self._params_of(self._market)).genesis_id
        if began is not None and began.startswith(CONFIGURED) and began != now:
            raise UsageError(
                f"{self._market.name}: nobody has recorded its parameters, and the configuration's are others now "
                f"({now.removeprefix(CONFIGURED)}) than those its rows began with ({began.removeprefix(CONFIGURED)}); "
                "give --restart (with --replace) to compute it anew, or configure those again"
            )

    def next_task(self, checkpoint: Checkpoint) -> Task | None:
        left = _left(self._wanted.limit, checkpoint)
        if left == 0:
            return None
        if self._pieces is None:
            self._pieces = self.pieces(checkpoint)
        piece = next(self._pieces, None)
        if piece is None:
            return None
        origin = None if checkpoint.state else self._origin()
        if origin is not None and self._awaits_genesis(piece, origin):
            self.held_back += len(piece.sizes)
            return None
        before = checkpoint.consumed if checkpoint.hour == piece.last_hour else ()
        return Task(
            owner="",
            number=checkpoint.number + 1,
            market=self._market,
            day=piece.day.isoformat(),
            segments=piece.segments,
            sizes=piece.sizes,
            place=checkpoint.place,
            limit=left,
            last_hour=piece.last_hour,
            last_keys=tuple(sorted({*before, *piece.last_keys})),
            seqs=checkpoint.seqs,
            input_end=self._input_end(),
            origin=origin,
        )

    def pieces(self, checkpoint: Checkpoint) -> Iterator[Piece]:
        """What follows the checkpoint, piece by piece."""
        return pieces(self._hours(checkpoint), None if self._wanted.whole_days else TASK_BYTES)

    def _input_end(self) -> int:
        """For replacing alone. At a limit of events the run ends somewhere else."""
        if not self._wanted.whole_days or self._wanted.limit is not None:
            return 0
        if self._end is None:
            self._end = input_end(self._store, self._market, self._wanted.filters, self._now - SETTLED_AFTER)
        return self._end

    def _hours(self, checkpoint: Checkpoint) -> Iterator[Hour]:
        after = None if checkpoint.hour is None else checkpoint.hour - 1
        consumed = {} if checkpoint.hour is None else {checkpoint.hour: frozenset(checkpoint.consumed)}
        next_seq = msgspec.msgpack.decode(checkpoint.place, type=Position).seq + 1 if checkpoint.place else 1
        partitions = self._catalog.hours(self._market, self._wanted.filters, after)
        for hour in self._readable.readable(partitions, consumed, next_seq):
            self.held_back = hour.held_back
            yield hour

    def _origin(self) -> Origin | None:
        if self._wanted.parameters == "config":
            return configured_origin(self._params_of(self._market))
        begin = self._wanted.filters.begin
        if begin is not None:
            recorded = self._geneses.last_before(self._market, begin)
            if recorded is not None:
                return recorded
        if self._geneses.any_from(self._market, begin):
            return None
        return configured_origin(self._params_of(self._market))

    def _awaits_genesis(self, piece: Piece, origin: Origin) -> bool:
        """Whether the market is so new that its first genesis may be on its way into Bronze."""
        is_recorded = self._wanted.parameters == "recorded" and origin.genesis_id.startswith(CONFIGURED)
        return self._patient and is_recorded and piece.oldest >= self._now - SETTLED_AFTER


class NdjsonTasks:
    """Tasks over NDJSON files as a scan has found them, by number of events."""

    def __init__(self, scan: NdjsonScan, wanted: Wanted, params_of: ParamsOf, market: Market) -> None:
        self.held_back = 0
        self._scan = scan
        self._wanted = wanted
        self._params_of = params_of
        self._market = market
        self._planned_at: int | None = None

    def check(self, checkpoint: Checkpoint) -> None:
        if checkpoint.place:
            read = msgspec.msgpack.decode(checkpoint.place, type=NdjsonPosition).files
            check_unchanged(read, self._scan.files)

    def next_task(self, checkpoint: Checkpoint) -> Task | None:
        sums = self._scan.sums[self._market]
        left = sums.events - checkpoint.events
        limited = _left(self._wanted.limit, checkpoint)
        count = min(left, NDJSON_TASK_EVENTS, left if limited is None else limited)
        if count <= 0 or checkpoint.events == self._planned_at:
            return None
        self.check(checkpoint)
        self._planned_at = checkpoint.events
        return Task(
            owner="",
            number=checkpoint.number + 1,
            market=self._market,
            day="",
            files=self._scan.files,
            line_bytes=sums.bytes_of(checkpoint.events + count) - sums.bytes_of(checkpoint.events),
            place=checkpoint.place,
            limit=count,
            seqs=checkpoint.seqs,
            input_end=sums.last_ts if self._wanted.limit is None else 0,
            origin=None if checkpoint.state else configured_origin(self._params_of(self._market)),
        )


def _genesis_of(checkpoint: Checkpoint) -> str | None:
    """The id of the genesis its features began with; None without a state, or of one that carrying it on refuses."""
    try:
        return None if checkpoint.state is None else restored(checkpoint.state).genesis_id
    except SchemaError:
        return None


def _left(limit: int | None, checkpoint: Checkpoint) -> int | None:
    return None if limit is None else max(0, limit - checkpoint.events)
