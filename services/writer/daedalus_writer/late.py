"""Late entries as rows of their own Bronze tables: outside the market's sequence, by the hour of their capture.

They carry what they were to be published as, (epoch, number), in the fields that in the sequence hold generation and
seq. Gaps and heartbeats among them stay: a gap says where the late events have holes of their own.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from daedalus_common.batches import Batch, Foreign, RawEntry, decode_batch
from daedalus_common.markets import Market
from daedalus_common.parquet.arrays import numbers
from daedalus_common.parquet.arrow_tables import arrow_schema
from daedalus_common.parquet.stored_rows import StoredRows, split
from daedalus_common.plans import HOUR_NS, Destination, bronze_destination, hour_at
from daedalus_common.tables import LATE
from daedalus_writer.bronze import SOURCE, Columns, Int64s, own_columns


def late_rows(market: Market, entries: Sequence[RawEntry]) -> tuple[dict[Destination, StoredRows], tuple[Foreign, ...]]:
    """Rows by their place below `late`, and the entries that are not ours. Never raises for an entry's content."""
    batch = decode_batch(entries)
    places: dict[Destination, StoredRows] = {}
    for name, (position, columns) in own_columns(batch).items():
        if len(position):
            rows = _rows(name, batch, position, columns())
            for hour, of_hour in split(rows, batch.capture_ts[position] // HOUR_NS).items():
                places[bronze_destination(SOURCE, f"late/{name}", market, hour_at(hour))] = of_hour
    return places, batch.foreign


def _rows(name: str, batch: Batch, position: Int64s, own: Columns) -> StoredRows:
    schema = arrow_schema(LATE[name])
    place = {
        "stream_ms": batch.stream_ms[position],
        "stream_seq": batch.stream_seq[position],
        "epoch": batch.generation[position],
        "number": batch.seq[position],
        "capture_ts": batch.capture_ts[position],
    }
    columns = {column: numbers(values, schema.field(column).type) for column, values in place.items()} | own
    arrow = pa.Table.from_arrays([columns[field.name] for field in schema], schema=schema)
    keys = np.stack([column[position] for column in (batch.stream_ms, batch.stream_seq, batch.seq)], axis=1)
    return StoredRows(LATE[name], arrow, keys)
