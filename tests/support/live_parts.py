"""Parts of Silver and Gold as the live writer makes them: of one hour each, counted from 1 in each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daedalus_common.batches import RawEntry, decode_batch
from daedalus_common.entries import encode
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.feature_tables import by_duration, row_destination, stored_table
from daedalus_common.parquet.objects import Draft
from daedalus_common.parquet.stored_rows import split
from daedalus_common.plans import HOUR_NS, Segment, object_key
from daedalus_common.stores import LocalDisk
from daedalus_features import Rows, advance
from daedalus_featurizer.decoding import events_of
from daedalus_featurizer.row_schemas import row_schema
from support.etl_runs import History


def write_live(
    out: Path, recorded: History, tables: Sequence[str] = ("trades",), first_hour: int = 0, last_hour: int = 10**9
) -> list[str]:
    """The keys of the parts with the rows of some tables and hours (from the epoch) of a history."""
    keys: list[str] = []
    for rows in advance(None, events_of(decode_batch(_entries(recorded)))).rows:
        if rows.table.name in tables:
            keys += _written(out, recorded, rows, first_hour, last_hour)
    return sorted(keys)


def _entries(recorded: History) -> list[RawEntry]:
    entries: list[RawEntry] = []
    ts = 0
    for seq, event in enumerate(recorded.events, start=1):
        ts = max(ts, event.capture_ts)
        fields = {b"e": encode(event), b"g": b"0", b"s": b"%d" % seq, b"t": b"%d" % ts}
        entries.append((b"%d-0" % seq, fields))
    return entries


def _written(out: Path, recorded: History, rows: Rows, first_hour: int, last_hour: int) -> list[str]:
    schema = row_schema(rows.table)
    number = np.arange(1, len(rows) + 1)
    stored = stored_table(schema, rows.timestamp, rows.values, np.stack([number, 0 * number, number], axis=1))
    keys = []
    for duration, of_duration in by_duration(schema, stored).items():
        for hour, of_hour in split(of_duration, of_duration.timestamp // HOUR_NS).items():
            if not first_hour <= hour <= last_hour:
                continue
            place = row_destination(recorded.market, schema, duration, hour)
            draft = Draft(of_hour.table, of_hour.schema, Compression("zstd", 1))
            draft.add(of_hour)
            data, _ = draft.finished(recorded.market, {"stream": "silver", "writer_version": "1"})
            segment = Segment(place.table, place.partition, place.stamp, 1, len(of_hour), place.schema)
            keys.append(object_key(segment))
            LocalDisk(out, fsync=False).create(keys[-1], data, {})
    return keys
