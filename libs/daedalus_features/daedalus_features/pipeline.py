"""The whole computation of one market: `(state, events) -> (rows, state)`, without a clock and without effects."""

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from daedalus_features import codec
from daedalus_features.arrays import FloatArray
from daedalus_features.config import PARAMETERS, FeatureConfig
from daedalus_features.errors import SchemaError
from daedalus_features.events import Events, Genesis
from daedalus_features.history import HISTORY_COLUMNS, History
from daedalus_features.tables import Rows
from daedalus_features.transforms import EVENTS, TRANSFORMS, BaseTransform
from daedalus_features.validity import only_valid

_MEANING = 1
"""Raised when a formula changes while the layout of the state does not."""

_DEFAULT = FeatureConfig()
_HEADER = struct.Struct("<8sqHI")
"""Schema, ts, length of the genesis id, length of the parameters."""


@dataclass(frozen=True)
class MarketState:
    """All that the rows to come need of a market's past: `ts` of its last event, and one state per transform."""

    params: FeatureConfig
    genesis_id: str
    ts: int
    states: tuple[Any, ...]

    @property
    def history(self) -> FloatArray:
        """The records of recent rows, oldest first, that `dump` leaves out: (h, len(HISTORY_COLUMNS))."""
        return _history(self).records


@dataclass(frozen=True)
class Advance:
    """What events did to a market.

    `rows` are the rows they completed, in order, tables without any left out; `history` (h, columns) the records to
    append to the ring of recent rows. `invalid` counts books by reason and trades under "trade"; `before_genesis`
    counts events that came before the first genesis and were ignored.
    """

    rows: tuple[Rows, ...]
    state: MarketState | None
    history: FloatArray
    invalid: dict[str, int] = field(default_factory=dict)
    before_genesis: int = 0


def advance(state: MarketState | None, events: Events) -> Advance:
    """The rows that the events complete, and the state after them; `state` is None before the first genesis.

    A genesis is an event in time like any other for the state before it, whose last interval and unfinished bars
    end there unwritten, and a start from nothing for what follows. Raises SchemaError when a genesis has parameters
    that this version does not know.
    """
    given_rows: list[Rows] = []
    invalid: Counter[str] = Counter()
    ignored = begin = appended = 0
    with np.errstate(all="ignore"):
        for genesis in (*events.geneses, None):
            end = len(events) if genesis is None else genesis.position + 1
            part = events.part(begin, end)
            if state is None:
                ignored += len(part) - (genesis is not None)
            else:
                state, given, faults = _step(state, part)
                given_rows += given
                invalid.update(faults)
                appended += sum(len(rows) for rows in given if rows.table.name == "orderbook")
            if genesis is not None:
                ts = int(part.ts.max()) if state is None else state.ts
                state, appended = _start(genesis, ts), 0
            begin = end
    history = History.empty() if state is None else _history(state)
    return Advance(tuple(given_rows), state, _newest_records(history, appended), dict(invalid), ignored)


def dump(state: MarketState) -> bytes:
    """The state without its history, of at most 4 KB with the default parameters."""
    genesis, params = state.genesis_id.encode(), state.params.to_compact()
    header = _HEADER.pack(bytes.fromhex(schema_id()), state.ts, len(genesis), len(params))
    return b"".join((header, genesis, params, *map(codec.encode, state.states)))


def load(hot: bytes, history: FloatArray) -> MarketState:
    """The state that `dump` wrote, with the ring of recent rows (h, columns), of which the last ones are taken.

    Raises SchemaError for another version's layout or parameters, and when the ring lacks rows.
    """
    if len(hot) < _HEADER.size:
        raise SchemaError(f"state of {len(hot)} bytes")
    schema, ts, genesis_length, params_length = _HEADER.unpack_from(hot)
    begin = _HEADER.size + genesis_length
    end = begin + params_length
    if schema.hex() != schema_id():
        raise SchemaError(f"state of schema {schema.hex()}; this version has {schema_id()}")
    genesis_id = hot[_HEADER.size : begin].decode(errors="replace")
    try:
        params = FeatureConfig.from_compact(hot[begin:end])
    except ValueError as error:
        raise SchemaError(f"state of genesis {genesis_id}: {error}") from error
    decoder = codec.Decoder(hot[end:], History.of_records(history))
    states = tuple(decoder.read(transform.initial()) for transform in TRANSFORMS.transforms(params))
    decoder.finish()
    return MarketState(params, genesis_id, ts, states)


def schema_id() -> str:
    """16 hex digits that change with the names of the parameters, the layout of state and history, and their meaning.

    All registered transforms count, whatever the channels of a market.
    """
    return _schema(TRANSFORMS.transforms(_DEFAULT))


@lru_cache(maxsize=16)
def _schema(every: tuple[BaseTransform, ...]) -> str:
    states = [f"{each.name}{codec.layout(each.initial())}{','.join(each.state_names)}" for each in every]
    text = f"{_MEANING};{HISTORY_COLUMNS};{PARAMETERS};{';'.join(states)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _start(genesis: Genesis, ts: int) -> MarketState:
    try:
        params = FeatureConfig.from_json(genesis.params_json)
    except ValueError as error:
        raise SchemaError(f"genesis {genesis.id}: {error}") from error
    states = tuple(transform.initial() for transform in TRANSFORMS.transforms(params))
    return MarketState(params, genesis.id, ts, states)


def _step(state: MarketState, events: Events) -> tuple[MarketState, list[Rows], dict[str, int]]:
    """One run of events under one genesis through every transform; the order-book rows come first."""
    if not len(events):
        return state, [], {}
    ts = np.maximum.accumulate(np.maximum(events.ts, state.ts))
    in_time = Events(ts, events.kind, events.books, events.trades, events.tickers, events.geneses)
    valid, invalid = only_valid(in_time, state.params.book_levels)
    given: dict[str, Rows] = {}
    states = []
    for transform, before in zip(TRANSFORMS.transforms(state.params), state.states, strict=True):
        source = valid if transform.input == EVENTS else given.get(transform.input)
        tables, after = transform.process(source, before) if source is not None else ((), before)
        given.update((rows.table.name, rows) for rows in tables if len(rows))
        states.append(after)
    after = MarketState(state.params, state.genesis_id, int(ts[-1]), tuple(states))
    return after, list(given.values()), invalid


def _history(state: MarketState) -> History:
    for inner in state.states:
        found = getattr(inner, "history", None)
        if isinstance(found, History):
            return found
    return History.empty()


def _newest_records(history: History, count: int) -> FloatArray:
    return history.newest(count).records if count else History.empty().records
