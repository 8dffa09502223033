"""Order books of the second implementation: validity, order flow between two of them, and what one book shows."""

import math
from typing import Any

from features.reference_numbers import Cell, Number, exact, minus, over, total, usable
from features.reference_windows import regression

BANDS = ((0, 5), (5, 10), (10, 25), (25, 50), (50, 100))


def fault(bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> str | None:
    """The first reason for which a book is invalid."""
    numbers = [number for level in (*bids, *asks) for number in level]
    if not bids or not asks:
        return "empty"
    if not all(math.isfinite(number) for number in numbers):
        return "non_finite"
    if not all(usable(number) for number in numbers):
        return "out_of_range"
    for i in range(1, len(bids)):
        if bids[i][0] >= bids[i - 1][0]:
            return "unsorted"
    for i in range(1, len(asks)):
        if asks[i][0] <= asks[i - 1][0]:
            return "unsorted"
    return "crossed" if bids[0][0] >= asks[0][0] else None


class Book:
    """A valid book: recorded levels, and of them the used ones."""

    def __init__(self, bids: list[tuple[float, float]], asks: list[tuple[float, float]], used: int) -> None:
        self.recorded = bids, asks
        self.bids, self.asks = bids[:used], asks[:used]
        b, a = bids[0][0], asks[0][0]
        self.mid = (b + a) / 2
        self.spread = a - b
        self.relative_spread = self.spread / self.mid

    def distance(self, price: float) -> float:
        return (1e4 * abs(price - self.mid)) / self.mid


def increment(before: Book, now: Book, level: int) -> list[float]:
    """The terms of e at one level."""
    terms = []
    if level < min(len(before.bids), len(now.bids)):
        (old_price, old_size), (price, size) = before.bids[level], now.bids[level]
        if price >= old_price:
            terms.append(size)
        if price <= old_price:
            terms.append(-old_size)
    if level < min(len(before.asks), len(now.asks)):
        (old_price, old_size), (price, size) = before.asks[level], now.asks[level]
        if price <= old_price:
            terms.append(-size)
        if price >= old_price:
            terms.append(old_size)
    return terms


def balance(bids: Number, asks: Number) -> Cell:
    return over(minus(bids, asks), exact(bids.value + asks.value))


def structural(book: Book, params: Any) -> dict[str, Cell]:
    (b, big_b), (a, big_a) = book.bids[0], book.asks[0]
    sides = {"bid": book.bids, "ask": book.asks}
    sizes = {side: [size for _, size in levels] for side, levels in sides.items()}
    cells: dict[str, Cell] = {
        "mid_price": exact(book.mid),
        "spread": exact(book.spread),
        "relative_spread": exact(book.relative_spread),
        "microprice": over(total([a * big_b, b * big_a]), exact(big_a + big_b)),
        "total_imbalance": balance(total(sizes["bid"]), total(sizes["ask"])),
    }
    for count in (1, 3, 5, 10):
        cells[f"imbalance_L{count}"] = balance(total(sizes["bid"][:count]), total(sizes["ask"][:count]))
    vwap, smart = {}, {}
    for side, levels in sides.items():
        for i in range(params.depth_levels):
            cells[f"{side}_price_L{i}"] = exact(levels[i][0]) if i < len(levels) else None
            cells[f"{side}_size_L{i}"] = exact(levels[i][1]) if i < len(levels) else None
        recorded = book.recorded[side == "ask"]
        distances = [book.distance(price) for price, _ in recorded]
        for low, high in BANDS:
            inside = [size for d, (_, size) in zip(distances, recorded, strict=True) if low <= d < high]
            cells[f"{side}_vol_band_{low}_{high}bps"] = None if distances[-1] < high else total(inside)
        vwap[side] = over(total([p * q for p, q in levels[:5]]), total(sizes[side][:5]))
        smart[side] = total([q * math.exp(-params.smart_depth_decay * i) for i, q in enumerate(sizes[side])])
        cells[f"vwap_{side}_5"] = vwap[side]
        cells[f"smart_{side}_depth"] = smart[side]
        used = distances[: len(levels)]
        cumulative = [math.fsum(sizes[side][: i + 1]) for i in range(len(levels))]
        flat = len(used) < 2 or len(set(used)) == 1
        cells[f"{side}_slope"] = None if flat else regression(used, cumulative, used)
        whole = math.fsum(sizes[side])
        cells[f"{side}_concentration"] = total([(q / whole) ** 2 for q in sizes[side]])
    spread = minus(vwap["ask"], vwap["bid"])
    every = (*book.bids, *book.asks)
    near = (*book.bids[:5], *book.asks[:5])
    gravity = over(total([p * q for p, q in every]), total([q for _, q in every]))
    cells |= {
        "vwap_spread": spread,
        "smart_depth_imbalance": balance(smart["bid"], smart["ask"]),
        "center_of_gravity": gravity,
        "cog_vs_mid": over(minus(gravity, exact(book.mid)), exact(book.mid)),
        "lambda_like": over(spread, total([q for _, q in near])),
        "amihud_like": over(exact(book.relative_spread), total([p * q for p, q in near])),
    }
    return cells
