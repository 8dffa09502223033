"""Made-up but valid events of one market, for tests that need a sequence and not an exchange."""

import numpy as np

from daedalus_common.entries import encode
from daedalus_common.events import Book, Event, Gap, Heartbeat, Trade

START = 1_770_000_000_000_000_000


def market_events(seed: int, count: int, *, rate_per_second: float = 20.0, levels: int = 25) -> list[Event]:
    """`count` events with rising capture times: mostly books on a random walk, trades, some gaps and heartbeats."""
    rng = np.random.default_rng(seed)
    steps = rng.exponential(1e9 / rate_per_second, count)
    steps[rng.random(count) < 0.01] *= 60
    times = START + np.cumsum(steps).astype(np.int64)
    mid = 100.0 + np.cumsum(rng.normal(0, 0.02, count))
    kinds = rng.random(count)
    return [_event(rng, int(times[i]), float(mid[i]), float(kinds[i]), i, levels) for i in range(count)]


def _event(rng: np.random.Generator, ts: int, mid: float, draw: float, number: int, levels: int) -> Event:
    if draw < 0.01:
        return Gap(ts, "orderbook", "resync")
    if draw < 0.05:
        return Heartbeat(ts)
    if draw < 0.30:
        side = ("buy", "sell", None)[int(rng.integers(3))]
        return Trade(ts, ts // 1_000_000, str(number), round(mid, 2), float(rng.exponential(0.3)) + 1e-6, side)
    offsets = 0.01 + 0.01 * np.arange(levels)
    bid_sizes, ask_sizes = rng.exponential(2.0, (2, levels)) + 1e-6
    bids = tuple((float(p), float(q)) for p, q in zip(mid - offsets, bid_sizes, strict=True))
    asks = tuple((float(p), float(q)) for p, q in zip(mid + offsets, ask_sizes, strict=True))
    if draw > 0.98:  # crossed: kept in Bronze, ignored by features
        bids, asks = asks[::-1], bids[::-1]
    return Book(ts, ts // 1_000_000, number, bids, asks)


def payloads(events: list[Event]) -> list[tuple[int, bytes]]:
    """(capture_ts, payload) as the publisher takes them."""
    return [(event.capture_ts, encode(event)) for event in events]
