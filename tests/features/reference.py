"""The catalogue a second time: slow, in plain Python, one event after the other, every window from scratch.

Written from the definitions and sharing no code with the package. Each number carries `scale`, the sum of the absolute
values of the terms that its formula adds and subtracts, carried through products and quotients: the room in which two
correct implementations may differ by cancellation.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from features.reference_bars import bars_of
from features.reference_numbers import Cell, Number, Row, exact, minus, over, total, total_of

EPSILON = 2.0**-30
BANDS = ((0, 5), (5, 10), (10, 25), (25, 50), (50, 100))
REGIMES = ("tight", "normal", "wide")


class Event(NamedTuple):
    """One event: `kind` is book, trade, ticker, gap, heartbeat or genesis; levels are (price, size), best first."""

    kind: str
    ts: int
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()
    price: float = math.nan
    amount: float = math.nan
    side: int = 0


@dataclass
class Output:
    rows: list[Row] = field(default_factory=list)
    bars: list[Row] = field(default_factory=list)
    invalid: dict[str, int] = field(default_factory=dict)


def usable(number: float) -> bool:
    return math.isfinite(number) and 1e-15 <= number <= 1e15


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


class Pour:
    """VPIN's buckets by exact arithmetic, one bucket after the other."""

    def __init__(self, size: float) -> None:
        self.size = Fraction(size)
        self.full = Fraction((1 - EPSILON) * size)
        self.fill = Fraction(0)
        self.imbalance = Fraction(0)
        self.closed: list[float] = []

    def trade(self, amount: float, side: int, keep: int) -> None:
        rest = Fraction(amount)
        buckets = rest // self.size
        if buckets > keep + 2:  # all the buckets that anybody will look at are filled by this trade alone
            self.closed += [1.0] * (keep + 2)
            rest = self.fill + rest - buckets * self.size
            self.fill = self.imbalance = Fraction(0)
        while rest > 0:
            part = min(rest, self.size - self.fill)
            self.fill += part
            self.imbalance += side * part
            rest -= part
            if self.fill >= self.full:
                self.closed.append(float(abs(self.imbalance) / self.size))
                self.fill = self.imbalance = Fraction(0)


@dataclass
class Past:
    """A row that was emitted, as later rows look back on it."""

    timestamp: int
    mid: float
    gap: bool
    spread: float
    relative_spread: float
    ofi: Number
    flow: Number
    volume: float
    change: float | None
    log_return: float | None
    velocity: Cell


