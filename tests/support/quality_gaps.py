"""quality/gaps of a small recording, as the writer makes it, but without a stream."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from daedalus_common.events import CONTROL, Channel
from daedalus_common.gap_tracking import GapState, stretches, track
from daedalus_common.markets import Market
from daedalus_common.parquet.objects import Draft
from daedalus_common.parquet.quality_rows import channel_events, gap_events, gap_rows
from daedalus_common.plans import Segment, object_key
from daedalus_common.stores import LocalDisk
from daedalus_writer.carrying_out import origin_of
from support.bronze import ZSTD


def write_gap_rows(folder: Path, market: Market) -> None:
    """What Bronze in `folder` says, each of whose tables is one object; the rows of before go."""
    shutil.rmtree(folder / "quality" / "gaps", ignore_errors=True)
    disk = LocalDisk(folder, fsync=False)
    events = {name: channel_events(_table(folder, name)) for name in (channel.value for channel in Channel)}
    _, rows = track(GapState(), stretches(events, gap_events(_table(folder, CONTROL))))
    for place, stored in gap_rows(market, rows):
        draft = Draft(stored.table, stored.schema, ZSTD)
        draft.add(stored)
        segment = Segment(place.table, place.partition, place.stamp, 1, len(stored), place.schema)
        disk.create(object_key(segment), draft.finished(market, origin_of("raw"))[0], {})


def _table(folder: Path, name: str) -> pa.Table:
    [path] = (folder / "bronze" / "ccxt" / name).rglob("*.parquet")
    return pq.ParquetFile(path).read()
