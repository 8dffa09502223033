"""A transform: a Gold table of our own, a row for each run of trades in one direction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from daedalus_features import BaseTransform, Channel, Column, FeatureConfig, Rows, Table, register_transform

COLUMNS = (
    Column("direction", "int64", "1", meaning="+1 for a run of buys, -1 for a run of sells."),
    Column("trade_count", "int64", "1", meaning="Number of trades in the run."),
    Column("volume", "float64", "base", meaning="Σ amount of the run's trades."),
    Column("seconds", "float64", "s", meaning="Time from the run's first trade to its last one."),
)


@dataclass(frozen=True)
class Run:
    """The run that goes on: everything that must be remembered from one portion of trades to the next."""

    direction: float = 0.0
    trade_count: float = 0.0
    volume: float = 0.0
    first_ts: int = 0
    last_ts: int = 0


@register_transform
class TradeRuns(BaseTransform):
    """Rows of Silver's trades table to runs. A run is given, at the time of the trade that ends it, when that is read.

    Trades without a direction belong to no run and end none.
    """

    name: ClassVar[str] = "trade_runs"
    input: ClassVar[str] = "trades"
    channel: ClassVar[Channel] = "trades"

    def __init__(self, params: FeatureConfig) -> None:
        super().__init__(params)
        self.table = Table("trade_runs", "gold", COLUMNS)
        self.tables: tuple[Table, ...] = (self.table,)

    def initial(self) -> Run:
        """No run yet: one of no trade."""
        return Run()

    def process(self, rows: Rows, run: Run) -> tuple[tuple[Rows, ...], Run]:
        """The runs that these trades end, and the one that goes on."""
        classified = np.isfinite(rows.column("direction"))
        # The run so far goes in front, as if it were a trade.
        ts = rows.timestamp[classified]
        direction = np.append(run.direction, rows.column("direction")[classified])
        count = np.append(run.trade_count, np.ones(len(ts)))
        amount = np.append(run.volume, rows.column("amount")[classified])
        first_ts, last_ts = np.append(run.first_ts, ts), np.append(run.last_ts, ts)

        starts = np.flatnonzero(np.diff(direction, prepend=np.nan) != 0)
        ends = np.append(starts[1:], len(direction)) - 1
        counts, volumes = np.add.reduceat(count, starts), np.add.reduceat(amount, starts)
        seconds = (last_ts[ends] - first_ts[starts]) / 1e9
        values = np.stack((direction[starts], counts, volumes, seconds), axis=1)

        side, trades, volume, _ = values[-1].tolist()
        going_on = Run(side, trades, volume, int(first_ts[starts[-1]]), int(last_ts[ends[-1]]))
        ended = counts[:-1] > 0
        stamp = last_ts[starts[1:]]
        return (Rows(self.table, stamp[ended], values[:-1][ended]),), going_on
