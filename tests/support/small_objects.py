"""Objects of a few rows as a writer makes them, and what a reader sees of a store that holds them."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common import tables
from daedalus_common.lake import current
from daedalus_common.stores import ObjectStore
from support.compaction import rows_of

_MARKET = "exchange=x/symbol=BTC-USDT/year=2026/month=2/day=3"


def segment(counter: int) -> str:
    return f"bronze/ccxt/trades/{_MARKET}/hour=14/segment_20260203T14_{counter:05d}.parquet"


def part(counter: int, hour: int) -> str:
    return f"silver/trades/{_MARKET}/part_20260203T{hour:02d}_{counter:05d}.parquet"


def put(store: ObjectStore, key: str, first: int, **said: object) -> str:
    """Three rows, numbered from `first`; gives the key."""
    numbers = np.arange(first, first + 3)
    layer = key.partition("/")[0]
    columns = {"stream_ms": numbers, "stream_seq": 0 * numbers, "seq": numbers, "timestamp": numbers}
    columns |= {"generation": (0 * numbers).astype(np.int32)}
    names = columns if layer == "bronze" else ("timestamp", "seq")
    rows = pa.table({name: columns[name] for name in names})
    rows = rows.cast(pa.schema([pa.field(each.name, each.type, nullable=False) for each in rows.schema]))
    keys = np.stack([numbers, 0 * numbers, numbers], axis=1).astype("<i8")
    footer = {
        "exchange": "x", "symbol": "BTC/USDT", "layer": layer, "table": "trades", "schema": "",
        "first_id": f"{first}-0", "last_id": f"{first + 2}-0", "first_seq": first, "last_seq": first + 2, "rows": 3,
        "key_hash": hashlib.sha256(keys.tobytes()).hexdigest(), "tables_version": tables.VERSION,
        "stream": "raw" if layer == "bronze" else "silver", "writer_version": "1", **said,
    }  # fmt: skip
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({f"daedalus.{name}": str(value) for name, value in footer.items()})
    store.create(key, sink.getvalue().to_pybytes(), {})
    return key


def seen(store: ObjectStore) -> list[int]:
    """The first number of each three rows that count; fails where some are there twice, or only in part."""
    counting = current(store, store.list()).objects
    numbers = sorted(number for info in counting for number in rows_of(store, info.key)["seq"].to_pylist())
    firsts = numbers[::3]
    assert numbers == [number for first in firsts for number in range(first, first + 3)]
    assert len(set(firsts)) == len(firsts)
    return firsts
