"""Where tasks come from: each source cuts a market's events into the next tasks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from daedalus.etl.bronze_catalog import BronzeCatalog
from daedalus.etl.checkpoint import Checkpoint
from daedalus.etl.chunks import Position
from daedalus.etl.filters import FilterSpec
from daedalus.etl.ndjson import NdjsonInput
from daedalus.etl.origins import CONFIGURED, Geneses, configured_origin
from daedalus.etl.planning import TASK_BYTES, Hour, Piece, pieces
from daedalus.etl.task import Origin, Parameters, Task
from daedalus.etl.young_hours import SETTLED_AFTER, ReadableHours
from daedalus_common.markets import Market
from daedalus_common.stores import ObjectStore
from daedalus_features import FeatureConfig

NDJSON_TASK_EVENTS = 1_000_000

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
        self._catalog = BronzeCatalog(store)
        self._geneses = Geneses(store, self._catalog)
        self._readable = ReadableHours(store, now)
        self._wanted = wanted
        self._params_of = params_of
        self._market = market
        self._now = now
        self._patient = patient
        self._pieces: Iterator[Piece] | None = None

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
            origin=origin,
        )

    def pieces(self, checkpoint: Checkpoint) -> Iterator[Piece]:
        """What follows the checkpoint, piece by piece."""
        return pieces(self._hours(checkpoint), None if self._wanted.whole_days else TASK_BYTES)

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
    """Tasks over NDJSON files, by number of events."""

    def __init__(self, input_: NdjsonInput, wanted: Wanted, params_of: ParamsOf, market: Market) -> None:
        self.held_back = 0
        self._files = tuple(str(path) for path in input_.files)
        self._wanted = wanted
        self._params_of = params_of
        self._market = market
        self._before: Checkpoint | None = None

    def next_task(self, checkpoint: Checkpoint) -> Task | None:
        left = _left(self._wanted.limit, checkpoint)
        most = NDJSON_TASK_EVENTS if not self._wanted.whole_days else None
        if left == 0 or self._is_at_end(checkpoint, most):
            return None
        self._before = checkpoint
        chosen = [each for each in (left, most) if each is not None]
        return Task(
            owner="",
            number=checkpoint.number + 1,
            market=self._market,
            day="",
            files=self._files,
            place=checkpoint.place,
            limit=min(chosen, default=None),
            seqs=checkpoint.seqs,
            origin=None if checkpoint.state else configured_origin(self._params_of(self._market)),
        )

    def _is_at_end(self, checkpoint: Checkpoint, most: int | None) -> bool:
        """The task before came to the end of the files."""
        if self._before is None:
            return False
        return most is None or checkpoint.events - self._before.events < most


def _left(limit: int | None, checkpoint: Checkpoint) -> int | None:
    return None if limit is None else max(0, limit - checkpoint.events)
