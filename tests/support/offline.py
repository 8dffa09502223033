"""What Bronze says Silver and Gold must hold: the pure features over the recorded sequence, in one piece."""

from pathlib import Path

import numpy as np
import polars as pl

from daedalus_features import Books, Column, Events, Genesis, Kind, Rows, Table, Tickers, Trades, advance

PLACE = ["generation", "stream_ms", "stream_seq", "seq", "ts"]
Matrix = np.ndarray


def bronze(data_dir: Path, table: str, market: str = "*") -> pl.DataFrame:
    """Rows of one Bronze table in stream order; `market` is such as `exchange=binanceus/symbol=BTC-USDT`."""
    return _scan(data_dir / "bronze" / "ccxt" / table, market).sort("generation", "stream_ms", "stream_seq")


def silver(data_dir: Path, table: str, market: str) -> pl.DataFrame:
    """Rows of one Silver table in their order, without the numbers that say it: they also count the other tables'."""
    return _scan(data_dir / "silver" / table, market).sort("seq").drop("seq")


def bars(data_dir: Path, market: str) -> pl.DataFrame:
    """The order-book bars, by duration."""
    return _scan(data_dir / "gold" / "bars" / "*", market).sort("bar_duration_sec", "seq").drop("seq")


def _scan(folder: Path, market: str) -> pl.DataFrame:
    files = f"{folder}/{market}/**/*.parquet"
    return pl.scan_parquet(files, hive_partitioning=True, missing_columns="insert").collect()


def stored_tables(data_dir: Path, market: str) -> dict[str, pl.DataFrame]:
    """Every Silver and Gold table of a market by its name, such as `gold/tick_bars`, in the order of its rows."""
    found: dict[str, list[Path]] = {}
    for layer in ("silver", "gold"):
        for path in (data_dir / layer).glob(f"**/{market}/**/*.parquet"):
            found.setdefault("/".join(path.relative_to(data_dir).parts[:2]), []).append(path)
    return {
        table: pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths], how="diagonal").sort("seq")
        for table, paths in found.items()
    }


def expected_rows(data_dir: Path, market: str) -> dict[str, Rows]:
    """By the table's name, such as `gold/tick_bars`: every row that the recording gives, in order."""
    found: dict[str, Rows] = {}
    for rows in advance(None, recorded_events(data_dir, market)).rows:
        name = f"{rows.table.layer}/{rows.table.name}"
        found[name] = _joined(found[name], rows) if name in found else rows
    return {name: rows for name, rows in found.items() if len(rows)}


def _joined(left: Rows, right: Rows) -> Rows:
    """Both, with the columns of either: another genesis may have given others."""
    columns = dict.fromkeys((*left.table.columns, *right.table.columns))
    table = Table(left.table.name, left.table.layer, tuple(columns))
    values = np.full((len(left) + len(right), len(columns)), np.nan)
    for rows, begin in ((left, 0), (right, len(left))):
        places = [table.index[column.name] for column in rows.table.columns]
        values[begin : begin + len(rows), places] = rows.values
    return Rows(table, np.concatenate([left.timestamp, right.timestamp]), values)


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
    books, trades, tickers, control = (tables.get(name) for name in ("orderbook", "trades", "ticker", "control"))
    genesis_at = np.flatnonzero(kind == Kind.GENESIS)
    return Events(
        ts=order["ts"].dt.epoch("ns").to_numpy(),
        kind=kind,
        books=_books(books, np.flatnonzero(kind == Kind.BOOK)),
        trades=_trades(trades, np.flatnonzero(kind == Kind.TRADE)),
        tickers=_tickers(tickers, np.flatnonzero(kind == Kind.TICKER)),
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


def _tickers(frame: pl.DataFrame | None, position: Matrix) -> Tickers:
    if frame is None:
        return Tickers.empty()
    return Tickers(position, np.stack([frame[name].fill_null(np.nan).to_numpy() for name in Tickers.FIELDS]))


def assert_silver_and_gold_follow_from_bronze(data_dir: Path, market: str) -> dict[str, int]:
    """Fails where a row of any Silver or Gold table is missing, double or different; the rows of each table."""
    expected = expected_rows(data_dir, market)
    stored = stored_tables(data_dir, market)
    assert sorted(stored) == sorted(expected)
    for name, rows in expected.items():
        _assert_equal(name, stored[name], rows)
    return {name: frame.height for name, frame in stored.items()}


def _assert_equal(table: str, stored: pl.DataFrame, expected: Rows) -> None:
    assert stored["timestamp"].dt.epoch("ns").to_list() == expected.timestamp.tolist(), table
    assert set(stored.columns) == {"timestamp", "seq", *expected.table.index}, table
    for column in expected.table.columns:
        found = _codes(stored[column.name], column)
        np.testing.assert_allclose(
            found, expected.column(column.name), rtol=1e-9, atol=1e-9, err_msg=f"{table} {column.name}"
        )


def _codes(stored: pl.Series, column: Column) -> Matrix:
    """A column's values as the features give them: NaN for null, a label by its place."""
    if column.dtype == "category":
        codes = {label: float(place) for place, label in enumerate(column.labels)}
        stored = stored.cast(pl.String).replace_strict(codes, return_dtype=pl.Float64)
    values: Matrix = stored.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values
