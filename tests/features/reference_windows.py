"""Windows of the second implementation, each from scratch over the rows it holds."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from features.reference_numbers import EPSILON, Cell, Number, exact, over, total, total_of

REGIMES = ("tight", "normal", "wide")


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


def within(past: list[Past], timestamp: int, seconds: int) -> list[Past]:
    return [row for row in past if row.timestamp > timestamp - seconds * 1_000_000_000]


def windows(past: list[Past], timestamp: int, params: Any) -> dict[str, Cell]:
    """All columns of the row at `timestamp`, the last of `past`, that look back over rows."""
    cells: dict[str, Cell] = {}
    for seconds in params.rolling_windows:
        rows = within(past, timestamp, seconds)
        returns = [row.log_return for row in rows if row.log_return is not None]
        cells[f"mean_return_{seconds}s"] = over(total(returns), exact(len(returns)))
        cells[f"rv_{seconds}s"] = deviation(returns)
        cells[f"mean_spread_{seconds}s"] = over(total([row.relative_spread for row in rows]), exact(len(rows)))
        cells[f"ofi_sum_{seconds}s"] = total_of([row.ofi for row in rows])
    cells["kyle_lambda"] = kyle(within(past, timestamp, params.kyle_window))
    cells["spread_regime"] = regime([row.spread for row in within(past, timestamp, params.regime_window)])
    return cells


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
