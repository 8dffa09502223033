"""What the footer of an object says, as far as merging needs it."""

import hashlib
from dataclasses import dataclass
from sys import intern
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common import tables
from daedalus_common.markets import Market
from daedalus_common.parquet.covers import Covers, read_covers

PREFIX = "daedalus."


@dataclass(frozen=True, slots=True)
class Facts:
    """An object that was written as it says."""

    market: Market
    layer: str
    table: str
    schema: str
    stream: str
    """Empty for what no writer has written."""
    columns: str
    """The same for objects with the same columns."""
    tables_version: str
    first_id: str
    last_id: str
    first_seq: int
    last_seq: int
    rows: int
    key_hash: str
    writer_version: str
    is_live: bool
    covers: Covers
    merged_rows: tuple[int, ...]
    """How many rows each object had that these were written in."""

    @property
    def kind(self) -> tuple[object, ...]:
        """Rows of the same kind can be in one object."""
        return self.market, self.layer, self.table, self.schema, self.stream, self.columns, self.tables_version

    @property
    def first_entry(self) -> tuple[int, int]:
        return _entry(self.first_id)

    @property
    def last_entry(self) -> tuple[int, int]:
        return _entry(self.last_id)


class Unfit(Exception):
    """An object that cannot be merged; the text says why."""


def read_facts(file: BinaryIO | pa.NativeFile) -> Facts:
    """Raises Unfit, and the errors of the store behind the file."""
    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Unfit(f"its footer is damaged: {' '.join(str(error).split())}") from error
    return facts_of(metadata)


def facts_of(metadata: pq.FileMetaData) -> Facts:
    """Raises Unfit."""
    try:
        pairs: dict[bytes, bytes] = metadata.metadata or {}
        said = {name.decode().removeprefix(PREFIX): value.decode() for name, value in pairs.items()}
        version = said["tables_version"]
        if int(version) > tables.VERSION:
            raise Unfit(f"it is of a newer version of the tables, {version}")
        rows = int(said["rows"])
        if rows != metadata.num_rows or not rows:
            raise Unfit(f"its footer says {rows} rows, it has {metadata.num_rows}")
        stream = said.get("stream", "")
        return Facts(
            market=Market(said["exchange"], said["symbol"]),
            layer=intern(said["layer"]),
            table=intern(said["table"]),
            schema=intern(said["schema"]),
            stream=intern(stream),
            columns=intern(hashlib.sha256(str(metadata.schema.to_arrow_schema().remove_metadata()).encode()).hexdigest()),
            tables_version=intern(version),
            first_id=said["first_id"],
            last_id=said["last_id"],
            first_seq=int(said["first_seq"]),
            last_seq=int(said["last_seq"]),
            rows=rows,
            key_hash=said["key_hash"],
            writer_version=intern(said.get("writer_version", "")),
            is_live=bool(stream) and "origin" not in said,
            covers=read_covers(pairs),
            merged_rows=tuple(map(int, said.get("merged_rows", "").strip("[]").split(","))) if "merged_rows" in said
            else (rows,),
        )  # fmt: skip
    except KeyError as error:
        raise Unfit(f"its footer does not say {error.args[0]}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise Unfit(f"what its footer says is wrong: {error}") from error


def _entry(text: str) -> tuple[int, int]:
    ms, _, number = text.partition("-")
    return int(ms), int(number or 0)
