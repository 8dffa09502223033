"""A run computes from a recorded history what live would have computed."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from daedalus.etl.executor import TransformExecutor
from daedalus.etl.filters import FilterSpec
from daedalus.etl.problems import UsageError
from daedalus.etl.report import Report
from daedalus_common.config import parse_config
from daedalus_common.stores import LocalDisk
from support.bronze import BronzeBuilder
from support.etl_runs import BTC, ETH, History, assert_holds, expected, history, parts, settle, stored, write_history

CONFIG = parse_config({"ingestion": {"enable_fsync": False}})
SILVER = ("silver/orderbook", "silver/trades", "silver/ticker")


@pytest.fixture(scope="module")
def recorded() -> History:
    return history(days=3, count=3000)


@pytest.fixture
def bronze(tmp_path: Path, recorded: History) -> Path:
    write_history(tmp_path / "lake", recorded)
    return tmp_path / "lake"


def run(
    tmp_path: Path, bronze: Path, targets: str | list[str] = "all", filters: FilterSpec | None = None, **how: object
) -> Report:
    executor = TransformExecutor.from_config(
        CONFIG, input=bronze, output=tmp_path / "out", state_dir=tmp_path / "state"
    )
    return executor.run(targets, filters or FilterSpec(), **how)  # type: ignore[arg-type]


def test_all_tables_hold_the_rows_of_the_whole_sequence(tmp_path: Path, bronze: Path, recorded: History) -> None:
    report = run(tmp_path, bronze)
    assert_holds(tmp_path / "out", recorded)
    assert report.events == len(recorded.events)
    assert report.rejected == 0
    written = {name: amounts.rows for name, amounts in report.of(BTC).tables.items()}
    assert written == {name: rows.height for name, rows in expected(recorded).items()}


@pytest.mark.parametrize("target", ["orderbook", "trades", "ticker"])
def test_a_target_writes_its_own_table_only(tmp_path: Path, bronze: Path, recorded: History, target: str) -> None:
    run(tmp_path, bronze, target)
    assert {key.split("/exchange")[0] for key in parts(tmp_path / "out")} == {f"silver/{target}"}
    assert_holds(tmp_path / "out", recorded, [f"silver/{target}"])


def test_bars_are_all_gold_tables(tmp_path: Path, bronze: Path, recorded: History) -> None:
    run(tmp_path, bronze, "bars")
    gold = [name for name in expected(recorded) if name.startswith("gold/")]
    assert len(gold) >= 6
    assert {"/".join(key.split("/")[:2]) for key in parts(tmp_path / "out")} == set(gold)
    assert_holds(tmp_path / "out", recorded, gold)


def test_a_second_run_has_nothing_to_do(tmp_path: Path, bronze: Path) -> None:
    run(tmp_path, bronze)
    before = parts(tmp_path / "out")
    again = run(tmp_path, bronze)
    assert (again.events, again.of(BTC).amounts.tasks) == (0, 0)
    assert parts(tmp_path / "out") == before


def test_what_has_come_since_is_added(tmp_path: Path, recorded: History) -> None:
    lake, half = tmp_path / "lake", len(recorded.events) // 2

    builder = BronzeBuilder(LocalDisk(lake, fsync=False), BTC)
    builder.write(recorded.events[:half])
    settle(lake)
    first = run(tmp_path, lake)
    builder.write(recorded.events[half:])
    settle(lake)
    second = run(tmp_path, lake)
    assert (first.events, second.events) == (half, len(recorded.events) - half)
    assert_holds(tmp_path / "out", recorded)


def test_a_limit_is_counted_from_the_beginning_and_can_be_raised(
    tmp_path: Path, bronze: Path, recorded: History
) -> None:
    assert run(tmp_path, bronze, limit=700).events == 700
    assert run(tmp_path, bronze, limit=700).events == 0
    assert run(tmp_path, bronze, limit=1000).events == 300
    assert run(tmp_path, bronze).events == len(recorded.events) - 1000
    assert_holds(tmp_path / "out", recorded)


def test_days_before_the_first_are_not_read_and_recorded_parameters_are_found(
    tmp_path: Path, bronze: Path, recorded: History
) -> None:
    days = sorted({stamp.date() for stamp in _times(recorded)})
    report = run(tmp_path, bronze, filters=FilterSpec(begin=days[1], end=days[1]))
    assert list(report.of(BTC).days) == [days[1].isoformat()]
    assert report.of(BTC).before_genesis == 0
    rows = stored(tmp_path / "out", BTC, "gold/tick_bars")
    assert rows["trade_count"].unique().to_list() == [20], "the genesis says tick_bar_size=20, the default is 100"


def test_a_day_later_is_a_job_of_its_own_beside_the_first(tmp_path: Path, bronze: Path, recorded: History) -> None:
    days = sorted({stamp.date() for stamp in _times(recorded)})
    for day in (days[1], days[0]):
        assert run(tmp_path, bronze, filters=FilterSpec(begin=day, end=day)).events > 0
    assert len(list((tmp_path / "state" / "etl").iterdir())) == 2
    assert stored_days(tmp_path / "out") == {days[0], days[1]}


def test_a_later_end_goes_on_where_an_earlier_one_ended(tmp_path: Path, bronze: Path, recorded: History) -> None:
    days = sorted({stamp.date() for stamp in _times(recorded)})
    run(tmp_path, bronze, filters=FilterSpec(end=days[0]))
    run(tmp_path, bronze)
    assert_holds(tmp_path / "out", recorded)


def test_the_configurations_parameters_can_take_the_place_of_recorded_ones(tmp_path: Path, bronze: Path) -> None:
    run(tmp_path, bronze, "bars", parameters="config")
    rows = stored(tmp_path / "out", BTC, "gold/tick_bars")
    assert rows["trade_count"].unique().to_list() == [100]


def test_a_market_without_any_genesis_has_the_configurations_parameters(tmp_path: Path, recorded: History) -> None:
    write_history(tmp_path / "lake", History(BTC, recorded.events[1:]))
    report = run(tmp_path, tmp_path / "lake", "bars")
    assert report.of(BTC).before_genesis == 0
    assert stored(tmp_path / "out", BTC, "gold/tick_bars")["trade_count"].unique().to_list() == [100]


def test_events_before_the_first_genesis_give_no_rows(tmp_path: Path, recorded: History) -> None:
    genesis, *events = recorded.events
    moved = History(BTC, (*events[:500], genesis, *events[500:]))
    write_history(tmp_path / "lake", moved)
    report = run(tmp_path, tmp_path / "lake")
    assert report.of(BTC).before_genesis == 500
    assert_holds(tmp_path / "out", moved)


def test_a_footer_says_who_wrote_a_part_and_which_times_it_holds(tmp_path: Path, bronze: Path) -> None:
    report = run(tmp_path, bronze, "trades")
    part = tmp_path / "out" / parts(tmp_path / "out")[0]
    rows = pl.read_parquet(part)
    said = pl.read_parquet_metadata(part)
    assert said["daedalus.origin"] == "batch"
    assert said["daedalus.job"].startswith(report.job)
    assert int(said["daedalus.first_timestamp"]) == rows["timestamp"].cast(pl.Int64).min()
    assert int(said["daedalus.last_timestamp"]) == rows["timestamp"].cast(pl.Int64).max()


def test_markets_are_chosen_by_exchange_and_symbol(tmp_path: Path, recorded: History) -> None:
    write_history(tmp_path / "lake", recorded, history(ETH, seed=2, days=1, count=500))
    report = run(tmp_path, tmp_path / "lake", filters=FilterSpec(exchange="binanceus", symbol="ETH-USDT"))
    assert list(report.markets) == [ETH]


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (FilterSpec(exchange="binance"), "--exchange binance: .* has binanceus; did you mean binanceus"),
        (FilterSpec(symbol="BTC/USD"), "--symbol BTC/USD: .* has BTC/USDT; did you mean BTC/USDT"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(
    tmp_path: Path, bronze: Path, filters: FilterSpec, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(tmp_path, bronze, filters=filters)


def test_a_range_without_events_is_no_error(tmp_path: Path, bronze: Path) -> None:
    assert run(tmp_path, bronze, filters=FilterSpec(begin=date(2031, 1, 1))).events == 0
    assert parts(tmp_path / "out") == []


def test_no_secret_is_in_the_state(tmp_path: Path, bronze: Path) -> None:
    run(tmp_path, bronze, "trades")
    described = json.loads(next((tmp_path / "state").rglob("job.json")).read_text())
    assert set(described) == {"input", "output", "targets", "parameters", "begin", "feature_parameters"}


def stored_days(output: Path) -> set[date]:
    return {stamp.date() for stamp in pl.read_parquet(output / "silver" / "trades")["timestamp"]}


def _times(recorded: History) -> pl.Series:
    return pl.Series([event.capture_ts for event in recorded.events]).cast(pl.Datetime("ns"))
