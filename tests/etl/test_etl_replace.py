"""Nobody else's rows are written over or doubled: a run is refused, or takes their place."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from daedalus.etl.executor import TransformExecutor
from daedalus.etl.filters import FilterSpec
from daedalus.etl.problems import UsageError
from daedalus.etl.report import Report
from daedalus_common.config import parse_config
from daedalus_common.events import Trade
from daedalus_common.plans import HOUR_NS
from support.etl_runs import BTC, History, assert_holds, history, parts, write_history
from support.live_parts import write_live

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
