"""Sequences of events for the tests: as columns, fed in portions, compared, and generated in bulk from a seed."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from daedalus_features import (
    HISTORY_COLUMNS,
    Advance,
    Books,
    Events,
    FeatureConfig,
    Genesis,
    Kind,
    MarketState,
    Rows,
    Tickers,
    Trades,
    advance,
)
from daedalus_features.pipeline import dump, load
from features.reference import Event, Output
from features.reference_numbers import Row, agree
from features.reference_trades import TICKER_FIELDS

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND

SMALL = FeatureConfig(
    book_levels=14,
    depth_levels=12,
    rolling_windows=(60, 3, 15),
    bar_durations=(5, 15, 60),
    kyle_window=25,
    regime_window=45,
    vpin_bucket_size=1.5,
    vpin_buckets=4,
    tick_bar_size=7,
    volume_bar_size=2.5,
    dollar_bar_size=150.0,
    imbalance_bar_ticks=6,
    imbalance_bar_span=9,
    imbalance_bar_min_ticks=3,
    imbalance_bar_max_ticks=15,
)
"""Parameters whose windows and bars a short sequence fills, and whose depths a small book reaches past."""


def columns(events: Iterable[Event], params: FeatureConfig | None = None) -> Events:
    """The events as the package reads them, after a genesis with the parameters if any are given."""
    listed = list(events)
    if params is not None:
        listed.insert(0, Event("genesis", listed[0].ts if listed else START, params=params))
    kinds = np.array([Kind[event.kind.upper()] for event in listed], np.uint8)
    books = [event for event in listed if event.kind == "book"]
    trades = [event for event in listed if event.kind == "trade"]
    tickers = [event.ticker for event in listed if event.kind == "ticker"]
    bids, asks = padded([book.bids for book in books]), padded([book.asks for book in books])
    starts = [(place, event) for place, event in enumerate(listed) if event.params is not None]
    names = ["first", *(f"genesis at {place}" for place, _ in starts[1:])]
    return Events(
        np.array([event.ts for event in listed], np.int64),
        kinds,
        Books(
            np.flatnonzero(kinds == Kind.BOOK),
            bids[:, :, 0],
            bids[:, :, 1],
            asks[:, :, 0],
            asks[:, :, 1],
            np.array([len(book.bids) for book in books], np.int64),
            np.array([len(book.asks) for book in books], np.int64),
        ),
        Trades(
            np.flatnonzero(kinds == Kind.TRADE),
            np.array([trade.price for trade in trades], float),
            np.array([trade.amount for trade in trades], float),
            np.array([trade.side for trade in trades], np.int8),
        ),
        Tickers(np.flatnonzero(kinds == Kind.TICKER), np.array(tickers, float).reshape(-1, len(Tickers.FIELDS)).T),
        tuple(
            Genesis(place, name, event.params.to_json()) for (place, event), name in zip(starts, names, strict=False)
        ),
    )


def padded(sides: list[tuple[tuple[float, float], ...]]) -> np.ndarray:
    """(books, levels, 2) with NaN beyond each side's own levels."""
    levels = np.full((len(sides), max(map(len, sides), default=0), 2), np.nan)
    for place, side in enumerate(sides):
        if side:
            levels[place, : len(side)] = side
    return levels


def after(events: Events) -> MarketState:
    """The state after a sequence that starts with a genesis."""
    state = advance(None, events).state
    assert state is not None
    return state


def in_chunks(events: Events, cuts: Iterable[int], *, restore: bool = True) -> Iterator[Advance]:
    """The steps of the events in portions; the state goes through bytes and the ring of rows between any two."""
    kept = Kept(restore)
    for begin, end in pairwise([0, *sorted(cuts), len(events)]):
        yield kept.advance(events.part(begin, end))


