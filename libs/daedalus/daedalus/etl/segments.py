"""One segment of Bronze as an open Parquet file, or the reason why it is none.

Whatever a file's content is, nothing here raises for it; errors of the store propagate.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus.etl.chunks import BadSegment
from daedalus_common import tables
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import arrow_schema
from daedalus_common.stores import ObjectStore
from daedalus_common.tables import BRONZE

_MAGIC = b"PAR1"
_SMALLEST = 12  # magic, length of the footer, magic
_PREFIX = b"daedalus."


@dataclass(frozen=True, slots=True)
class Footer:
    """What the writer says of a segment in its footer."""

    market: Market
    first_id: str
    last_id: str
    first_seq: int
    last_seq: int
    rows: int


def read_footer(store: ObjectStore, key: str) -> Footer | BadSegment:
    """The footer of one object. Raises StoreError, ObjectMissing included."""
    with store.open_input(key) as file:
        opened = open_segment(key, file)
        if isinstance(opened, BadSegment):
            return opened
        metadata = opened.metadata.metadata or {}
    try:
        said = {name: metadata[_PREFIX + name.encode()].decode() for name in _FOOTER_FIELDS}
        return Footer(
            Market(said["exchange"], said["symbol"]),
            said["first_id"],
            said["last_id"],
            int(said["first_seq"]),
            int(said["last_seq"]),
            int(said["rows"]),
        )
    except KeyError as error:
        name = error.args[0].decode()
        return BadSegment(key, f"{key}: its footer does not say {name}: it is not of Daedalus")
    except ValueError as error:
        return BadSegment(key, f"{key}: what its footer says is wrong: {error}")


_FOOTER_FIELDS = ("exchange", "symbol", "first_id", "last_id", "first_seq", "last_seq", "rows")


def open_segment(key: str, file: BinaryIO | pa.NativeFile) -> pq.ParquetFile | BadSegment:
    """The Parquet file in `file`, of a version that we know."""
    fault = _no_parquet(file)
    if fault:
        return BadSegment(key, f"{key}: {fault}")
    try:
        opened = pq.ParquetFile(file, page_checksum_verification=True)
        version = (opened.metadata.metadata or {}).get(_PREFIX + b"tables_version", b"0").decode()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        return BadSegment(key, f"{key}: its footer is damaged: {said(error)}")
    if not version.isdecimal() or int(version) > tables.VERSION:
        newest = f"this version of Daedalus reads tables up to version {tables.VERSION}"
        return BadSegment(key, f"{key}: written by a newer version ({version!r} of the tables); {newest}")
    return opened


def columns_of(key: str, found: pa.Schema, table: str, wanted: tuple[str, ...]) -> tuple[str, ...] | BadSegment:
    """Those of the `wanted` columns of a Bronze table that a segment of this schema has; the others are nullable."""
    present = []
    for name, kind, nullable in _expected(table, wanted):
        at = found.get_all_field_indices(name)
        if len(at) == 1:
            if not _agrees(found.field(at[0]).type, kind):
                actual = found.field(at[0]).type
                return BadSegment(key, f"{key}: its column {name} is {actual} instead of {kind}")
            present.append(name)
        elif at:
            return BadSegment(key, f"{key}: it has {len(at)} columns {name}")
        elif not nullable:
            return BadSegment(key, f"{key}: it has no column {name}")
    return tuple(present)


def read_group(key: str, opened: pq.ParquetFile, group: int, columns: tuple[str, ...]) -> pa.Table | BadSegment:
    """The columns of one row group, decoded on this thread. Errors of the store behind the file propagate."""
    try:
        return opened.read_row_group(group, columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return BadSegment(key, f"{key}: its rows cannot be decoded (row group {group}): {said(error)}")


def said(error: BaseException) -> str:
    """What Arrow says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _no_parquet(file: BinaryIO | pa.NativeFile) -> str | None:
    size = file.seek(0, 2)
    file.seek(0)
    start = bytes(file.read(len(_MAGIC)))
    if not size:
        return "it is empty"
    if start != _MAGIC:
        return "it is not a Parquet file"
    file.seek(max(size - len(_MAGIC), 0))
    if size < _SMALLEST or bytes(file.read(len(_MAGIC))) != _MAGIC:
        return "it is truncated: its Parquet footer is missing"
    return None


@lru_cache(maxsize=64)
def _expected(table: str, wanted: tuple[str, ...]) -> tuple[tuple[str, pa.DataType, bool], ...]:
    schema = arrow_schema(BRONZE[table])
    fields = [schema.field(name) for name in wanted]
    return tuple((field.name, _as_read(field.type), field.nullable) for field in fields)


def _as_read(kind: pa.DataType) -> pa.DataType:
    # Without Arrow's copy of the schema, which our files do not have, a category reads as its strings.
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _agrees(found: pa.DataType, kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return bool(pa.types.is_list(found) and found.value_type == kind.value_type)
    return bool(_as_read(found) == kind)
