"""Merged Bronze as `daedalus etl` reads it, and merged Silver and Gold beside what it writes."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from daedalus.etl.executor import TransformExecutor
from daedalus.etl.filters import FilterSpec
from daedalus.etl.problems import UsageError
from daedalus.quality.feature_parts import check_parts
from daedalus_common.config import parse_config
from daedalus_common.lake import current
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.bronze import BronzeBuilder
from support.compaction import Compaction, age, keys_of, said
from support.etl_runs import History, assert_holds, history, stored, write_history
from support.lake import counting
from support.live_parts import write_live

BTC = Market("binanceus", "BTC/USDT")
LATER = timedelta(hours=6)
CONFIG = parse_config({"ingestion": {"enable_fsync": False}})


def table_of(key: str) -> str:
    return key.partition("/exchange=")[0]


@pytest.fixture(scope="module")
def recorded() -> History:
    return history(days=3, count=2000, seed=5)


@pytest.fixture(scope="module")
def dense() -> History:
    """Hours of many flushes."""
    return history(days=0.5, count=1000, seed=5)


def run_etl(lake: Path, out: Path, **how: Any) -> Any:
    executor = TransformExecutor.from_config(CONFIG, input=lake, output=out, state_dir=out.parent / f"{out.name}-state")
    return executor.run("all", **how)


def test_etl_over_merged_bronze_makes_the_same_tables(tmp_path: Path, dense: History) -> None:
    lake = tmp_path / "lake"
    write_history(lake, dense, flush=timedelta(minutes=4))
    whole = len(counting(lake, "bronze"))
    compaction = Compaction(LocalDisk(lake, fsync=False), layers=("bronze",))
    assert compaction.run() == 0
    assert len(counting(lake, "bronze")) < whole / 3
    run_etl(lake, tmp_path / "within grace")
    assert_holds(tmp_path / "within grace", dense)
    assert compaction.run(LATER) == 0
    run_etl(lake, tmp_path / "after grace")
    assert_holds(tmp_path / "after grace", dense)


def test_etl_goes_on_where_it_was_when_the_hour_was_merged_meanwhile(tmp_path: Path) -> None:
    lake, out = tmp_path / "lake", tmp_path / "out"
    builder = BronzeBuilder(LocalDisk(lake, fsync=False), BTC, timedelta(seconds=5))
    minutes = history(days=0.01, count=1500, seed=8)
    builder.write(minutes.events[:700])
    age(lake, 1.0)
    run_etl(lake, out)
    builder.write(minutes.events[700:])
    age(lake, 24.0)
    compaction = Compaction(LocalDisk(lake, fsync=False), layers=("bronze",))
    compaction.run(timedelta(0))
    compaction.run(LATER)
    assert len(counting(lake, "bronze")) < 20
    run_etl(lake, out)
    assert_holds(out, minutes)


def live(out: Path, recorded: History) -> list[str]:
    keys = write_live(out, recorded, ("trades", "bars"))
    age(out)
    return keys


def test_silver_and_gold_are_merged_day_by_day(tmp_path: Path, recorded: History) -> None:
    out = tmp_path / "out"
    keys = live(out, recorded)
    names = sorted({table_of(key).split("/duration=")[0] for key in keys})
    assert names == ["gold/bars", "silver/trades"]
    before = {name: stored(out, BTC, name) for name in names}
    rows = check_parts(LocalDisk(out), BTC, FilterSpec()).rows
    compaction = Compaction(LocalDisk(out, fsync=False))
    for later in (timedelta(0), LATER):
        assert compaction.run(later) == 0
        count = check_parts(LocalDisk(out), BTC, FilterSpec())
        assert (count.rows, count.double, count.problems) == (rows, 0, [])
    left = keys_of(LocalDisk(out))
    assert len(left) < len(keys) / 4
    for name in names:
        assert stored(out, BTC, name).equals(before[name].select(stored(out, BTC, name).columns)), name
    days = [set(pl.read_parquet(out / key)["timestamp"].dt.date()) for key in left]
    assert all(len(of_object) == 1 for of_object in days), "never more than one: a run of etl replaces day by day"


def test_a_run_of_etl_is_refused_by_merged_live_rows_and_takes_their_place_with_replace(
    tmp_path: Path, recorded: History
) -> None:
    lake, out = tmp_path / "lake", tmp_path / "out"
    write_history(lake, recorded)
    old = {key: LocalDisk(out).read(key) for key in live(out, recorded)}
    compaction = Compaction(LocalDisk(out, fsync=False))
    compaction.run(timedelta(0))
    compaction.run(LATER)
    gone = next(key for key in old if key not in keys_of(LocalDisk(out)))
    with pytest.raises(UsageError, match=r"holds rows of the live featurizer.*--replace"):
        run_etl(lake, out)
    run_etl(lake, out, replace=True, restart=True)
    assert_holds(out, recorded)
    rows = check_parts(LocalDisk(out), BTC, FilterSpec()).rows
    LocalDisk(out).create(gone, old[gone], {})
    count = check_parts(LocalDisk(out), BTC, FilterSpec())
    assert (count.rows, count.double) == (rows, 0), "whom the merged part covered the new one covers"
    after = keys_of(LocalDisk(out))
    footers = [footer for key in after if "covers" in (footer := said(LocalDisk(out), key))]
    assert all("-" not in footer["covers_hashes"] for footer in footers)
    assert any("covers_made" in footer for footer in footers)
    assert Compaction(LocalDisk(out, fsync=False)).run(LATER) == 0
    assert keys_of(LocalDisk(out)) == after, "and the compactor leaves it alone"


def test_parts_that_etl_replaced_while_they_were_merged_do_not_come_back(tmp_path: Path, recorded: History) -> None:
    lake, out, aside = tmp_path / "lake", tmp_path / "out", tmp_path / "aside"
    write_history(lake, recorded)
    live(out, recorded)
    shutil.copytree(out, aside)
    Compaction(LocalDisk(aside, fsync=False)).run(timedelta(0))
    merged = [key for key in keys_of(LocalDisk(aside)) if "covers" in said(LocalDisk(aside), key)]
    run_etl(lake, out, replace=True)
    for key in merged:
        LocalDisk(out).create(key, LocalDisk(aside).read(key), {})
    assert Compaction(LocalDisk(out, fsync=False)).run(LATER) == len(merged)
    assert_holds(out, recorded)


def test_deleting_processed_bronze_leaves_nothing_that_a_merged_segment_covered(tmp_path: Path, dense: History) -> None:
    lake, out = tmp_path / "lake", tmp_path / "out"
    write_history(lake, dense, flush=timedelta(minutes=4))
    Compaction(LocalDisk(lake, fsync=False), layers=("bronze",)).run()
    config = parse_config({"ingestion": {"enable_fsync": False}, "etl": {"delete_after_processing": True}})
    executor = TransformExecutor.from_config(config, input=lake, output=out, state_dir=tmp_path / "state")
    executor.run("all")
    assert_holds(out, dense)
    left = [info.key for info in current(LocalDisk(lake), LocalDisk(lake).list()).objects]
    assert {table_of(key) for key in left} <= {"bronze/ccxt/control"}
    assert {table_of(key) for key in keys_of(LocalDisk(lake))} <= {"bronze/ccxt/control"}
