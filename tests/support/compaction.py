"""A lake of small objects, the compactor on it, and what a reader finds."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from daedalus_common.config import parse_config
from daedalus_common.gap_tracking import GapState, stretches, track
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.objects import Draft
from daedalus_common.parquet.quality_rows import channel_events, gap_events, gap_rows
from daedalus_common.plans import counters_after, make_plan, object_key
from daedalus_common.stores import ObjectStore
from daedalus_compactor.passes import StorePasses, run_pass
from daedalus_compactor.policy import Rules
from daedalus_writer.carrying_out import origin_of

LAYERS = ("bronze", "quality", "silver", "gold")
RULES = Rules(timedelta(hours=2), timedelta(hours=1), 4, 128 * 1024 * 1024)
ZSTD = Compression("zstd", 3)


class Compaction:
    """Passes over a store by a clock of the test's; a new one of these is a new process."""

    def __init__(self, store: ObjectStore, rules: Rules = RULES, layers: Sequence[str] = LAYERS) -> None:
        self._pool = ThreadPoolExecutor(4)
        self.passes = StorePasses(store, layers, rules, ZSTD, self._pool)

    def run(self, later: timedelta = timedelta(hours=3)) -> int:
        """One pass as if it were so much later; how often something failed."""
        now = datetime.now(UTC) + later
        return run_pass([self.passes], lambda: now)


def write_quality(store: ObjectStore, market: Market, keys: Sequence[str], pieces: int) -> list[str]:
    """quality/gaps of recorded segments as the writer makes them, in so many flushes; the keys."""
    rows = {key: pq.read_table(pa.BufferReader(store.read(key)), partitioning=None) for key in keys}
    control = pa.concat_tables([table for key, table in rows.items() if "/control/" in key])
    channels = {
        name: channel_events(pa.concat_tables([table for key, table in rows.items() if f"/{name}/" in key]))
        for name in ("orderbook", "trades", "ticker")
    }
    _, found = track(GapState(), stretches(channels, gap_events(control)))
    counters: dict[str, str] = {}
    made: list[str] = []
    for piece in np.array_split(np.arange(len(found)), pieces):
        places = dict(gap_rows(market, [found[number] for number in piece.tolist()]))
        if not places:
            continue
        plan = make_plan(
            stream="raw", cursor="0-0", first_id="1-0", last_id="2-0", entries=1,
            rows={place: len(of) for place, of in places.items()}, counters=counters,
        )  # fmt: skip
        counters |= counters_after(plan.segments)
        for segment in plan.segments:
            draft = Draft(places[segment.destination].table, "", ZSTD)
            draft.add(places[segment.destination])
            data, _ = draft.finished(market, origin_of("raw"))
            store.create(object_key(segment), data, {})
            made.append(object_key(segment))
    return made


def age(folder: Path, hours: float = 24.0) -> None:
    """As if all objects had been made so long ago."""
    then = time.time() - hours * 3600
    for path in folder.rglob("*.parquet"):
        os.utime(path, (then, then))


def said(store: ObjectStore, key: str) -> Mapping[str, str]:
    """What an object says in its footer."""
    pairs = pq.read_metadata(pa.BufferReader(store.read(key))).metadata.items()
    return {name.decode().removeprefix("daedalus."): value.decode() for name, value in pairs}


def rows_of(store: ObjectStore, key: str) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader(store.read(key))).read()


def keys_of(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(info.key for info in store.list(prefix) if info.key.endswith(".parquet"))


def config_file(folder: Path, data: Path, **section: Any) -> Path:
    """A configuration whose stores are `data`."""
    store = {"backend": "local", "base_dir": str(data)}
    names = ("ingestion_storage", "etl_storage_input", "etl_storage_output")
    document = {
        "storage": dict.fromkeys(names, store),
        "telemetry": {"ports": dict.fromkeys(("ingestor", "writer", "featurizer", "compactor", "simulator"), 0)},
        "compactor": section,
    }
    parse_config(document)
    path = folder / "daedalus.yaml"
    path.write_text(yaml.safe_dump(document, default_flow_style=False))
    return path


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "daedalus_compactor", "--config", str(config), *arguments]


def compact_once(config: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(config, "--once"), capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == code, done.stderr
    return done


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"no {what} after {seconds} s"
        time.sleep(0.01)
