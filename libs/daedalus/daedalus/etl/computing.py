"""What a worker does: read a task's events, compute, store the rows as parts.

carry_out(bench, task, state) -> TaskDone; the same on this machine and on another
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib.metadata import entry_points
from typing import cast

import msgspec
import numpy as np

from daedalus.etl.bronze_reader import read_events
from daedalus.etl.chunks import BadSegment, Chunk, Position
from daedalus.etl.ndjson import LineChunk, NdjsonInput, NdjsonPosition
from daedalus.etl.parts import Gathering
from daedalus.etl.publishing import publish
from daedalus.etl.replacing import stretch_of
from daedalus.etl.task import Bench, Origin, StoredState, Task, TaskDone
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.plans import HOUR_NS
from daedalus_common.stores import ObjectStore, StoreSettings, open_store
from daedalus_features import (
    EXTENSIONS_GROUP,
    HISTORY_COLUMNS,
    Books,
    Events,
    FeatureConfig,
    Genesis,
    Kind,
    MarketState,
    Tickers,
    Trades,
    advance,
    dump,
    load,
    load_extensions,
)
from daedalus_features.config import Channel


@dataclass(slots=True)
class _Tally:
    """What was seen besides rows."""

    place: bytes
    first_ts: int = 0
    last_ts: int = 0
    hours: set[int] = field(default_factory=set)
    events: int = 0
    missing: int = 0
    doubled: int = 0
    before_genesis: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    bad_segments: list[BadSegment] = field(default_factory=list)


def carry_out(bench: Bench, task: Task, state: StoredState | None, counters: Mapping[str, int]) -> TaskDone:
    """Makes the task's parts durable. Raises StoreError, EtlError, or SchemaError for parameters not of this version.

    `counters`: see `publishing.publish`. The memory it takes is that of a chunk of events and of the encoded rows.
    """
    if bench.extensions:
        extend()
    gathering = Gathering(task.market, bench.tables, task.seqs, Compression(bench.codec, bench.level))
    tally = _Tally(task.place)
    market_state = None if state is None else restored(state)
    for chunk in _chunks(bench, task):
        _count(tally, chunk)
        events = _prepared(bench, chunk.events)
        if not len(events):
            continue
        tally.events += chunk.recorded
        tally.first_ts = tally.first_ts or int(events.ts[0])
        tally.last_ts = int(events.ts[-1])
        tally.hours.update(np.unique(events.ts // HOUR_NS).tolist())
        if market_state is None and task.origin is not None:
            market_state = started(task.origin, bench.channels, int(events.ts[0]))
        advanced = advance(market_state, events)
        market_state = advanced.state
        tally.invalid.update(advanced.invalid)
        tally.before_genesis += advanced.before_genesis
        gathering.add(advanced.rows)
    drafts = gathering.parts()
    store = store_of(bench.output)
    stretch = stretch_of(task, tally.first_ts, tally.last_ts, tally.hours)
    parts, replaced = publish(store, bench, task, drafts, counters, stretch)
    return TaskDone(
        place=tally.place,
        state=None if market_state is None else stored(market_state),
        first_ts=tally.first_ts,
        last_ts=tally.last_ts,
        events=tally.events,
        rows=dict(gathering.rows),
        seqs=gathering.seqs,
        parts=tuple(parts),
        replaced=tuple(replaced),
        missing=tally.missing,
        doubled=tally.doubled,
        refused_rows=gathering.refused,
        before_genesis=tally.before_genesis,
        invalid=dict(tally.invalid),
        bad_segments=tuple(tally.bad_segments),
    )


@cache
def extend() -> tuple[str, ...]:
    """Loads users' transforms into this process, once; gives their names. Raises ExtensionError."""
    return load_extensions(entry_points(group=EXTENSIONS_GROUP))


@lru_cache(maxsize=4)
def store_of(settings: StoreSettings) -> ObjectStore:
    """The store of these settings; opened once per process."""
    return open_store(settings)


def stored(state: MarketState) -> StoredState:
    """The state as bytes."""
    return StoredState(dump(state), np.ascontiguousarray(state.history, dtype=np.float64).tobytes())


def restored(state: StoredState) -> MarketState:
    """The state from bytes. Raises SchemaError for those of another version."""
    records = np.frombuffer(state.history, dtype=np.float64).reshape(-1, len(HISTORY_COLUMNS))
    return load(state.hot, records)


def started(origin: Origin, channels: tuple[str, ...], ts: int) -> MarketState:
    """The state of a market whose computation begins with an event at `ts`."""
    genesis = Genesis(0, origin.genesis_id, _restricted(origin.params_json, channels))
    beginning = Events(
        ts=np.array([ts], dtype=np.int64),
        kind=np.array([Kind.GENESIS], dtype=np.uint8),
        books=Books.empty(),
        trades=Trades.empty(),
        tickers=Tickers.empty(),
        geneses=(genesis,),
    )
    state = advance(None, beginning).state
    if state is None:
        raise AssertionError("a genesis gives a state")
    return state


def _chunks(bench: Bench, task: Task) -> Iterator[Chunk | LineChunk]:
    if bench.source is None:
        lines = NdjsonInput.as_planned(task.files)
        after = msgspec.msgpack.decode(task.place, type=NdjsonPosition) if task.place else None
        yield from lines.read(task.market, after=after, limit=task.limit, tables_needed=bench.payloads)
        return
    position = msgspec.msgpack.decode(task.place, type=Position) if task.place else None
    yield from read_events(
        store_of(bench.source),
        task.segments,
        after=position,
        limit=task.limit,
        tables_needed=bench.payloads,
        sizes=task.sizes,
    )


def _count(tally: _Tally, chunk: Chunk | LineChunk) -> None:
    if chunk.end is not None:
        tally.place = msgspec.msgpack.encode(chunk.end)
    if isinstance(chunk, Chunk):
        tally.missing += chunk.missing
        tally.doubled += chunk.doubled
        tally.bad_segments += chunk.bad


def _prepared(bench: Bench, events: Events) -> Events:
    """With only the geneses that count, their parameters restricted to the channels that are asked for."""
    if not events.geneses:
        return events
    if bench.parameters == "config":
        return replace(events, geneses=())
    geneses = (
        replace(genesis, params_json=_restricted(genesis.params_json, bench.channels)) for genesis in events.geneses
    )
    return replace(events, geneses=tuple(geneses))


@lru_cache(maxsize=1024)
def _restricted(params_json: bytes, channels: tuple[str, ...]) -> bytes:
    try:
        params = FeatureConfig.from_json(params_json)
    except ValueError:
        return params_json  # `advance` refuses it with a text that names the genesis
    return params.restricted(cast(tuple[Channel, ...], channels)).to_json()
