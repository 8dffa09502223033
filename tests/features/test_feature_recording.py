"""Agreement with the slow second implementation on real recordings."""

import gzip
import heapq
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from daedalus_features import FeatureConfig
from features.reference import Event, run
from features.sequences import SECOND, columns, differences, gathered, in_chunks, ticker
from support.recording import files_of

BOOKS, TRADES, LEVELS = 1_100, 4_500, 60

PARAMS = FeatureConfig(
    bar_durations=(10, 60),
    vpin_bucket_size=0.05,
    volume_bar_size=0.5,
    dollar_bar_size=2e4,
    imbalance_bar_ticks=50,
    imbalance_bar_span=200,
)

MIDNIGHT = 1_723_161_600 * SECOND
"""Between 2024-08-08 and 09."""
BEFORE, AFTER, TOP = 50 * SECOND, 20 * SECOND, 25


@pytest.fixture(scope="module")
def deep_recording(shared_data: Path) -> list[Event]:
    """About two minutes of BTC/USDT: books of 60 levels every 0.1 s, and the trades, in order of time."""
    folder = shared_data / "binance_depth1000_2026-02"
    books = pq.read_table(
        folder / "lobdeep_btc_spot_2026-02-16_04.parquet",
        columns=["ts_ms", "bids_px", "bids_qty", "asks_px", "asks_qty"],
    ).slice(0, BOOKS)
    trades = pq.read_table(folder / "trades_btc_spot_2026-02-16_04.parquet", columns=["ts_ms", "price", "qty", "side"])

    def top_levels(name: str) -> list[list[float]]:
        every = books[name].combine_chunks().flatten().to_numpy()
        return every.reshape(len(books), -1)[:, :LEVELS].tolist()

    sides = [
        [tuple(zip(price, size, strict=True)) for price, size in zip(*map(top_levels, names), strict=True)]
        for names in (("bids_px", "bids_qty"), ("asks_px", "asks_qty"))
    ]
    events = [
        Event("book", ts * 1_000_000, bids, asks)
        for ts, bids, asks in zip(books["ts_ms"].to_pylist(), *sides, strict=True)
    ]
    end = events[-1].ts
    for place, trade in enumerate(trades.slice(0, TRADES).to_pylist()):
        side = (1 if trade["side"] == "buy" else -1) if place % 5 else 0
        events.append(Event("trade", trade["ts_ms"] * 1_000_000, price=trade["price"], amount=trade["qty"], side=side))
    return sorted((event for event in events if event.ts <= end), key=lambda event: event.ts)


class Depth:
    """An order book rebuilt from its snapshot and the updates to it."""

    def __init__(self) -> None:
        self.last = -1
        self.early: list[dict[str, Any]] = []
        self.sides: tuple[dict[float, float], dict[float, float]] = ({}, {})

    def start(self, snapshot: dict[str, Any]) -> None:
        self.last = snapshot["lastUpdateId"]
        for side, name in zip(self.sides, ("bids", "asks"), strict=True):
            side.update((float(price), float(size)) for price, size in snapshot[name])
        for update in self.early:
            self.update(update)

    def update(self, update: dict[str, Any]) -> None:
        if self.last < 0:
            self.early.append(update)
        elif update["u"] > self.last:
            for side, name in zip(self.sides, ("b", "a"), strict=True):
                side.update((float(price), float(size)) for price, size in update[name])
                for price in [price for price, size in side.items() if size == 0]:
                    del side[price]

    def event(self, ts: int) -> Event:
        bids, asks = self.sides
        best = heapq.nlargest(TOP, bids), heapq.nsmallest(TOP, asks)
        return Event("book", ts, tuple((p, bids[p]) for p in best[0]), tuple((p, asks[p]) for p in best[1]))


def frames(paths: list[Path]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The local clock and the frame of every line, of the frames that do not build the book those around midnight."""
    for path in paths:
        with gzip.open(path, "rt") as lines:
            for line in lines:
                ts, frame = line.split(" ", 1)
                inside = MIDNIGHT - BEFORE <= int(ts) < MIDNIGHT + AFTER
                if int(ts) >= MIDNIGHT + AFTER:
                    return
                if inside or "@depth" in frame[:60] or "lastUpdateId" in frame[:120]:
                    document = json.loads(frame)
                    yield int(ts), document.get("data", document)


def day_change(shared_data: Path, symbol: str) -> list[Event]:
    """Seventy seconds over midnight: a book at every depth update, trades, and best quotes as tickers."""
    depth, events, last = Depth(), [], math.nan
    for ts, frame in frames(files_of(shared_data, symbol)):
        if "lastUpdateId" in frame:
            depth.start(frame)
        elif frame.get("e") == "depthUpdate":
            depth.update(frame)
            if ts >= MIDNIGHT - BEFORE:
                events.append(depth.event(ts))
        elif frame.get("e") == "trade":
            last, side = float(frame["p"]), (0 if frame["t"] % 5 == 0 else -1 if frame["m"] else 1)
            events.append(Event("trade", ts, price=last, amount=float(frame["q"]), side=side))
        elif "B" in frame:
            bid, bid_size, ask, ask_size = (float(frame[name]) for name in "bBaA")
            events.append(ticker(ts, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size, last=last))
    return events


def check(events: list[Event], params: FeatureConfig, every: int, without: frozenset[str] = frozenset()) -> None:
    """Fails unless every row of every table agrees, and every table but those has rows."""
    whole = columns(events, params)
    expected = run(events, params)
    assert {name for name, rows in expected.tables.items() if not rows} == without
    for name in ("kyle_lambda", "vpin", "spread_regime"):
        assert expected.rows[-1].cells[name] is not None
    assert expected.certain == {}
    assert differences(gathered(in_chunks(whole, range(every, len(whole), every))), expected) == []


@pytest.mark.parametrize("every", [100_000, 37])
def test_all_rows_agree_on_a_recording_of_deep_books(deep_recording, every):
    check(deep_recording, PARAMS, every, frozenset({"ticker"}))


@pytest.mark.parametrize(("symbol", "every"), [("BTC/USDT", 100_000), ("ETH/USDT", 211)])
def test_all_rows_agree_on_a_recording_over_the_change_of_day(shared_data, symbol, every):
    params = replace(PARAMS, volume_bar_size=2.0, imbalance_bar_ticks=20)
    events = day_change(shared_data, symbol)
    assert sum(event.kind == "book" for event in events) > 600
    assert events[0].ts < MIDNIGHT < events[-1].ts
    check(events, params, every)


def test_the_rebuilt_books_have_the_tops_that_the_exchange_quotes(shared_data):
    tops = 0
    events = day_change(shared_data, "BTC/USDT")
    for before, event in pairwise(events):
        if event.kind == "book" and before.kind == "ticker":
            bid, bid_size, ask, ask_size = before.ticker[:4]
            tops += (event.bids[0], event.asks[0]) == ((bid, bid_size), (ask, ask_size))
    assert tops > 200
