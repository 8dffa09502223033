"""Rows as a Parquet object, and the identity by which one object is recognised as another's twin."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common import tables
from daedalus_common.markets import Market
from daedalus_writer.arrow_tables import Compression, parquet_options
from daedalus_writer.stored_rows import Keys, StoredRows

ROW_GROUP_SIZE_BYTES = 32 * 1024 * 1024
"""Of columns before encoding: 20,000 books of 50 levels, what a reader on a small machine holds at once."""

_PREFIX = "daedalus."


@dataclass(frozen=True, slots=True)
class Identity:
    """Two objects of one table with the same identity hold the same rows."""

    first_id: str
    last_id: str
    rows: int
    key_hash: str
    """SHA-256 of the rows' (stream_ms, stream_seq, seq) as little-endian int64s."""

    @classmethod
    def of(cls, keys: Keys) -> "Identity":
        first, last = (f"{row[0]}-{row[1]}" for row in (keys[0], keys[-1]))
        return cls(first, last, len(keys), hashlib.sha256(keys.astype("<i8").tobytes()).hexdigest())


def to_parquet(rows: StoredRows, market: Market, stream: str, compression: Compression) -> memoryview:
    """The bytes of the object."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.arrow.schema, **parquet_options(rows.table, compression)) as writer:
        step = _row_group_rows(rows.arrow)
        for start in range(0, len(rows), step):
            # In one piece each: of chunks it takes a sixth longer.
            writer.write_table(rows.arrow.slice(start, step).combine_chunks(), step)
        writer.add_key_value_metadata(_metadata(rows, market, stream))
    return memoryview(sink.getvalue())


def read_identity(file: BinaryIO) -> Identity | None:
    """The identity in the footer of an object; None where it is no object of ours."""
    try:
        metadata = pq.read_metadata(file).metadata or {}
        first_id, last_id, rows, key_hash = (
            metadata[f"{_PREFIX}{name}".encode()].decode() for name in ("first_id", "last_id", "rows", "key_hash")
        )
        return Identity(first_id, last_id, int(rows), key_hash)
    except (pa.ArrowInvalid, KeyError, ValueError):
        return None
    except OSError as error:
        # Arrow's word for a footer it cannot parse; an error of the disk has a number.
        if error.errno is not None:
            raise
        return None


def _metadata(rows: StoredRows, market: Market, stream: str) -> Mapping[str, str]:
    identity = Identity.of(rows.keys)
    values = {
        "exchange": market.exchange,
        "symbol": market.symbol,
        "layer": rows.table.layer,
        "table": rows.table.name,
        "schema": rows.schema,
        "stream": stream,
        "first_id": identity.first_id,
        "last_id": identity.last_id,
        "first_seq": str(rows.keys[0, 2]),
        "last_seq": str(rows.keys[-1, 2]),
        "rows": str(identity.rows),
        "key_hash": identity.key_hash,
        "writer_version": version("daedalus-writer"),
        "tables_version": str(tables.VERSION),
    }
    return {_PREFIX + name: value for name, value in values.items()}


def _row_group_rows(table: pa.Table) -> int:
    size_bytes: int = table.nbytes
    return max(1, ROW_GROUP_SIZE_BYTES * len(table) // max(1, size_bytes))