class Kept:
    """One market's state between portions: as bytes and a ring of rows, or, not to be restored, as it is."""

    def __init__(self, restore: bool = True) -> None:
        self.restore = restore
        self.state: MarketState | None = None
        self.hot = b""
        self.ring = np.zeros((0, len(HISTORY_COLUMNS)))

    def advance(self, events: Events) -> Advance:
        step = advance(load(self.hot, self.ring) if self.hot else self.state, events)
        if step.state is not None and self.restore:
            self.hot, self.ring = dump(step.state), np.concatenate((self.ring, step.history))[-2000:]
        else:
            self.state = step.state
        return step


def side_by_side(
    events: Sequence[tuple[str, Event]], params: Mapping[str, FeatureConfig], cuts: Iterable[int]
) -> dict[str, list[Advance]]:
    """The steps of each market, by its name, when an interleaving of several is read in portions."""
    states = {market: Kept() for market in params}
    steps: dict[str, list[Advance]] = {market: [] for market in params}
    for begin, end in pairwise([0, *sorted(cuts), len(events)]):
        for market, kept in states.items():
            part = [event for name, event in events[begin:end] if name == market]
            if part:
                steps[market].append(kept.advance(columns(part, None if steps[market] else params[market])))
    return steps


def gathered(steps: Iterable[Advance]) -> dict[str, list[Rows]]:
    """All rows of the steps, table by table."""
    tables: dict[str, list[Rows]] = {}
    for step in steps:
        for rows in step.rows:
            tables.setdefault(rows.table.name, []).append(rows)
    return tables


def joined(parts: list[Rows]) -> tuple[np.ndarray, np.ndarray]:
    """Timestamps and values of one table's rows."""
    if not parts:
        return np.zeros(0, np.int64), np.zeros((0, 0))
    return np.concatenate([rows.timestamp for rows in parts]), np.concatenate([rows.values for rows in parts])


def orderbook(events: Iterable[Event], params: FeatureConfig = SMALL) -> list[dict[str, Any]]:
    """The order-book rows of a sequence, column by column, None for null, with their timestamp."""
    return as_dicts(gathered([advance(None, columns(events, params))]).get("orderbook", []))


def as_dicts(parts: list[Rows]) -> list[dict[str, Any]]:
    """Rows as dictionaries, None for null."""
    return [
        {"timestamp": timestamp}
        | {
            column.name: None if math.isnan(value) else value
            for column, value in zip(rows.table.columns, values, strict=True)
        }
        for rows in parts
        for timestamp, values in zip(rows.timestamp.tolist(), rows.values.tolist(), strict=True)
    ]


