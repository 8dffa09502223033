"""Entries gathered and encoded at once, without a stream."""

import io
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.batches import RawEntry
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.plans import Destination
from daedalus_common.rows import RowSchema
from daedalus_writer.carrying_out import origin_of
from daedalus_writer.gathering import Gathering

ZSTD = Compression("zstd", 3)


def gather(
    market: Market,
    stream: str,
    replies: Sequence[list[RawEntry]],
    schemas: Mapping[bytes, RowSchema] | None = None,
    planned_dead: Collection[str] = (),
    compression: Compression = ZSTD,
) -> Gathering:
    """What these replies come to."""
    gathering = Gathering(market, stream, compression)
    gathering.take(list(replies), schemas or {}, planned_dead)
    return gathering


def encoded(gathering: Gathering, market: Market, stream: str) -> dict[Destination, bytes]:
    """The objects, by their place."""
    return {place: bytes(draft.finished(market, origin_of(stream))[0]) for place, draft in gathering.drafts.items()}


def read(content: bytes) -> pa.Table:
    """The rows of an object, without partitions."""
    return pq.ParquetFile(io.BytesIO(content)).read()
