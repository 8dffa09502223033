"""Adversarial sequences drawn by hypothesis: of one market, of several, and with geneses in the middle."""

import math
from dataclasses import replace

from hypothesis import strategies as st

from daedalus_features import FeatureConfig
from features.reference import Event
from features.reference_trades import TICKER_FIELDS
from features.sequences import SECOND, SMALL, START

PRICES = st.sampled_from([100.0, 100.01, 100.02, 100.5, 101.0, 99.9, 1e-15, 1e15, 3e-15, 1e9, 0.1, 1 / 3])
SIZES = st.sampled_from([1.0, 0.1, 0.3, 2.5, 1e-15, 1e15, 7.0, 1e-8, 123456.789])
PLAIN_PRICES = st.sampled_from([100.0, 100.01, 100.02, 99.99, 100.1, 99.5, 101.0, 100.5, 100.3, 99.9, 99.0, 102.0])
PLAIN_SIZES = st.sampled_from([0.1, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5])
PALETTES = st.sampled_from([(PRICES, SIZES), (PLAIN_PRICES, PLAIN_SIZES)])
"""Numbers that drown each other, and decimal ones that make ties and fill a bar to the brim."""
BAD = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0, 1e16, 1e-16, 5e-324, 1.7e308])
PAUSES = st.sampled_from(
    [0, 0, 1, SECOND // 3, SECOND // 2, SECOND, SECOND - 1, SECOND + 1, 7 * SECOND, 90 * SECOND, 10**17]
)
LATEST = 2**62 - 1
"""The greatest time that an event may have."""
STARTS = st.sampled_from([START, START, START, 0, LATEST - 20 * SECOND])
Palette = tuple[st.SearchStrategy[float], st.SearchStrategy[float]]
SIDES = st.sampled_from([-1, 0, 0, 1])

TINY = replace(SMALL, tick_bar_size=1, imbalance_bar_ticks=2, imbalance_bar_min_ticks=1, imbalance_bar_max_ticks=4)
HALF = replace(SMALL, emit_interval_ns=SECOND // 2, book_levels=3, depth_levels=2, bar_durations=(1,), vpin_buckets=1)
BARE = replace(SMALL, rolling_windows=(), bar_durations=(), volume_bar_size=0.3, dollar_bar_size=100.0)
EVERY = st.sampled_from([SMALL, TINY, HALF, BARE])


@st.composite
def _sorted_books(draw: st.DrawFn, ts: int, palette: Palette) -> Event:
    """Most often a valid book: distinct prices, split into two sides."""
    prices = sorted(draw(st.lists(palette[0], min_size=2, max_size=12, unique=True)))
    split = draw(st.integers(1, len(prices) - 1))
    sizes = draw(st.lists(palette[1], min_size=len(prices), max_size=len(prices)))
    levels = list(zip(prices, sizes, strict=True))
    return Event("book", ts, tuple(levels[:split][::-1]), tuple(levels[split:]))


@st.composite
def _any_books(draw: st.DrawFn, ts: int) -> Event:
    """A book of any levels whatever."""
    levels = st.lists(st.tuples(PRICES | BAD, SIZES | BAD), max_size=4).map(tuple)
    return Event("book", ts, draw(levels), draw(levels))


@st.composite
def _bursts(draw: st.DrawFn, ts: int, palette: Palette) -> list[Event]:
    """Several trades of one ts, every way of giving a side among them."""
    each = draw(st.lists(st.tuples(*palette, SIDES), min_size=1, max_size=7))
    return [Event("trade", ts, price=price, amount=amount, side=side) for price, amount, side in each]


@st.composite
def _tickers(draw: st.DrawFn, ts: int, prices: st.SearchStrategy[float]) -> Event:
    """A ticker of which any fields may be missing, crossed, out of range or no numbers."""
    values = draw(st.lists(prices | prices | BAD, min_size=len(TICKER_FIELDS), max_size=len(TICKER_FIELDS)))
    return Event("ticker", ts, ticker=tuple(values))


@st.composite
def sequences(draw: st.DrawFn, max_size: int = 60) -> list[Event]:
    """Adversarial sequences of one market, in which ts may stand still, leap by years, and run backward."""
    events: list[Event] = []
    ts = draw(STARTS)
    palette = draw(PALETTES)
    for _ in range(draw(st.integers(0, max_size))):
        ts = min(ts + draw(PAUSES), LATEST)
        choice = draw(st.integers(0, 12))
        now = max(0, ts - (SECOND * 3 if draw(st.integers(0, 9)) == 9 else 0))
        if choice <= 4:
            events.append(draw(_sorted_books(now, palette)))
        elif choice == 5:
            events.append(draw(_any_books(now)))
        elif choice <= 8:
            events += draw(_bursts(now, palette))
        elif choice == 9:
            price, amount = draw(st.tuples(PRICES | BAD, SIZES | BAD))
            events.append(Event("trade", now, price=price, amount=amount, side=draw(SIDES)))
        elif choice == 10:
            events.append(draw(_tickers(now, palette[0])))
        else:
            events.append(Event(draw(st.sampled_from(["gap", "heartbeat"])), now))
    return events


@st.composite
def with_geneses(draw: st.DrawFn, max_size: int = 40) -> list[Event]:
    """A sequence that begins with a genesis, or some events before one, and has others in the middle."""
    parts = draw(st.lists(st.tuples(EVERY, sequences(max_size // 2)), min_size=1, max_size=3))
    events: list[Event] = [Event("heartbeat", 0)] if draw(st.booleans()) else []
    for params, part in parts:
        ts = max((event.ts for event in events), default=0)
        events += [Event("genesis", ts, params=params), *part]
    return events


@st.composite
def several_markets(draw: st.DrawFn) -> tuple[list[tuple[str, Event]], dict[str, FeatureConfig]]:
    """Two or three markets in one sequence, each with its own parameters."""
    names = ["a", "b", "c"][: draw(st.integers(2, 3))]
    left = {name: draw(sequences(15)) for name in names}
    turns = draw(st.permutations([name for name in names for _ in left[name]]))
    queues = {name: iter(events) for name, events in left.items()}
    return [(name, next(queues[name])) for name in turns], {name: draw(EVERY) for name in names}