class Market:
    """One market from its genesis on."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self.output = Output()
        self.ts = 0
        self.position = 0
        self.gaps: list[int] = []
        self.interval: int | None = None
        self.sampled: Book | None = None
        self.sampled_at = -1
        self.previous_sampled_at = -1
        self.predecessor: Book | None = None
        self.snapshots = 0
        self.updates: list[list[list[float]]] = []
        self.trades: list[tuple[float, float, int]] = []
        self.trade_before: tuple[float, int] | None = None
        self.pour = Pour(params.vpin_bucket_size)
        self.past: list[Past] = []

    def read(self, event: Event) -> None:
        self.ts = max(self.ts, event.ts)
        step = self.params.emit_interval_ns
        if self.interval is not None and self.ts >= (self.interval + 1) * step:
            self._emit((self.interval + 1) * step)
            self.interval = None
        self.position += 1
        if event.kind == "gap":
            self.gaps.append(self.position)
            self.predecessor = None
            self.trade_before = None
        elif event.kind == "book":
            self._book(event)
        elif event.kind == "trade":
            self._trade(event)

    def _count(self, reason: str) -> None:
        self.output.invalid[reason] = self.output.invalid.get(reason, 0) + 1

    def _book(self, event: Event) -> None:
        bids, asks = (list(side[: self.params.book_levels]) for side in (event.bids, event.asks))
        reason = fault(bids, asks)
        if reason is not None:
            self._count(reason)
            return
        book = Book(bids, asks, self.params.depth_levels)
        if self.predecessor is not None:
            self.updates.append([increment(self.predecessor, book, level) for level in range(10)])
        self.predecessor = self.sampled = book
        self.sampled_at = self.position
        self.interval = self.ts // self.params.emit_interval_ns
        self.snapshots += 1

    def _trade(self, event: Event) -> None:
        if not (usable(event.price) and usable(event.amount)):
            self._count("trade")
            return
        side = event.side
        if side == 0 and self.trade_before is not None:
            price, known = self.trade_before
            side = known if event.price == price else (1 if event.price > price else -1)
        self.trade_before = event.price, side
        self.trades.append((event.price, event.amount, side))
        if side:
            self.pour.trade(event.amount, side, self.params.vpin_buckets)

    def _emit(self, timestamp: int) -> None:
        book = self.sampled
        assert book is not None
        gap = any(self.previous_sampled_at < at < self.sampled_at for at in self.gaps)
        cells: dict[str, Cell] = {"gap": exact(float(gap)), "snapshot_count": exact(self.snapshots)}
        cells |= structural(book, self.params)
        cells |= self._flow(timestamp, book, gap)
        cells |= self._windows(timestamp)
        self.output.rows.append(Row(timestamp, cells))
        self.previous_sampled_at = self.sampled_at
        self.snapshots = 0
        self.updates = []
        self.trades = []

    def _flow(self, timestamp: int, book: Book, gap: bool) -> dict[str, Cell]:
        decay = self.params.ofi_decay_alpha
        ofi = total([term for update in self.updates for term in update[0]])
        weighted = [
            math.exp(-decay * level) * term
            for update in self.updates
            for level, terms in enumerate(update)
            for term in terms
        ]
        buys = total([amount for _, amount, side in self.trades if side > 0])
        sells = total([amount for _, amount, side in self.trades if side < 0])
        flow = total([side * amount for _, amount, side in self.trades])
        classified = buys.value + sells.value
        change = log_return = velocity = acceleration = None
        if self.past and not gap:
            before = self.past[-1]
            change, log_return = book.mid - before.mid, math.log(book.mid / before.mid)
            seconds = exact((timestamp - before.timestamp) / 1e9)
            velocity = over(exact(change), seconds)
            acceleration = over(minus(velocity, before.velocity), seconds)
        self.past.append(
            Past(
                timestamp, book.mid, gap, book.spread, book.relative_spread, ofi, flow, classified,
                change, log_return, velocity,
            )
        )  # fmt: skip
        wanted = self.params.vpin_buckets
        toxicity = total(self.pour.closed[-wanted:]) if len(self.pour.closed) >= wanted else None
        return {
            "ofi": ofi,
            "mlofi": total(weighted),
            "tfi": flow,
            "buy_volume": buys,
            "sell_volume": sells,
            "tfi_norm": over(flow, exact(classified)),
            "trade_vwap": over(
                total([price * amount for price, amount, _ in self.trades]),
                total([amount for _, amount, _ in self.trades]),
            ),
            "trade_count": exact(len(self.trades)),
            "vpin": over(toxicity, exact(wanted)),
            "mid_velocity": velocity,
            "mid_acceleration": acceleration,
        }

    def _within(self, timestamp: int, seconds: int) -> list[Past]:
        return [row for row in self.past if row.timestamp > timestamp - seconds * 1_000_000_000]

    def _windows(self, timestamp: int) -> dict[str, Cell]:
        cells: dict[str, Cell] = {}
        for seconds in self.params.rolling_windows:
            rows = self._within(timestamp, seconds)
            returns = [row.log_return for row in rows if row.log_return is not None]
            mean = total(returns)
            count = len(returns)
            cells[f"mean_return_{seconds}s"] = over(mean, exact(count))
            cells[f"rv_{seconds}s"] = deviation(returns)
            cells[f"mean_spread_{seconds}s"] = over(total([row.relative_spread for row in rows]), exact(len(rows)))
            cells[f"ofi_sum_{seconds}s"] = total_of([row.ofi for row in rows])
        cells["kyle_lambda"] = kyle(self._within(timestamp, self.params.kyle_window))
        cells["spread_regime"] = regime([row.spread for row in self._within(timestamp, self.params.regime_window)])
        return cells


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


def deviation(returns: list[float]) -> Cell:
    if len(returns) < 2:
        return None
    mean = math.fsum(returns) / len(returns)
    squares = math.fsum((value - mean) ** 2 for value in returns)
    room = math.fsum((abs(value) + abs(mean)) ** 2 for value in returns)
    return Number(math.sqrt(squares / (len(returns) - 1)), math.sqrt(room / (len(returns) - 1)))


def regression(x: list[float], y: list[float], room_x: list[float]) -> Number:
    """OLS slope of y on x with intercept, exactly; `room_x` is the scale of each x."""
    count = len(x)
    xs, ys = [Fraction(value) for value in x], [Fraction(value) for value in y]
    mean_x, mean_y = sum(xs) / count, sum(ys) / count
    covariance = float(sum((a - mean_x) * (b - mean_y) for a, b in zip(xs, ys, strict=True)))
    variance = float(sum((a - mean_x) ** 2 for a in xs))
    scale_x = [max(abs(a), room) + abs(float(mean_x)) for a, room in zip(x, room_x, strict=True)]
    room = math.fsum(a * (abs(b) + abs(float(mean_y))) for a, b in zip(scale_x, y, strict=True))
    slope = covariance / variance
    return Number(slope, room / variance + abs(slope) * math.fsum(a * a for a in scale_x) / variance)


def kyle(rows: list[Past]) -> Cell:
    pairs = [(row.flow, row.change, row.volume) for row in rows if row.change is not None]
    if len(pairs) < 10:
        return None
    flows = [flow.value for flow, _, _ in pairs]
    if max(flows) - min(flows) <= EPSILON * max(volume for _, _, volume in pairs):
        return None
    return regression(flows, [change for _, change, _ in pairs], [flow.scale for flow, _, _ in pairs])


def regime(spreads: list[float]) -> Cell:
    if len(spreads) < 30:
        return None
    bracket = (1 - 1e-6) * spreads[-1]
    share = sum(spread < bracket for spread in spreads) / len(spreads)
    name = "tight" if share < 0.25 else "wide" if share >= 0.75 else "normal"
    return exact(REGIMES.index(name))


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


def run(events: list[Event], params: Any) -> Output:
    """The rows and bars of a market whose genesis lies before the first event."""
    market = Market(params)
    for event in events:
        market.read(event)
    output = market.output
    if output.rows:
        output.bars = bars_of(output.rows, params.bar_durations)
    return output
