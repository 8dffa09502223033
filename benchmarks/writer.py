"""Rows a second of the writer process from a full stream to durable files, against pyarrow writing the same rows.

The yardstick has the rows of the writer's own files in memory as Arrow tables, and writes them again: same schema,
codec, row groups and fsync, one thread.
"""

import os
import time
from collections.abc import Sequence
from statistics import median

import pyarrow.parquet as pq

from benchmarks.backlog import CONFIG, seconds_to_drain, standing_before
from benchmarks.bronze_files import group_rows, read_rows, table_of
from benchmarks.market_events import LEVELS, Event, Mix, market_events
from benchmarks.results import Aim, CheckFailed, Measurement, Yardstick
from benchmarks.workbench import Workbench
from daedalus_common.config import parse_config
from daedalus_common.events import CONTROL
from daedalus_common.leases import Role
from daedalus_common.parquet.arrow_tables import parquet_options
from daedalus_writer.settings import settings_from
from support.stack import Stack

MIXES = {
    "4 books to a trade": (Mix(100.0, 0.25), Aim(0.4, "at least", "ratio")),
    "1 book to 3 trades": (Mix(100.0, 3), None),
}
"""The second is the real recording's. It has no aim: pyarrow writes a trade in a fraction of a microsecond, and so the
yardstick is all about the rows that cost nothing."""
FLUSH_SECONDS = 0.1
"""In place of 5 s, so that the end of the stream does not lie in memory for most of the measured time."""


def measure(bench: Workbench) -> list[Measurement]:
    count = bench.pick(short=40_000, full=100_000)
    repeats = bench.pick(short=2, full=3)
    return [_of_mix(bench, name, market_events(bench, count, mix), repeats, aim) for name, (mix, aim) in MIXES.items()]


def _of_mix(bench: Workbench, name: str, events: Sequence[Event], repeats: int, aim: Aim | None) -> Measurement:
    rates, yardsticks = [], []
    for number in range(repeats):
        bench.say(f"{name}: the process drains {len(events):,} events, run {number + 1} of {repeats}")
        with (
            bench.folder() as folder,
            Stack(folder, CONFIG | {"ingestion": {"flush_interval_seconds": FLUSH_SECONDS}}) as stack,
            standing_before(stack, Role.WRITER, events) as services,
        ):
            rates.append(len(events) / seconds_to_drain(stack, services, Role.WRITER))
            yardsticks.append(_arrow_rate(stack, len(events)))
    return Measurement(
        f"writer: rows to durable files, books of {LEVELS} levels, {name}",
        median(rates),
        "rows/s",
        Yardstick(median(yardsticks), "rows/s, pyarrow from memory"),
        aim,
    )


def _arrow_rate(stack: Stack, events: int) -> float:
    paths = sorted(stack.data.glob("bronze/**/*.parquet"))
    files = [(table_of(path), read_rows([path]), group_rows(path)) for path in paths]
    rows = sum(len(arrow) for table, arrow, _ in files if table.name != CONTROL)
    if rows != events:
        raise CheckFailed(f"{events:,} events were published, {rows:,} rows written")
    compression = settings_from(parse_config(stack.config)).compression
    began = time.perf_counter()
    for number, (table, arrow, rows_of_group) in enumerate(files):
        with (stack.folder / f"{number}.parquet").open("wb") as sink:
            with pq.ParquetWriter(sink, arrow.schema, **parquet_options(table, compression)) as writer:
                writer.write_table(arrow, rows_of_group)
            sink.flush()
            os.fsync(sink.fileno())
    return rows / (time.perf_counter() - began)
