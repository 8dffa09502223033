"""A lake of small objects, as the writer makes them, for the compactor to merge; and whether all of it was merged."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
from tools.check_arm64.comparison import Differs, compare_objects, objects_in

from daedalus_common.markets import Market
from daedalus_common.parquet.feature_tables import by_duration, row_destination, stored_table
from daedalus_common.parquet.objects import Draft
from daedalus_common.parquet.stored_rows import StoredRows, split
from daedalus_common.plans import HOUR_NS, Segment, object_key
from daedalus_common.rows import RowSchema, unpack_rows
from daedalus_common.stores import LocalDisk
from daedalus_writer.carrying_out import origin_of
from support.bronze import ZSTD, BronzeBuilder, varied_events
from support.compaction import age, write_quality

MARKET = Market("binanceus", "BTC/USDT")
EVENTS, LEVELS = 1_500, 20
FLUSH = timedelta(seconds=10)
PIECES = 6
LEAST = 2
"""So few objects of a folder are merged, that those of the smallest tables are too."""


def small_objects(folder: Path, rows: Path) -> tuple[str, ...]:
    """Objects of all four layers, made a day ago; their keys. `rows` is what featurizer_rows.py wrote."""
    store = LocalDisk(folder, fsync=False)
    bronze = BronzeBuilder(store, MARKET, flush=FLUSH)
    bronze.write(varied_events(6, EVENTS, levels=LEVELS))
    keys = [*bronze.keys, *write_quality(store, MARKET, bronze.keys, PIECES)]
    for _, _, columns, payloads in msgspec.msgpack.decode(rows.read_bytes()):
        keys += _parts(store, msgspec.json.decode(columns, type=RowSchema), payloads)
    age(folder)
    return tuple(keys)


def _parts(store: LocalDisk, schema: RowSchema, payloads: Sequence[bytes]) -> Iterator[str]:
    """Of Silver or Gold, each table in pieces as if flushed so often."""
    timestamp, values = unpack_rows(schema, payloads)
    number = np.arange(1, len(payloads) + 1)
    rows = stored_table(schema, timestamp, values, np.stack([number, 0 * number, number], axis=1))
    for duration, of_duration in by_duration(schema, rows).items():
        for hour, of_hour in split(of_duration, of_duration.timestamp // HOUR_NS).items():
            place = row_destination(MARKET, schema, duration, hour)
            for counter, piece in enumerate(np.array_split(np.arange(len(of_hour)), min(PIECES, len(of_hour))), 1):
                draft = Draft(of_hour.table, of_hour.schema, ZSTD)
                draft.add(StoredRows(of_hour.table, of_hour.arrow.take(piece), of_hour.keys[piece], of_hour.schema))
                data, _ = draft.finished(MARKET, origin_of(schema.layer))
                segment = Segment(place.table, place.partition, place.stamp, counter, len(piece), place.schema)
                store.create(object_key(segment), data, {})
                yield object_key(segment)


def compare_merged(there: Path, here: Path, small: Sequence[str]) -> str:
    """In words that two compactors made the same of the same small objects, which are taken away. Raises Differs."""
    waiting = {folder for folder, count in Counter(map(_folder, small)).items() if count >= LEAST}
    for key in small:
        (there / key).unlink()
        (here / key).unlink()
    made = objects_in(there)
    if sorted(map(_folder, made)) != sorted(waiting):
        raise Differs(f"{len(made)} merged objects, {len(waiting)} were to be made")
    rows = sum(pq.read_metadata(there / key).num_rows for key in made)
    return f"{len(small)} objects became {len(made)} of {rows} rows; {compare_objects(there, here)}"


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
