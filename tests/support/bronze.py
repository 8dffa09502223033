"""Folders of Bronze as the writer makes them, by its own code but without a stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np

from daedalus_common.batches import RawEntry
from daedalus_common.entries import encode
from daedalus_common.events import Book, Event, Gap, Genesis, Heartbeat, Ticker, Trade
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.objects import Draft
from daedalus_common.parquet.stored_rows import StoredRows
from daedalus_common.plans import HOUR_NS, Destination, counters_after, make_plan, object_key
from daedalus_common.stores import CreateResult, ObjectStore
from daedalus_features import Events, Kind, Tickers
from daedalus_writer.bronze import bronze_rows
from daedalus_writer.carrying_out import origin_of
from support.market_events import market_events

ZSTD = Compression("zstd", 3)
_STREAM = "raw"

Told = tuple[Any, ...]


@dataclass(slots=True)
class BronzeBuilder:
    """Writes one market's events as Bronze segments, in as many calls as the test likes.

    The rules of publication hold: `seq` counts all events from 1, `ts` never decreases, entry ids rise. With `flush`
    None there is one segment per hour, table and call; otherwise one per flush, as the live writer makes them.
    """

    store: ObjectStore
    market: Market
    flush: timedelta | None = None
    generation: int = 0
    seq: int = 0
    ts: int = 0
    keys: list[str] = field(default_factory=list)
    """Of all segments, in the order of their creation."""
    _id: tuple[int, int] = (0, 0)
    _counters: dict[str, str] = field(default_factory=dict)

    def write(self, events: Sequence[Event]) -> list[str]:
        """The keys of the new segments."""
        return self.write_payloads([(event.capture_ts, encode(event)) for event in events])

    def write_payloads(self, payloads: Sequence[tuple[int, bytes]]) -> list[str]:
        """The same, of (capture_ts, payload) as the publisher takes them."""
        entries = [self._entry(capture_ts, payload) for capture_ts, payload in payloads]
        new = [key for _, run in groupby(entries, self._flush_of) for key in self._flushed(list(run))]
        self.keys += new
        return new

    def skip(self, count: int) -> None:
        """As if so many events had been published and lost."""
        self.seq += count

    def take_back(self, key: str) -> None:
        """As if Redis had lost the plan of this newest segment of its table before it was stored."""
        self.store.delete(key)
        table = key.split("/")[2]
        [field] = [name for name in self._counters if table in name]
        stamp, counter = self._counters[field].split()
        self._counters[field] = f"{stamp} {int(counter) - 1}"

    def _entry(self, capture_ts: int, payload: bytes) -> RawEntry:
        self.seq += 1
        self.ts = max(self.ts, capture_ts)
        self._id = max((self.ts // 1_000_000, 0), (self._id[0], self._id[1] + 1))
        fields = {b"e": payload, b"g": b"%d" % self.generation, b"s": b"%d" % self.seq, b"t": b"%d" % self.ts}
        return b"%d-%d" % self._id, fields

    def _flush_of(self, entry: RawEntry) -> int:
        every = HOUR_NS if self.flush is None else int(self.flush.total_seconds() * 1e9)
        return int(entry[1][b"t"]) // every

    def _flushed(self, entries: Sequence[RawEntry]) -> Iterator[str]:
        places, foreign = bronze_rows(self.market, entries)
        assert not foreign
        plan = make_plan(
            stream=_STREAM,
            cursor="0-0",
            first_id=entries[0][0].decode(),
            last_id=entries[-1][0].decode(),
            entries=len(entries),
            rows={place: len(rows) for place, rows in places.items()},
            counters=self._counters,
        )
        self._counters |= counters_after(plan.segments)
        for segment in plan.segments:
            data = encoded(self.market, segment.destination, places)
            assert self.store.create(object_key(segment), data, {}) is CreateResult.CREATED
            yield object_key(segment)


def encoded(market: Market, place: Destination, places: Mapping[Destination, StoredRows]) -> memoryview:
    """The bytes of one segment, in row groups as long as the writer's."""
    rows = places[place]
    draft = Draft(rows.table, rows.schema, ZSTD)
    step = 1_000
    for begin in range(0, len(rows), step):
        draft.add(StoredRows(rows.table, rows.arrow.slice(begin, step), rows.keys[begin : begin + step]))
        if draft.has_row_group:
            draft.encode()
    return draft.finished(market, origin_of(_STREAM))[0]


