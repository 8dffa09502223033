"""What Bronze says Silver and Gold must hold: the pure features over the recorded sequence, in one piece."""

from pathlib import Path

import numpy as np
import polars as pl

from daedalus_features import Books, Events, Genesis, Kind, Rows, Trades, advance

PLACE = ["generation", "stream_ms", "stream_seq", "seq", "ts"]
Matrix = np.ndarray


def bronze(data_dir: Path, table: str, market: str = "*") -> pl.DataFrame:
    """Rows of one Bronze table in stream order; `market` is such as `exchange=binanceus/symbol=BTC-USDT`."""
    return _scan(data_dir / "bronze" / "ccxt" / table, market).sort("generation", "stream_ms", "stream_seq")


def silver(data_dir: Path, table: str, market: str) -> pl.DataFrame:
    return _scan(data_dir / "silver" / table, market).sort("timestamp")


def bars(data_dir: Path, market: str) -> pl.DataFrame:
    return _scan(data_dir / "gold" / "bars" / "*", market).sort("bar_duration_sec", "timestamp")


def _scan(folder: Path, market: str) -> pl.DataFrame:
    files = f"{folder}/{market}/**/*.parquet"
    return pl.scan_parquet(files, hive_partitioning=True, missing_columns="insert").collect()


def expected_rows(data_dir: Path, market: str) -> dict[str, tuple[list[int], Matrix, list[str]]]:
    """Per table: timestamps, values (NaN = null) and column names of every row that the recording gives."""
    found: dict[str, tuple[list[int], Matrix, list[str]]] = {}
    for rows in advance(None, recorded_events(data_dir, market)).rows:
        _append(found, rows)
    return found


def _append(found: dict[str, tuple[list[int], Matrix, list[str]]], rows: Rows) -> None:
    names = [column.name for column in rows.table.columns]
    timestamp, values, _ = found.get(rows.table.name, ([], np.empty((0, len(names))), names))
    found[rows.table.name] = (timestamp + rows.timestamp.tolist(), np.concatenate([values, rows.values]), names)


def recorded_events(data_dir: Path, market: str) -> Events:
    """The market's whole sequence as it lies in Bronze."""
    tables = {}
    for name in ("orderbook", "trades", "ticker", "control"):
        if list((data_dir / "bronze" / "ccxt" / name).glob(f"{market}/**/*.parquet")):
            tables[name] = bronze(data_dir, name, market)
    kinds = {"orderbook": Kind.BOOK, "trades": Kind.TRADE, "ticker": Kind.TICKER}
    control_kinds = {"gap": Kind.GAP, "heartbeat": Kind.HEARTBEAT, "genesis": Kind.GENESIS}
    parts = []
    for name, frame in tables.items():
        if name == "control":
            of_frame = frame["kind"].cast(pl.String).replace_strict(control_kinds, return_dtype=pl.UInt8)
        else:
            of_frame = pl.Series(np.full(frame.height, kinds[name], dtype=np.uint8))
        parts.append(frame.select(*PLACE).with_columns(of_frame.alias("kind"), row=pl.int_range(frame.height)))
    order = pl.concat(parts).sort("generation", "stream_ms", "stream_seq")
    kind = order["kind"].to_numpy()
    row = order["row"].to_numpy()
    books, trades, control = (tables.get(name) for name in ("orderbook", "trades", "control"))
    genesis_at = np.flatnonzero(kind == Kind.GENESIS)
    return Events(
        ts=order["ts"].dt.epoch("ns").to_numpy(),
        kind=kind,
        books=_books(books, np.flatnonzero(kind == Kind.BOOK)),
        trades=_trades(trades, np.flatnonzero(kind == Kind.TRADE)),
        geneses=tuple(
            Genesis(int(at), control["genesis_id"][int(row[at])], control["params"][int(row[at])]) for at in genesis_at
        )
        if control is not None
        else (),
    )


def _books(frame: pl.DataFrame | None, position: Matrix) -> Books:
    if frame is None:
        empty, none = np.empty((0, 0)), np.empty(0, dtype=np.int64)
        return Books(none, empty, empty, empty, empty, none, none)
    return Books(
        position=position,
        bid_price=_padded(frame["bid_price"]),
        bid_size=_padded(frame["bid_size"]),
        ask_price=_padded(frame["ask_price"]),
        ask_size=_padded(frame["ask_size"]),
        bid_levels=frame["bid_price"].list.len().cast(pl.Int64).to_numpy(),
        ask_levels=frame["ask_price"].list.len().cast(pl.Int64).to_numpy(),
    )


def _padded(lists: pl.Series) -> Matrix:
    lengths = lists.list.len().to_numpy()
    padded = np.full((len(lists), int(lengths.max(initial=0))), np.nan)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = lists.explode().drop_nulls().to_numpy()
    return padded


def _trades(frame: pl.DataFrame | None, position: Matrix) -> Trades:
    if frame is None:
        return Trades(position, np.empty(0), np.empty(0), np.empty(0, dtype=np.int8))
    sides = frame["side"].cast(pl.String).replace_strict({"buy": 1, "sell": -1}, default=0, return_dtype=pl.Int8)
    return Trades(position, frame["price"].to_numpy(), frame["amount"].to_numpy(), sides.fill_null(0).to_numpy())


def assert_silver_and_gold_follow_from_bronze(data_dir: Path, market: str) -> int:
    """Fails where a Silver or Gold row is missing, double or different; returns the number of Silver rows."""
    expected = expected_rows(data_dir, market)
    orderbook = silver(data_dir, "orderbook", market)
    _assert_equal(orderbook, *expected["orderbook"])
    if "bars" in expected:
        timestamp, values, names = expected["bars"]
        order = np.lexsort((np.array(timestamp), values[:, names.index("bar_duration_sec")]))
        _assert_equal(bars(data_dir, market), [timestamp[i] for i in order], values[order], names)
    return orderbook.height


def _assert_equal(stored: pl.DataFrame, timestamp: list[int], values: Matrix, names: list[str]) -> None:
    assert stored["timestamp"].dt.epoch("ns").to_list() == timestamp
    for place, name in enumerate(names):
        column = stored[name]
        if column.dtype in (pl.Categorical, pl.Enum, pl.String):
            assert column.is_null().to_numpy().tolist() == np.isnan(values[:, place]).tolist(), name
            continue
        found = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        np.testing.assert_allclose(found, values[:, place], rtol=1e-9, atol=1e-9, err_msg=name)
