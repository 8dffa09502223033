"""Objects as one: their rows, in their order, and a footer that says what they were.

The memory it takes is that of the merged object, at most the target size, and of a row group before encoding.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.covers import handed_on
from daedalus_common.parquet.objects import ROW_GROUP_SIZE_BYTES
from daedalus_common.stores import LocalDisk, ObjectInfo, ObjectStore
from daedalus_compactor.footers import PREFIX, Facts, Unfit
from daedalus_compactor.policy import Run
from daedalus_compactor.rows import RowsHash, open_rows, pieces

_SMALL_BYTES = 4 * 1024 * 1024
"""What is no larger comes in one piece."""
_AHEAD = 4
"""So many small objects are fetched ahead from S3."""
_DELTA = ("DELTA_BINARY_PACKED", "DELTA_BYTE_ARRAY")


class UnfitMember(Exception):
    """A member of a run cannot be merged after all."""

    def __init__(self, info: ObjectInfo, reason: str) -> None:
        super().__init__(f"{info.key}: {reason}")
        self.info = info
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Merged:
    """The bytes of an object that is to be made, and what identifies it."""

    data: memoryview
    footer: Mapping[str, str]

    @property
    def metadata(self) -> dict[str, str]:
        """For those who look at a bucket without reading the footers."""
        return {name.replace("_", "-"): self.footer[name] for name in ("first_id", "last_id", "rows", "key_hash")}


def merge(store: ObjectStore, run: Run, compression: Compression, pool: Executor) -> Merged:
    """Reads the members and encodes their rows. Raises UnfitMember, and the errors of the store."""
    # Grows in place, where Arrow's own is copied to one of twice the size.
    sink = BytesIO()
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    every = RowsHash()
    facts = run.facts
    for (info, opened), of_member in zip(_opened(store, run, pool), facts, strict=True):
        own = RowsHash()
        with _named(info):
            for rows in pieces(opened):
                own.add(rows)
                every.add(rows)
                if of_member.layer == "bronze":
                    every.check_order(rows)
                waiting.append(rows)
                if writer is None:
                    options = _options(opened.metadata, compression)
                    writer = pq.ParquetWriter(sink, opened.schema_arrow.remove_metadata(), **options)
                if sum(each.nbytes for each in waiting) >= ROW_GROUP_SIZE_BYTES:
                    _write(writer, waiting)
            _check(own, of_member)
    if writer is None:
        raise ValueError("a run without rows")
    _write(writer, waiting)
    footer = footer_of(run, every)
    writer.add_key_value_metadata({PREFIX + name: value for name, value in footer.items()})
    writer.close()
    return Merged(sink.getbuffer(), footer)


def footer_of(run: Run, every: RowsHash) -> dict[str, str]:
    """What the merged object says of itself: all that its members said, as one; and whom it covers."""
    facts = run.facts
    first, last = facts[0], facts[-1]
    covered = [(of.info.key, of.facts.key_hash, of.info.modified, of.facts.covers) for of in run.members if of.facts]
    together = hashlib.sha256("".join(member.key_hash for member in facts).encode()).hexdigest()
    written = ",".join(str(rows) for member in facts for rows in member.merged_rows)
    return {
        "exchange": first.market.exchange,
        "symbol": first.market.symbol,
        "layer": first.layer,
        "table": first.table,
        "schema": first.schema,
        "stream": first.stream,
        "first_id": first.first_id,
        "last_id": last.last_id,
        "first_seq": str(first.first_seq),
        "last_seq": str(last.last_seq),
        "rows": str(every.rows),
        # Rows of other layers do not tell their entry, of which the key hash is made: there it is that of the hashes.
        "key_hash": every.digest if first.layer == "bronze" else together,
        "rows_hash": every.digest,
        "tables_version": first.tables_version,
        "writer_version": last.writer_version,
        "compactor_version": version("daedalus-compactor"),
        "merged_rows": f"[{written}]",
        **handed_on(covered),
    }


def _check(own: RowsHash, facts: Facts) -> None:
    if own.rows != facts.rows:
        raise Unfit(f"its footer says {facts.rows} rows, it has {own.rows}")
    if facts.layer == "bronze" and own.digest != facts.key_hash:
        raise Unfit("its rows are not those of its key hash")


def _write(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> None:
    if waiting:
        group = pa.concat_tables(waiting)
        writer.write_table(group, len(group))
        waiting.clear()


def _options(metadata: pq.FileMetaData, compression: Compression) -> dict[str, Any]:
    """As the writer of the object chose for each column: here nobody knows the tables of Silver and Gold."""
    group = metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    delta = {column.path_in_schema: kind for column in columns for kind in _DELTA if kind in column.encodings}
    return {
        "compression": compression.codec,
        "compression_level": compression.level,
        "use_dictionary": [column.path_in_schema for column in columns if column.has_dictionary_page],
        "column_encoding": delta,
        "write_statistics": [column.path_in_schema for column in columns if column.is_stats_set],
        "store_schema": False,
        "write_page_checksum": True,
    }


def _opened(store: ObjectStore, run: Run, pool: Executor) -> Iterator[tuple[ObjectInfo, pq.ParquetFile]]:
    """The members' files in their order, the next small ones of a slow store already under way."""
    ahead: deque[tuple[ObjectInfo, Future[bytes] | None]] = deque()
    waiting = iter([member.info for member in run.members])
    slow = not isinstance(store, LocalDisk)
    for _ in run.members:
        while len(ahead) < _AHEAD and (info := next(waiting, None)) is not None:
            ahead.append((info, pool.submit(store.read, info.key) if slow and _is_small(info) else None))
        info, content = ahead.popleft()
        if content is None and not _is_small(info):
            with store.open_input(info.key) as file, _named(info):
                yield info, open_rows(file)
        else:
            data = store.read(info.key) if content is None else content.result()
            with _named(info):
                yield info, open_rows(pa.BufferReader(data))


def _is_small(info: ObjectInfo) -> bool:
    return info.size_bytes <= _SMALL_BYTES


@contextmanager
def _named(info: ObjectInfo) -> Iterator[None]:
    try:
        yield
    except Unfit as error:
        raise UnfitMember(info, str(error)) from error