def keys_by_table(keys: Sequence[str]) -> dict[str, list[str]]:
    """Keys of segments by their table, as the reader takes them."""
    tables: dict[str, list[str]] = {}
    for key in keys:
        tables.setdefault(key.split("/")[2], []).append(key)
    return tables


def as_published(events: Sequence[Event], ts: int = 0) -> list[Told]:
    """What `told` must give of these events, whose time never goes back."""
    said: list[Told] = []
    for event in events:
        ts = max(ts, event.capture_ts)
        match event:
            case Book():
                said.append((Kind.BOOK, ts, event.bids, event.asks))
            case Trade():
                side = {"buy": 1, "sell": -1}.get(event.side or "", 0)
                said.append((Kind.TRADE, ts, event.price, event.amount, side))
            case Ticker():
                said.append((Kind.TICKER, ts, *(getattr(event, name) for name in Tickers.FIELDS)))
            case Genesis():
                said.append((Kind.GENESIS, ts, event.id, event.params))
            case Gap():
                said.append((Kind.GAP, ts))
            case Heartbeat():
                said.append((Kind.HEARTBEAT, ts))
    return said


def told(*chunks: Events) -> list[Told]:
    """Events as tuples of kind, ts and content, to be compared."""
    return [each for events in chunks for each in _told(events)]


def _told(events: Events) -> list[Told]:
    content: dict[int, tuple[Any, ...]] = {}
    books, trades, tickers = events.books, events.trades, events.tickers
    for i, at in enumerate(books.position.tolist()):
        sides = (
            zip(price[i, : levels[i]].tolist(), size[i, : levels[i]].tolist(), strict=True)
            for price, size, levels in (
                (books.bid_price, books.bid_size, books.bid_levels),
                (books.ask_price, books.ask_size, books.ask_levels),
            )
        )
        content[at] = tuple(map(tuple, sides))
    for i, at in enumerate(trades.position.tolist()):
        content[at] = (trades.price[i].item(), trades.amount[i].item(), trades.side[i].item())
    for i, at in enumerate(tickers.position.tolist()):
        content[at] = tuple(None if value != value else value for value in tickers.values[:, i].tolist())
    for genesis in events.geneses:
        content[genesis.position] = (genesis.id, genesis.params_json)
    return [
        (Kind(kind), ts, *content.get(at, ()))
        for at, (kind, ts) in enumerate(zip(events.kind.tolist(), events.ts.tolist(), strict=True))
    ]


def varied_events(seed: int, count: int, levels: int = 5, rate_per_second: float = 20.0) -> list[Event]:
    """Events of every kind: a genesis first, then those of `market_events`, some of them made tickers or thin books."""
    rng = np.random.default_rng(seed)
    plain = market_events(seed, count - 1, levels=levels, rate_per_second=rate_per_second)
    return [Genesis(plain[0].capture_ts, f"genesis-{seed}", b"{}"), *(_varied(rng, event) for event in plain)]


def _varied(rng: np.random.Generator, event: Event) -> Event:
    draw = rng.random()
    if draw < 0.1:
        numbers = [None if rng.random() < 0.3 else float(value) for value in rng.random(len(Tickers.FIELDS))]
        return Ticker(event.capture_ts, None, *numbers)
    if draw < 0.2 and isinstance(event, Book):
        bids, asks = (int(depth) for depth in rng.integers(0, 4, 2))
        return Book(event.capture_ts, None, None, event.bids[:bids], event.asks[:asks])
    return event
