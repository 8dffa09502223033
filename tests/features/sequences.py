"""Sequences of events for the tests: as columns, drawn by hypothesis, and generated in bulk from a seed."""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from daedalus_features import Advance, Books, Events, FeatureConfig, Genesis, Kind, MarketState, Rows, Trades, advance
from daedalus_features.pipeline import dump, load
from features.reference import Event, Output
from features.reference_numbers import Row, agree

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
)
"""Parameters whose windows a short sequence fills, and whose depths a small book reaches past."""


def columns(events: Iterable[Event], params: FeatureConfig | None = None) -> Events:
    """The events as the package reads them, after a genesis with the parameters if any are given."""
    listed = list(events)
    geneses: tuple[Genesis, ...] = ()
    if params is not None:
        listed.insert(0, Event("genesis", listed[0].ts if listed else START))
        geneses = (Genesis(0, "first", params.to_json()),)
    kinds = np.array([Kind[event.kind.upper()] for event in listed], np.uint8)
    books = [event for event in listed if event.kind == "book"]
    trades = [event for event in listed if event.kind == "trade"]
    bids, asks = padded([book.bids for book in books]), padded([book.asks for book in books])
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
        geneses,
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
    state: MarketState | None = None
    ring = np.zeros((0, 9))
    edges = [0, *sorted(cuts), len(events)]
    for begin, end in pairwise(edges):
        step = advance(state, events.part(begin, end))
        state = step.state
        if state is not None and restore:
            ring = np.concatenate((ring, step.history))[-2000:]
            state = load(dump(state), ring)
        yield step


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


def at(seconds: float) -> int:
    """Nanoseconds of so many seconds after START."""
    return START + round(seconds * SECOND)


def disagreements(parts: list[Rows], expected: list[Row]) -> list[str]:
    """Where the rows of a table differ from the reference's, as sentences; empty when they agree."""
    timestamp, values = joined(parts)
    if timestamp.tolist() != [row.timestamp for row in expected]:
        return [f"timestamps {timestamp.tolist()} instead of {[row.timestamp for row in expected]}"]
    if not parts:
        return []
    names = [column.name for column in parts[0].table.columns]
    if any(part.table != parts[0].table for part in parts):
        return ["the rows are of different tables"]
    if set(names) != set(expected[0].cells):
        return [f"columns that only one side has: {set(names) ^ set(expected[0].cells)}"]
    return [
        f"{name} of row {place} ({row.timestamp}): {float(found)!r} instead of {row.cells[name]}"
        for place, (row, line) in enumerate(zip(expected, values, strict=True))
        for name, found in zip(names, line, strict=True)
        if not agree(float(found), row.cells[name])
    ]


def differences(tables: dict[str, list[Rows]], expected: Output) -> list[str]:
    """Where order-book rows and bars differ from the reference's."""
    return disagreements(tables.get("orderbook", []), expected.rows) + disagreements(
        tables.get("bars", []), expected.bars
    )


def unlike(parts: list[Rows], others: list[Rows], expected: list[Row]) -> list[str]:
    """Where the first rows of `others` differ from all of `parts`, by the room that the reference's rows give."""
    if not parts:
        return []
    names = [column.name for column in parts[0].table.columns]
    (stamps, values), (other_stamps, other_values) = joined(parts), joined(others)
    if stamps.tolist() != other_stamps[: len(stamps)].tolist():
        return [f"timestamps {stamps.tolist()} and {other_stamps.tolist()}"]
    scales = np.array([[cell.scale if (cell := row.cells[name]) else 0.0 for name in names] for row in expected])
    other_values = other_values[: len(stamps)]
    room = 1e-9 * np.fmax(abs(values), abs(other_values)) + 1e-12 * scales[: len(stamps)]
    null, other_null = np.isnan(values), np.isnan(other_values)
    wrong = (null != other_null) | (abs(values - other_values) > room)
    return [
        f"{names[column]} of row {row}: {values[row, column]!r} and {other_values[row, column]!r}"
        for row, column in np.argwhere(wrong).tolist()
    ]