def book(ts: int, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> Event:
    """A book event."""
    return Event("book", ts, tuple(bids), tuple(asks))


def quote(ts: int, bid: float, ask: float, bid_size: float = 1.0, ask_size: float = 1.0) -> Event:
    """A book event of one level a side."""
    return book(ts, [(bid, bid_size)], [(ask, ask_size)])


def trade(ts: int, price: float, amount: float, side: int = 0) -> Event:
    """A trade event."""
    return Event("trade", ts, price=price, amount=amount, side=side)


def ticker(ts: int, **fields: Any) -> Event:
    """A ticker event; a field that is not named is null."""
    return Event("ticker", ts, ticker=tuple(fields.pop(name, math.nan) for name in TICKER_FIELDS), **fields)


def at(seconds: float) -> int:
    """Nanoseconds of so many seconds after START."""
    return START + round(seconds * SECOND)


def disagreements(parts: list[Rows], expected: list[Row], certain: int | None = None) -> list[str]:
    """Where the rows of a table differ from the reference's, as sentences; empty when they agree.

    If only `certain` rows are, the others are not compared.
    """
    found = [
        (rows.table, timestamp, line)
        for rows in parts
        for timestamp, line in zip(rows.timestamp.tolist(), rows.values.tolist(), strict=True)
    ]
    if certain is not None:
        found, expected = found[:certain], expected[:certain]
    stamps, expected_stamps = [stamp for _, stamp, _ in found], [row.timestamp for row in expected]
    if stamps != expected_stamps:
        return [f"timestamps {stamps} instead of {expected_stamps}"]
    wrong = []
    for place, ((table, _, line), row) in enumerate(zip(found, expected, strict=True)):
        if set(table.index) != set(row.cells):
            return [f"columns that only one side has: {set(table.index) ^ set(row.cells)}"]
        wrong += [
            f"{name} of row {place} ({row.timestamp}) of {table.name}: {value!r} instead of {row.cells[name]}"
            for name, value in zip(table.index, line, strict=True)
            if not agree(value, row.cells[name])
        ]
    return wrong


def differences(tables: dict[str, list[Rows]], expected: Output) -> list[str]:
    """Where the rows of any table differ from the reference's."""
    wrong = [f"table {name} should not be" for name in tables if name not in expected.tables]
    for name, rows in expected.tables.items():
        wrong += disagreements(tables.get(name, []), rows, expected.certain.get(name))
    return wrong


def unlike(tables: dict[str, list[Rows]], others: dict[str, list[Rows]], expected: Output) -> list[str]:
    """Where the first rows of each table in `others` differ from all in `tables`, beyond the reference's room.

    Rows that are in doubt are compared as well, since one implementation has no doubt.
    """
    wrong = []
    for name, parts in tables.items():
        columns = parts[0].table.columns
        (stamps, values), (other_stamps, other_values) = joined(parts), joined(others.get(name, []))
        if stamps.tolist() != other_stamps[: len(stamps)].tolist():
            wrong.append(f"timestamps of {name}: {stamps.tolist()} and {other_stamps.tolist()}")
            continue
        sure = expected.tables[name][: expected.certain.get(name, len(stamps))][: len(stamps)]
        scales = np.zeros(values.shape)
        scales[: len(sure)] = [[cell.scale if (cell := row.cells[c.name]) else 0.0 for c in columns] for row in sure]
        other_values = other_values[: len(stamps)]
        room = 1e-9 * np.fmax(abs(values), abs(other_values)) + 1e-12 * scales
        null, other_null = np.isnan(values), np.isnan(other_values)
        bad = (null != other_null) | (abs(values - other_values) > room)
        wrong += [
            f"{columns[column].name} of row {row} of {name}: {values[row, column]!r} and {other_values[row, column]!r}"
            for row, column in np.argwhere(bad).tolist()
        ]
    return wrong


def market(
    seed: int, count: int, *, gap_rate: float = 0.01, quiet_rate: float = 0.02, bad_rate: float = 0.05
) -> list[Event]:
    """A seeded sequence with everything in it: ties, bursts of one ts, quiet minutes, thin and broken books, gaps.

    Prices lie on a tick of 0.01 around 100 or, for odd seeds, anywhere within ten orders of magnitude. At least
    `count` events.
    """
    random = np.random.default_rng(seed)
    wild = seed % 2 == 1
    events: list[Event] = []
    ts, ticks = START + int(random.integers(0, SECOND)), 10_000
    while len(events) < count:
        ts += _pause(random, quiet_rate)
        ticks = max(500, ticks + int(random.integers(-2, 3)))
        draw = random.random()
        bad = random.random() < bad_rate
        if draw < gap_rate:
            events.append(Event("gap", ts))
        elif draw < gap_rate + 0.02:
            events.append(Event("heartbeat", ts))
        elif draw < gap_rate + 0.07:
            events.append(Event("ticker", ts, ticker=_ticker(random, ticks, bad=random.random() < 6 * bad_rate)))
        elif draw < gap_rate + 0.08:
            side = int(random.choice([-1, 1]))
            burst = [_trade(random, ts, ticks, wild=wild, bad=False) for _ in range(int(random.integers(5, 25)))]
            events += [trade._replace(side=side) if random.random() < 0.7 else trade for trade in burst]
        elif draw < 0.38:
            events.append(_trade(random, ts, ticks, wild=wild, bad=bad))
        else:
            bids, asks = _book(random, ticks, wild=wild)
            events.append(Event("book", ts, *(_broken(random, bids, asks) if bad else (bids, asks))))
    return events


def interleaved(markets: Mapping[str, Sequence[Event]], seed: int) -> list[tuple[str, Event]]:
    """The events of several markets in one sequence that keeps the order of each."""
    turns = [name for name, events in markets.items() for _ in events]
    np.random.default_rng(seed).shuffle(turns)
    left = {name: iter(events) for name, events in markets.items()}
    return [(name, next(left[name])) for name in turns]


def _pause(random: np.random.Generator, quiet_rate: float) -> int:
    draw = random.random()
    if draw < 0.3:
        return 0
    if draw < 1 - quiet_rate:
        return int(random.integers(0, SECOND // 2))
    return int(random.integers(SECOND, 100 * SECOND))


def _book(random: np.random.Generator, ticks: int, *, wild: bool) -> tuple[tuple, tuple]:
    depth = (1, 2, 4, 10, 18)
    sides = []
    for sign in (-1, 1):
        levels = int(random.choice(depth))
        steps = np.cumsum(random.integers(1, 40, levels)) if random.random() < 0.8 else np.arange(1, levels + 1)
        prices = (ticks + sign * np.minimum(steps, 499)) / 100
        if wild:
            prices = prices * 10.0 ** float(random.integers(-5, 6))
            prices = np.unique(prices)[::sign]
        prices = np.array(list(dict.fromkeys(prices.tolist())))
        sizes = np.round(random.exponential(1, len(prices)), 3) + 0.001
        if wild:
            sizes = sizes * 10.0 ** random.integers(-6, 7, len(prices))
        sides.append(tuple(zip(prices.tolist(), sizes.tolist(), strict=True)))
    bids, asks = sides
    # Scaled apart, the sides of a wild book may cross: one of them moves away, unless it is to be invalid.
    if bids[0][0] >= asks[0][0] and random.random() < 0.95:
        factor = 2.0 ** math.ceil(math.log2(bids[0][0] / asks[0][0]) + 0.001) * 2
        asks = tuple((price * factor, size) for price, size in asks)
    return bids, asks


def _broken(random: np.random.Generator, bids: tuple, asks: tuple) -> tuple[tuple, tuple]:
    which = int(random.integers(0, 7))
    if which == 0:
        return (), asks
    if which == 1:
        return bids, ((asks[0][0], math.nan), *asks[1:])
    if which == 2:
        return (*bids[:-1], (bids[-1][0], float(random.choice([0.0, -1.0, 1e16, 1e-16])))), asks
    if which == 3:
        return (bids[0], *bids), asks
    if which == 4:
        return asks[:1], asks
    if which == 5:
        return bids, ((math.inf, 1.0), *asks)
    return (), ()


def _trade(random: np.random.Generator, ts: int, ticks: int, *, wild: bool, bad: bool) -> Event:
    price = (ticks + int(random.integers(-1, 2))) / 100
    if wild and random.random() < 0.2:
        price *= 10.0 ** float(random.integers(-5, 6))
    amount = round(float(random.exponential(0.3)), 2) + 0.01
    if random.random() < 0.1:
        amount *= 10.0 ** float(random.integers(0, 12 if wild else 2))
    if bad:
        price, amount = ((math.nan, amount), (price, 0.0), (-price, amount), (price, math.inf))[random.integers(0, 4)]
    return Event("trade", ts, price=price, amount=amount, side=int(random.choice([-1, 0, 0, 1])))


def _ticker(random: np.random.Generator, ticks: int, *, bad: bool) -> tuple[float, ...]:
    bid, ask, last, start, high, low, vwap = ((ticks + shift) / 100 for shift in (-1, 1, 1, -300, 500, -600, 7))
    ticker = [bid, 0.7, ask, 12.5, last, start, high, low, vwap, 5e4, 5e6 + 1 / 3]
    if bad:
        values = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e17, 1e-17, bid)
        for _ in range(int(random.integers(1, 8))):
            ticker[int(random.integers(0, 11))] = float(random.choice(values))
    return tuple(ticker)
