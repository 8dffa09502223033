"""Rows as a Parquet object, and the identity by which one object is recognised as another's twin."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common import tables
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression, arrow_schema, parquet_options
from daedalus_common.parquet.stored_rows import Keys, StoredRows
from daedalus_common.tables import Table

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


class Draft:
    """An object in the making. Its rows are encoded group by group while more come: encoded they take a twelfth.

    Thread-safe as far as it is needed: one thread adds while another encodes.
    """

    def __init__(self, table: Table, schema: str, compression: Compression) -> None:
        self._table = table
        self._schema = schema
        self._sink = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(self._sink, arrow_schema(table), **parquet_options(table, compression))
        self._keys: list[Keys] = []
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._encoded_bytes = 0
        self._lock = Lock()

    @property
    def layer(self) -> str:
        return self._table.layer

    @property
    def rows(self) -> int:
        with self._lock:
            return sum(map(len, self._keys))

    @property
    def memory_bytes(self) -> int:
        """What its rows take, encoded or not."""
        with self._lock:
            return self._waiting_bytes + self._encoded_bytes + sum(keys.nbytes for keys in self._keys)

    @property
    def has_row_group(self) -> bool:
        """Enough rows wait to be encoded together."""
        return self._waiting_bytes >= ROW_GROUP_SIZE_BYTES

    def add(self, rows: StoredRows) -> None:
        """The next rows in stream order."""
        with self._lock:
            self._keys.append(rows.keys)
            self._waiting.append(rows.arrow)
            self._waiting_bytes += rows.arrow.nbytes

    def encode(self) -> None:
        """Encodes what waits as one row group."""
        with self._lock:
            waiting, size_bytes = self._waiting, self._waiting_bytes
            self._waiting = []
        if waiting:
            group = pa.concat_tables(waiting)
            self._writer.write_table(group, len(group))
        with self._lock:
            self._waiting_bytes -= size_bytes
            self._encoded_bytes = self._sink.tell()

    def finished(self, market: Market, origin: Mapping[str, str]) -> tuple[memoryview, Identity]:
        """The bytes of the object, and what it is recognised by; once, when all rows are added.

        `origin` says in the footer where the rows come from and who wrote them, such as `stream`, `writer_version`.
        """
        self.encode()
        keys = np.concatenate(self._keys)
        identity = Identity.of(keys)
        self._writer.add_key_value_metadata(
            {
                _PREFIX + name: value
                for name, value in {
                    "exchange": market.exchange,
                    "symbol": market.symbol,
                    "layer": self._table.layer,
                    "table": self._table.name,
                    "schema": self._schema,
                    "first_id": identity.first_id,
                    "last_id": identity.last_id,
                    "first_seq": str(keys[0, 2]),
                    "last_seq": str(keys[-1, 2]),
                    "rows": str(identity.rows),
                    "key_hash": identity.key_hash,
                    "tables_version": str(tables.VERSION),
                    **origin,
                }.items()
            }
        )
        self._writer.close()
        return memoryview(self._sink.getvalue()), identity


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
