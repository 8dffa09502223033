"""Nobody else's rows are written over or doubled: a run is refused, or takes their place."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from daedalus.etl.executor import TransformExecutor
from daedalus.etl.filters import FilterSpec
from daedalus.etl.problems import UsageError
from daedalus.etl.report import Report
from daedalus_common.batches import RawEntry, decode_batch
from daedalus_common.config import parse_config
from daedalus_common.entries import encode
from daedalus_common.events import Trade
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.parquet.feature_tables import row_destination, stored_table
from daedalus_common.parquet.objects import Draft
from daedalus_common.parquet.stored_rows import split
from daedalus_common.plans import HOUR_NS, Segment, object_key
from daedalus_common.stores import LocalDisk
from daedalus_features import advance
from daedalus_featurizer.decoding import events_of
from daedalus_featurizer.row_schemas import row_schema
from support.etl_runs import BTC, History, assert_holds, history, parts, write_history

CONFIG = parse_config({"ingestion": {"enable_fsync": False}})
TRADES = "silver/trades"


@pytest.fixture(scope="module")
def recorded() -> History:
    return history(days=3, count=2000, seed=5)


@pytest.fixture
def lake(tmp_path: Path, recorded: History) -> Path:
    write_history(tmp_path / "lake", recorded)
    return tmp_path / "lake"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(lake: Path, out: Path, filters: FilterSpec | None = None, state: str = "state", **how: object) -> Report:
    executor = TransformExecutor.from_config(CONFIG, input=lake, output=out, state_dir=out.parent / state)
    return executor.run("trades", filters or FilterSpec(), **how)  # type: ignore[arg-type]


def write_live(out: Path, recorded: History, first_hour: int = 0, last_hour: int = 10**9) -> list[str]:
    """Parts of the trades table as the live writer makes them: of one hour each, counted from 1 in each."""
    entries: list[RawEntry] = []
    ts = 0
    for seq, event in enumerate(recorded.events, start=1):
        ts = max(ts, event.capture_ts)
        fields = {b"e": encode(event), b"g": b"0", b"s": b"%d" % seq, b"t": b"%d" % ts}
        entries.append((b"%d-0" % seq, fields))
    rows = next(rows for rows in advance(None, events_of(decode_batch(entries))).rows if rows.table.name == "trades")
    schema = row_schema(rows.table)
    number = np.arange(1, len(rows) + 1)
    stored = stored_table(schema, rows.timestamp, rows.values, np.stack([number, 0 * number, number], axis=1))
    keys = []
    for hour, of_hour in split(stored, rows.timestamp // HOUR_NS).items():
        if not first_hour <= hour <= last_hour:
            continue
        place = row_destination(BTC, schema, 0, hour)
        draft = Draft(of_hour.table, of_hour.schema, Compression("zstd", 1))
        draft.add(of_hour)
        data, _ = draft.finished(BTC, {"stream": "silver", "writer_version": "1"})
        keys.append(object_key(Segment(place.table, place.partition, place.stamp, 1, len(of_hour), place.schema)))
        LocalDisk(out, fsync=False).create(keys[-1], data, {})
    return keys


def hours(recorded: History) -> tuple[int, int]:
    return recorded.events[0].capture_ts // HOUR_NS, recorded.events[-1].capture_ts // HOUR_NS


def day(hour: int) -> date:
    return datetime.fromtimestamp(hour * 3600, UTC).date()


def test_live_rows_are_in_the_way_of_a_run(lake: Path, out: Path, recorded: History) -> None:
    live = write_live(out, recorded)
    with pytest.raises(UsageError, match=r"holds rows of the live featurizer.*--replace"):
        run(lake, out)
    assert parts(out) == sorted(live)


def test_the_rows_of_a_run_take_the_place_of_live_ones(lake: Path, out: Path, recorded: History) -> None:
    live = write_live(out, recorded)
    report = run(lake, out, replace=True)
    assert report.of(BTC).replaced == len(live)
    assert set(parts(out)).isdisjoint(live)
    assert_holds(out, recorded, [TRADES])
    covers = [json.loads(pl.read_parquet_metadata(out / key)["daedalus.covers"]) for key in parts(out)]
    assert sorted(key for keys in covers for key in keys) == sorted(live)


def test_a_refused_run_can_be_given_replace(lake: Path, out: Path, recorded: History) -> None:
    write_live(out, recorded)
    with pytest.raises(UsageError):
        run(lake, out)
    run(lake, out, replace=True)
    assert_holds(out, recorded, [TRADES])


def test_live_rows_of_other_hours_are_left_alone(lake: Path, out: Path, recorded: History) -> None:
    _, last = hours(recorded)
    live = write_live(out, recorded, first_hour=last // 24 * 24)
    run(lake, out, FilterSpec(end=day(last // 24 * 24 - 1)))
    assert set(live) <= set(parts(out))
    assert sorted(pl.read_parquet(out / TRADES)["timestamp"].cast(pl.Int64)) == _trade_times(recorded)


def test_live_rows_later_than_what_was_read_are_not_lost(lake: Path, out: Path, recorded: History) -> None:
    """The run ends between two trades of one hour, which lie in one live part."""
    live = write_live(out, recorded)
    trades = [place for place, event in enumerate(recorded.events) if isinstance(event, Trade)]
    hours_of = [recorded.events[place].capture_ts // HOUR_NS for place in trades]
    second = next(trades[n] for n in range(1, len(trades)) if hours_of[n] == hours_of[n - 1])
    with pytest.raises(UsageError, match=r"later than the input that was read.*--to"):
        run(lake, out, limit=second, replace=True)
    assert parts(out) == sorted(live)


def test_live_rows_of_hours_that_bronze_does_not_have_are_left_alone(lake: Path, out: Path, recorded: History) -> None:
    live = write_live(out, recorded)
    _, last = hours(recorded)
    for path in (lake / "bronze").rglob(f"day={day(last).day}/hour={last % 24}/*.parquet"):
        path.unlink()
    run(lake, out, replace=True)
    assert set(live) & set(parts(out)) == {live[-1]}
    assert sorted(pl.read_parquet(out / TRADES)["timestamp"].cast(pl.Int64)) == _trade_times(recorded)


def test_the_rows_of_another_run_are_replaced_whole(lake: Path, out: Path, recorded: History) -> None:
    run(lake, out)
    first = len(parts(out))
    with pytest.raises(UsageError, match="holds rows of another run"):
        run(lake, out, parameters="config")
    report = run(lake, out, parameters="config", replace=True)
    assert report.of(BTC).replaced == first
    assert sorted(pl.read_parquet(out / TRADES)["timestamp"].cast(pl.Int64)) == _trade_times(recorded)


def test_a_restart_needs_replace_where_its_own_rows_are(lake: Path, out: Path, recorded: History) -> None:
    run(lake, out)
    with pytest.raises(UsageError, match="--replace"):
        run(lake, out, restart=True)
    run(lake, out, restart=True, replace=True)
    assert_holds(out, recorded, [TRADES])


def test_files_of_nobody_knows_whom_are_never_written_over(lake: Path, out: Path, recorded: History) -> None:
    first, _ = hours(recorded)
    folder = out / TRADES / BTC.partition / f"year={day(first).year}/month={day(first).month}/day={day(first).day}"
    folder.mkdir(parents=True)
    (folder / "mine.parquet").write_bytes(b"my own notes")
    with pytest.raises(UsageError, match=r"mine\.parquet is no part of Daedalus"):
        run(lake, out)
    with pytest.raises(UsageError, match=r"mine\.parquet is no part of Daedalus"):
        run(lake, out, replace=True)
    assert (folder / "mine.parquet").read_bytes() == b"my own notes"


def _trade_times(recorded: History) -> list[int]:
    ts, times = 0, []
    for event in recorded.events:
        ts = max(ts, event.capture_ts)
        if isinstance(event, Trade):
            times.append(ts)
    return times
