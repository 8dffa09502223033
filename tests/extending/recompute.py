"""Computes the same events in one piece and in many, with the extensions that are installed.

The rows of both go to standard output as JSON, by table: {"one": {...}, "many": {...}}.
"""

import json
import random
import sys
from importlib.metadata import entry_points

import numpy as np
from portions import rows_in_portions

from daedalus_features import EXTENSIONS_GROUP, Books, Events, FeatureConfig, Genesis, Kind, Trades, load_extensions

SECOND = 1_000_000_000


def made_up_events(count: int) -> Events:
    """A genesis, then books of three levels and trades, about 20 a second."""
    rng = np.random.default_rng(1)
    ts = 1_770_000_000 * SECOND + np.cumsum(rng.integers(0, SECOND // 10, count))
    kind = np.where(rng.random(count) < 0.5, Kind.BOOK, Kind.TRADE).astype(np.uint8)
    kind[0] = Kind.GENESIS
    books, trades = np.flatnonzero(kind == Kind.BOOK), np.flatnonzero(kind == Kind.TRADE)
    levels = np.arange(3)
    size = rng.uniform(0.5, 2.0, (2, len(books), 3))
    full = np.full(len(books), 3)
    params = FeatureConfig(depth_levels=2)
    return Events(
        ts=ts,
        kind=kind,
        books=Books(
            books, np.tile(100.0 - levels, (len(books), 1)), size[0], np.tile(101.0 + levels, (len(books), 1)), size[1],
            full, full,
        ),
        trades=Trades(
            trades,
            rng.choice([99.5, 100.5, 101.5], len(trades)),
            rng.uniform(0.1, 1.0, len(trades)),
            rng.choice([-1, 0, 1], len(trades)).astype(np.int8),
        ),
        geneses=(Genesis(0, "made-up", params.to_json()),),
    )  # fmt: skip


if __name__ == "__main__":
    load_extensions(entry_points(group=EXTENSIONS_GROUP))
    events = made_up_events(2000)
    cuts = sorted(random.Random(2).sample(range(1, len(events)), 400))
    sys.stdout.write(json.dumps({"one": rows_in_portions(events, []), "many": rows_in_portions(events, cuts)}))
