"""One owned market: its state, the entries that wait, and the step they make.

resume -> (accept entries -> due -> step -> commit) ... ; nothing here talks to Redis
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daedalus_common.batches import RawEntry, decode_batch
from daedalus_common.broker.steps import Row, Step
from daedalus_common.leases import Lease
from daedalus_common.rows import RowSchema, pack_rows
from daedalus_features import FeatureConfig, MarketState, advance, dump
from daedalus_featurizer.decoding import events_of
from daedalus_featurizer.row_schemas import row_schema
from daedalus_featurizer.stepping import entries_to_step


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step to commit, with what it did; `state` becomes the work's state once it is committed."""

    step: Step
    state: MarketState | None
    events: int
    last_ts: int | None
    foreign: int
    before_genesis: int
    invalid: dict[str, int]
    rows: dict[str, int]
    """Rows by layer."""


class MarketWork:
    """The featurizer's work on one market under one lease."""

    def __init__(
        self,
        lease: Lease,
        params: FeatureConfig,
        cursor: str,
        state: MarketState | None,
        server: str = "",
        genesis: str = "",
    ) -> None:
        """`server` and `genesis`: what cursor and state were read under; steps are refused under any other."""
        self.lease = lease
        self._server = server
        self._genesis = genesis
        self.cursor = cursor
        self.state = state
        self.at_end = False
        """The last read came to the end of the stream."""
        self._params = params
        self._entries: list[RawEntry] = []
        self._ts: list[int] = []
        self._last_ts: int | None = None
        self._waiting_since: float | None = None

    @property
    def read_after(self) -> str:
        """The id after which to read on."""
        return self._entries[-1][0].decode() if self._entries else self.cursor

    @property
    def waiting(self) -> int:
        return len(self._entries)

    def accept(self, entries: list[RawEntry], now: float) -> None:
        """Takes entries that follow the waiting ones; `now` is any monotonic time in seconds."""
        if not entries:
            return
        if self._waiting_since is None:
            self._waiting_since = now
        last = self._ts[-1] if self._ts else (self._last_ts or 0)
        for entry in entries:
            last = _ts_of(entry, last)
            self._ts.append(last)
        self._entries += entries

    def due(self, now: float, *, commit_after: float, max_entries: int, max_rows: int) -> int:
        """How many of the waiting entries to step now; 0 = wait. `commit_after` is in seconds."""
        grid = (self.state.params if self.state else self._params).emit_interval_ns
        return entries_to_step(
            self._ts,
            None if self._last_ts is None else self._last_ts // grid,
            grid,
            max_entries=max_entries,
            max_rows=max_rows,
            overdue=self._waiting_since is not None and now - self._waiting_since >= commit_after,
        )

    def step(self, count: int) -> StepTaken:
        """The step over the first `count` waiting entries, computed but not applied."""
        batch = decode_batch(self._entries[:count])
        advanced = advance(self.state, events_of(batch))
        rows: list[Row] = []
        by_layer: dict[str, int] = {}
        for table_rows in advanced.rows:
            schema = row_schema(table_rows.table)
            rows += _packed(schema, table_rows.timestamp, table_rows.values)
            by_layer[schema.layer] = by_layer.get(schema.layer, 0) + len(table_rows.timestamp)
        step = Step(
            from_id=self.cursor,
            to_id=self._entries[count - 1][0].decode(),
            entries=count,
            hot=b"" if advanced.state is None else dump(advanced.state),
            history=[np.ascontiguousarray(row).tobytes() for row in advanced.history],
            keep_history=0 if advanced.state is None else len(advanced.state.history),
            rows=rows,
            server=self._server,
            genesis=self._genesis,
        )
        return StepTaken(
            step=step,
            state=advanced.state,
            events=len(batch),
            last_ts=int(batch.ts[-1]) if len(batch) else None,
            foreign=len(batch.foreign),
            before_genesis=advanced.before_genesis,
            invalid=dict(advanced.invalid),
            rows=by_layer,
        )

    def committed(self, taken: StepTaken, now: float) -> None:
        """The step is durable: the entries it took are done with."""
        del self._entries[: taken.step.entries]
        self._last_ts = self._ts[taken.step.entries - 1]
        del self._ts[: taken.step.entries]
        self.cursor = taken.step.to_id
        self.state = taken.state
        self._waiting_since = now if self._entries else None


def _packed(schema: RowSchema, timestamp: NDArray[np.int64], values: NDArray[np.float64]) -> list[Row]:
    return [Row(schema.layer, schema.table, payload) for payload in pack_rows(schema, timestamp, values)]


def _ts_of(entry: RawEntry, last: int) -> int:
    """The entry's time; that of the entry before it where it is none of ours."""
    try:
        return max(last, int(entry[1][b"t"]))
    except (KeyError, ValueError):
        return last
