"""Trades on the emission grid: what they add to each row, and what they leave to the next."""

from dataclasses import dataclass

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray, sum_by
from daedalus_features.config import FeatureConfig
from daedalus_features.events import Events, Trades
from daedalus_features.trade_classes import Classes, prices_before, trade_classes
from daedalus_features.volume_buckets import OpenBucket, fill_buckets

_SUMS = 5
"""Sums per row, in the order of `TradeFlow`: bought, sold and all base units, price times amount, count."""


@dataclass(frozen=True, slots=True)
class TradeState:
    """What trades before leave behind: sums since the previous row, the last trade, VPIN's buckets.

    `price` is NaN when no trade is the next one's predecessor; `buckets` are the imbalances of the last full ones.
    """

    sums: FloatArray
    price: float
    side: int
    bucket: OpenBucket
    buckets: FloatArray

    @staticmethod
    def initial() -> "TradeState":
        """Before the first trade."""
        return TradeState(np.zeros(_SUMS), np.nan, 0, OpenBucket(0.0, 0.0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class TradeSums:
    """`sums` (5, r) over the trades of each row; `imbalances` of full buckets, of which a row knows `buckets_known`."""

    sums: FloatArray
    imbalances: FloatArray
    buckets_known: IntArray


def sum_trades(
    events: Events, gaps: IntArray, rows: IntArray, params: FeatureConfig, before: TradeState
) -> tuple[TradeSums, TradeState]:
    """What the trades give the rows of the intervals `rows` (r,), and the state after them."""
    trades = events.trades
    last_gap = int(gaps[-1]) if len(gaps) else -1
    if not len(trades):
        sums = np.zeros((_SUMS, len(rows) + 1))
        sums[:, 0] = before.sums
        known = np.full(len(rows), len(before.buckets))
        price, side = (before.price, before.side) if last_gap < 0 else (np.nan, 0)
        after = TradeState(sums[:, -1].copy(), price, side, before.bucket, before.buckets)
        return TradeSums(sums[:, :-1], before.buckets, known), after
    classes = trade_classes(trades, prices_before(trades, gaps, before.price), before.side)
    interval = events.ts[trades.position] // params.emit_interval_ns
    sums = _row_sums(trades, classes, rows.searchsorted(interval), len(rows))
    sums[:, 0] += before.sums
    classified = classes.nonzero()[0]
    pairs = zip(trades.amount[classified].tolist(), classes[classified].tolist(), strict=True)
    filling = fill_buckets(before.bucket, pairs, params.vpin_bucket_size, params.vpin_buckets)
    imbalances = np.concatenate((before.buckets, filling.imbalances))
    known = len(before.buckets) + interval[classified[filling.trade]].searchsorted(rows, side="right")
    followed = last_gap < int(trades.position[-1])
    after = TradeState(
        sums[:, -1].copy(),
        float(trades.price[-1]) if followed else np.nan,
        int(classes[-1]) if followed else 0,
        filling.open,
        imbalances[-params.vpin_buckets :].copy(),
    )
    return TradeSums(sums[:, :-1], imbalances, known), after


def _row_sums(trades: Trades, classes: Classes, row: IntArray, rows: int) -> FloatArray:
    """Sums per row, (5, rows + 1), the last of the trades that belong to no row yet."""
    amount = trades.amount
    sums = np.empty((_SUMS, rows + 1))
    sums[0] = sum_by(row, np.where(classes > 0, amount, 0.0), rows + 1)
    sums[1] = sum_by(row, np.where(classes < 0, amount, 0.0), rows + 1)
    sums[2] = sum_by(row, amount, rows + 1)
    sums[3] = sum_by(row, trades.price * amount, rows + 1)
    sums[4] = np.bincount(row, minlength=rows + 1)
    return sums
