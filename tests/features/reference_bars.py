"""Time bars of the second implementation, from all rows at once."""

import math

from features.reference_numbers import Cell, Number, Row, exact, over, total, total_of


def bars_of(rows: list[Row], durations: tuple[int, ...]) -> list[Row]:
    """The time bars that rows complete, in order of stamp and duration."""
    bars = []
    for order, duration in enumerate(durations):
        step = duration * 1_000_000_000
        groups: dict[int, list[tuple[Row, Row | None]]] = {}
        for before, row in zip([None, *rows], rows, strict=False):
            groups.setdefault(-(-row.timestamp // step) * step, []).append((row, before))
        for stamp, group in groups.items():
            if rows[-1].timestamp >= stamp:
                bars.append((stamp, order, Row(stamp, bar_cells(group, duration))))
    return [bar for _, _, bar in sorted(bars, key=lambda item: item[:2])]


def known(row: Row, name: str) -> Number:
    """A cell that is never null."""
    cell = row.cells[name]
    assert cell is not None
    return cell


def bar_cells(group: list[tuple[Row, Row | None]], duration: int) -> dict[str, Cell]:
    def column(name: str) -> list[Number]:
        return [known(row, name) for row, _ in group]

    def mean(name: str) -> Cell:
        return over(total_of(column(name)), exact(len(group)))

    mids = [number.value for number in column("mid_price")]
    squares = [
        math.log(known(row, "mid_price").value / known(before, "mid_price").value) ** 2
        for row, before in group
        if before is not None and not known(row, "gap").value
    ]
    variance = total(squares) if squares else None
    return {
        "open": exact(mids[0]),
        "high": exact(max(mids)),
        "low": exact(min(mids)),
        "close": exact(mids[-1]),
        "mean_spread": mean("spread"),
        "mean_relative_spread": mean("relative_spread"),
        "mean_l1_imbalance": mean("imbalance_L1"),
        "mean_total_imbalance": mean("total_imbalance"),
        "sum_ofi": total_of(column("ofi")),
        "sum_mlofi": total_of(column("mlofi")),
        "realized_variance": variance,
        "daily_vol_ann": None if variance is None else exact(math.sqrt(variance.value * (86400 / duration) * 365)),
        "snapshot_count": total_of(column("snapshot_count")),
        "row_count": exact(len(group)),
        "bar_duration_sec": exact(duration),
    }
