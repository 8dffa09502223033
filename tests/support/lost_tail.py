"""A Valkey server that comes back with an earlier state, as after a power cut or the promotion of a stale replica."""

from pathlib import Path

import numpy as np
import polars as pl
import redis

from support.offline import bronze, expected_rows, stored_tables
from support.valkey import ValkeyServer


def written_length(server: ValkeyServer) -> int:
    """Bytes of the append-only file now, with all that a reply has confirmed.

    The server puts off writing while a sync is under way, so one is waited for, of a write by the same connection.
    """
    with redis.Redis.from_url(server.url) as client:
        client.set("probe", "")
        assert client.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
    return _appended(server).stat().st_size


def cut_back(server: ValkeyServer, length: int) -> None:
    """Ends the server as a crash would, loses what it wrote after `length` bytes, and starts it again."""
    server.kill()
    with _appended(server).open("r+b") as file:
        file.truncate(length)
    server.start()


def _appended(server: ValkeyServer) -> Path:
    [path] = (server.folder / "appendonlydir").glob("*.incr.aof")
    return path


def geneses(folder: Path, market: str) -> pl.DataFrame:
    """The genesis events in Bronze, in order."""
    return bronze(folder, "control", market).filter(pl.col("kind") == "genesis")


def check_features(folder: Path, market: str, since: int) -> dict[str, int]:
    """Fails where a row of Silver or Gold is double, or after the time `since` is not what Bronze gives; the rows of
    each table after it."""
    stored, expected = stored_tables(folder, market), expected_rows(folder, market)
    after = {}
    for name, rows in stored.items():
        key = ["timestamp", "seq"] + (["bar_duration_sec"] if "bar_duration_sec" in rows.columns else [])
        assert rows.select(key).is_unique().all(), name
        assert rows["timestamp"].is_sorted(), name
        times = rows["timestamp"].dt.epoch("ns").to_numpy()
        if name == "silver/orderbook":
            assert len(np.unique(times)) == len(times)
        of_batch = expected[name].timestamp[expected[name].timestamp > since]
        assert times[times > since].tolist() == of_batch.tolist(), name
        for column in ("mid_price", "close"):
            if column in rows.columns:
                found = rows.filter(pl.Series(times > since))[column].to_numpy()
                wanted = expected[name].column(column)[expected[name].timestamp > since]
                np.testing.assert_allclose(found, wanted, rtol=1e-9)
        after[name] = len(of_batch)
    return after