def market(
    seed: int, count: int, *, gap_rate: float = 0.01, quiet_rate: float = 0.02, bad_rate: float = 0.05
) -> list[Event]:
    """A seeded sequence with everything in it: ties, bursts of one ts, quiet minutes, thin and broken books, gaps.

    Prices lie on a tick of 0.01 around 100 or, for odd seeds, anywhere within ten orders of magnitude.
    """
    random = np.random.default_rng(seed)
    wild = seed % 2 == 1
    events: list[Event] = []
    ts, ticks = START + int(random.integers(0, SECOND)), 10_000
    for _ in range(count):
        ts += _pause(random, quiet_rate)
        ticks = max(500, ticks + int(random.integers(-2, 3)))
        draw = random.random()
        if draw < gap_rate:
            events.append(Event("gap", ts))
        elif draw < gap_rate + 0.03:
            events.append(Event(str(random.choice(["heartbeat", "ticker"])), ts))
        elif draw < 0.35:
            events.append(_trade(random, ts, ticks, wild=wild, bad=random.random() < bad_rate))
        else:
            bids, asks = _book(random, ticks, wild=wild)
            if random.random() < bad_rate:
                bids, asks = _broken(random, bids, asks)
            events.append(Event("book", ts, bids, asks))
    return events


def _pause(random: np.random.Generator, quiet_rate: float) -> int:
    draw = random.random()
    if draw < 0.3:
        return 0
    if draw < 1 - quiet_rate:
        return int(random.integers(0, SECOND // 2))
    return int(random.integers(SECOND, 40 * SECOND))


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
    amount = round(float(random.exponential(0.3)), 2) + 0.01
    if random.random() < 0.1:
        amount *= 10.0 ** float(random.integers(0, 12 if wild else 2))
    if bad:
        price, amount = ((math.nan, amount), (price, 0.0), (-price, amount), (price, math.inf))[random.integers(0, 4)]
    return Event("trade", ts, price=price, amount=amount, side=int(random.choice([-1, 0, 0, 1])))


PRICES = st.sampled_from([100.0, 100.01, 100.02, 100.5, 101.0, 99.9, 1e-15, 1e15, 3e-15, 1e9, 0.1, 1 / 3])
SIZES = st.sampled_from([1.0, 0.1, 0.3, 2.5, 1e-15, 1e15, 7.0, 1e-8, 123456.789])
BAD = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0, 1e16, 1e-16, 5e-324, 1.7e308])
PAUSES = st.sampled_from([0, 0, 1, SECOND // 3, SECOND // 2, SECOND, SECOND - 1, SECOND + 1, 7 * SECOND, 90 * SECOND])


@st.composite
def _sorted_books(draw: st.DrawFn, ts: int) -> Event:
    """Most often a valid book: distinct prices, split into two sides."""
    prices = sorted(draw(st.lists(PRICES, min_size=2, max_size=12, unique=True)))
    split = draw(st.integers(1, len(prices) - 1))
    sizes = draw(st.lists(SIZES, min_size=len(prices), max_size=len(prices)))
    levels = list(zip(prices, sizes, strict=True))
    return Event("book", ts, tuple(levels[:split][::-1]), tuple(levels[split:]))


@st.composite
def _any_books(draw: st.DrawFn, ts: int) -> Event:
    """A book of any levels whatever."""
    levels = st.lists(st.tuples(PRICES | BAD, SIZES | BAD), max_size=4).map(tuple)
    return Event("book", ts, draw(levels), draw(levels))


@st.composite
def sequences(draw: st.DrawFn, max_size: int = 60) -> list[Event]:
    """Adversarial sequences of one market, in which ts may stand still, leap, and run backward."""
    events: list[Event] = []
    ts = START
    for _ in range(draw(st.integers(0, max_size))):
        ts += draw(PAUSES)
        choice = draw(st.integers(0, 11))
        now = ts - (SECOND * 3 if draw(st.integers(0, 9)) == 9 else 0)
        if choice <= 5:
            events.append(draw(_sorted_books(now)))
        elif choice == 6:
            events.append(draw(_any_books(now)))
        elif choice <= 9:
            amounts = SIZES | BAD if choice == 9 else SIZES
            side = draw(st.sampled_from([-1, 0, 0, 1]))
            events.append(Event("trade", now, price=draw(PRICES), amount=draw(amounts), side=side))
        else:
            events.append(Event(draw(st.sampled_from(["gap", "heartbeat", "ticker"])), now))
    return events
