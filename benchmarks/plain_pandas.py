"""What a quant would write in an afternoon: order-book features of one market in plain pandas.

Most columns of silver/orderbook, without gaps, invalid books, VPIN's buckets or a state to go on from.
"""

from pathlib import Path

import numpy as np
import pandas as pd

_BANDS = ((0, 5), (5, 10), (10, 25), (25, 50), (50, 100))
_WINDOWS = (5, 15, 60, 300, 900)


def orderbook_rows(path: Path) -> pd.DataFrame:
    """One row per second of a Bronze order-book segment, path given."""
    books = pd.read_parquet(path, columns=["ts", "bid_price", "bid_size", "ask_price", "ask_size"])
    sides = {name: pd.DataFrame(np.stack(books[name])) for name in ("bid_price", "bid_size", "ask_price", "ask_size")}
    flow = _order_flow(sides)
    second = books["ts"].dt.floor("1s") + pd.Timedelta(seconds=1)
    last = books.groupby(second).tail(1).index
    rows = _structural({name: side.loc[last].reset_index(drop=True) for name, side in sides.items()})
    rows.index = pd.DatetimeIndex(second.loc[last])
    rows["ofi"] = flow[0].groupby(second).sum()
    rows["mlofi"] = (flow.iloc[:, :10] * np.exp(-0.5 * np.arange(10))).sum(axis=1).groupby(second).sum()
    return _rolling(rows)


def _order_flow(sides: dict[str, pd.DataFrame]) -> pd.DataFrame:
    before = {name: side.shift(1) for name, side in sides.items()}
    bid, ask = sides["bid_price"], sides["ask_price"]
    flow = (bid >= before["bid_price"]) * sides["bid_size"] - (bid <= before["bid_price"]) * before["bid_size"]
    flow -= (ask <= before["ask_price"]) * sides["ask_size"] - (ask >= before["ask_price"]) * before["ask_size"]
    return flow.fillna(0.0)


def _structural(book: dict[str, pd.DataFrame]) -> pd.DataFrame:
    bid, ask, bids, asks = (book[name] for name in ("bid_price", "ask_price", "bid_size", "ask_size"))
    rows = pd.DataFrame({"mid_price": (bid[0] + ask[0]) / 2, "spread": ask[0] - bid[0]})
    mid = rows["mid_price"]
    rows["relative_spread"] = rows["spread"] / mid
    rows["microprice"] = (ask[0] * bids[0] + bid[0] * asks[0]) / (asks[0] + bids[0])
    for levels in (1, 3, 5, 10, bids.shape[1]):
        deep = bids.iloc[:, :levels].sum(axis=1), asks.iloc[:, :levels].sum(axis=1)
        rows[f"imbalance_L{levels}"] = (deep[0] - deep[1]) / (deep[0] + deep[1])
    decay = np.exp(-0.5 * np.arange(bids.shape[1]))
    for side, price, size in (("bid", bid, bids), ("ask", ask, asks)):
        distance = price.sub(mid, axis=0).abs().div(mid, axis=0) * 1e4
        for low, high in _BANDS:
            inside = size.where((distance >= low) & (distance < high), 0.0).sum(axis=1)
            rows[f"{side}_vol_band_{low}_{high}bps"] = inside.where(distance.iloc[:, -1] >= high)
        rows[f"vwap_{side}_5"] = (price * size).iloc[:, :5].sum(axis=1) / size.iloc[:, :5].sum(axis=1)
        rows[f"smart_{side}_depth"] = (size * decay).sum(axis=1)
        depth = size.cumsum(axis=1)
        apart = distance.sub(distance.mean(axis=1), axis=0)
        rows[f"{side}_slope"] = (apart * depth).sum(axis=1) / (apart**2).sum(axis=1)
        rows[f"{side}_concentration"] = (size.div(size.sum(axis=1), axis=0) ** 2).sum(axis=1)
    value = (bid * bids).sum(axis=1) + (ask * asks).sum(axis=1)
    rows["center_of_gravity"] = value / (bids.sum(axis=1) + asks.sum(axis=1))
    levels = {f"{name}_L{level}": side[level] for name, side in book.items() for level in side.columns}
    return pd.concat([rows, pd.DataFrame(levels)], axis=1)


def _rolling(rows: pd.DataFrame) -> pd.DataFrame:
    returns = np.log(rows["mid_price"] / rows["mid_price"].shift(1))
    for seconds in _WINDOWS:
        window = f"{seconds}s"
        rows[f"rv_{window}"] = returns.rolling(window).std()
        rows[f"mean_return_{window}"] = returns.rolling(window).mean()
        rows[f"mean_spread_{window}"] = rows["relative_spread"].rolling(window).mean()
        rows[f"ofi_sum_{window}"] = rows["ofi"].rolling(window).sum()
    change = rows["mid_price"].diff()
    rows["kyle_lambda"] = rows["ofi"].rolling("300s").cov(change) / rows["ofi"].rolling("300s").var()
    rows["spread_rank"] = rows["spread"].rolling("900s").rank(pct=True)
    return rows
