"""Gold lies in partitions of a month, and a bar of one day may be closed by the first event of the next.

Whatever lies there already, a run over several days is refused, or leaves exactly the rows of a run beside nothing.
"""

import json
import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from threading import Event as Flag
from typing import Any

import polars as pl
import pytest

from daedalus.etl.executor import TransformExecutor
from daedalus.etl.filters import FilterSpec
from daedalus.etl.jobs import JobFolder
from daedalus.etl.order import Order
from daedalus.etl.problems import EtlError, UsageError
from daedalus.etl.report import Report
from daedalus.etl.targets import parse_targets
from daedalus_common.config import Config, parse_config
from daedalus_common.events import Book, Event, Genesis, Trade
from daedalus_common.stores import LocalDisk
from daedalus_features import FeatureConfig
from support.batch import assert_same_tables
from support.bronze import BronzeBuilder
from support.etl_runs import BTC, History, parts, settle, write_history
from support.live_parts import write_live

FIRST_DAY = date(2026, 2, 1)
BEGIN_NS = 1_769_904_000 * 10**9
SECOND_NS, HOUR_NS, DAY_NS = 10**9, 3600 * 10**9, 86_400 * 10**9
RECORDED = FeatureConfig(rolling_windows=(5, 60), tick_bar_size=20)
GOLD = ("bars", "trade_bars", "tick_bars")


def config(**features: object) -> Config:
    return parse_config({"ingestion": {"enable_fsync": False}, "features": features})


def day(number: int) -> date:
    """The days of the history, from 1."""
    return FIRST_DAY + timedelta(days=number - 1)


def events(days: int) -> list[Event]:
    """A book and a trade every ten minutes, the last at ten to midnight: the bar that ends a minute later is closed by
    the first event of the next day."""
    made: list[Event] = [Genesis(BEGIN_NS, "genesis", RECORDED.to_json())]
    for number in range(days * 144):
        ts = BEGIN_NS + number * 600 * SECOND_NS + SECOND_NS // 4
        price = 100.0 + number % 7
        made.append(Book(ts, None, None, ((price, 1.0), (price - 1, 2.0)), ((price + 1, 1.0), (price + 2, 2.0))))
        made.append(Trade(ts, None, str(number), price, 1.0, "buy" if number % 3 else "sell"))
    return made


@pytest.fixture(scope="module")
def recorded() -> History:
    return History(BTC, tuple(events(3)))


@pytest.fixture
def lake(tmp_path: Path, recorded: History) -> Path:
    write_history(tmp_path / "lake", recorded)
    return tmp_path / "lake"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(
    lake: Path,
    out: Path,
    filters: FilterSpec | None = None,
    *,
    given: Config | None = None,
    targets: Sequence[str] = ("bars",),
    **how: object,
) -> Report:
    state = out.parent / f"state-{out.name}"
    executor = TransformExecutor.from_config(given or config(), input=lake, output=out, state_dir=state)
    return executor.run(targets, filters or FilterSpec(), **how)  # type: ignore[arg-type]


def assert_nothing_is_double(out: Path) -> None:
    for folder in {(out / key).parent for key in parts(out)}:
        assert pl.read_parquet(folder / "*.parquet", hive_partitioning=False)["timestamp"].is_unique().all(), folder


def test_a_bar_of_one_day_lies_in_the_part_of_the_next(lake: Path, out: Path) -> None:
    """What the tests below are about."""
    run(lake, out)
    found = [pl.read_parquet_metadata(out / key) for key in parts(out) if "/bars/duration=60/" in key]
    second = next(each for each in found if each["daedalus.task"] == "2")
    assert BEGIN_NS < int(second["daedalus.first_timestamp"]) < BEGIN_NS + DAY_NS


@pytest.mark.parametrize("how", [{}, {"restart": True}, {"parameters": "config"}])
def test_the_parts_of_another_run_over_days_are_replaced(
    tmp_path: Path, lake: Path, out: Path, how: dict[str, Any]
) -> None:
    if how.get("restart"):
        run(lake, out, targets=["all"])
    else:
        run(lake, out, targets=["all"], parameters="recorded" if how else "config")
    first = parts(out)
    report = run(lake, out, targets=["all"], replace=True, **how)
    assert report.of(BTC).replaced == len(first)
    run(lake, tmp_path / "fresh", targets=["all"], **{**how, "restart": False})
    assert_same_tables(tmp_path / "fresh", out)


def test_live_parts_over_days_are_replaced(tmp_path: Path, lake: Path, out: Path, recorded: History) -> None:
    live = write_live(out, recorded, GOLD)
    report = run(lake, out, replace=True)
    assert report.of(BTC).replaced == len(live)
    run(lake, tmp_path / "fresh")
    assert_same_tables(tmp_path / "fresh", out)
    covers = [json.loads(pl.read_parquet_metadata(out / key).get("daedalus.covers", "[]")) for key in parts(out)]
    assert {key for keys in covers for key in keys} == set(live)


def test_live_parts_of_a_later_day_alone_are_in_the_way(lake: Path, out: Path, recorded: History) -> None:
    second = BEGIN_NS // HOUR_NS + 24
    live = write_live(out, recorded, GOLD, second + 2, second + 23)
    with pytest.raises(UsageError, match=r"holds rows of the live featurizer.*--replace"):
        run(lake, out)
    assert set(live) <= set(parts(out))
    assert_nothing_is_double(out)
    run(lake, out, replace=True)  # goes on with the second day
    run(lake, out.with_name("fresh"))
    assert_same_tables(out.with_name("fresh"), out)


def test_rows_later_than_the_last_day_that_is_read_are_seen_before_anything_is_replaced(lake: Path, out: Path) -> None:
    run(lake, out, parameters="config")
    before = parts(out)
    with pytest.raises(UsageError, match=r"later than the input that was read.*read on as far as that"):
        run(lake, out, FilterSpec(end=day(2)), replace=True)
    assert parts(out) == before


def test_parts_that_come_while_a_run_watches_are_in_the_way(tmp_path: Path, out: Path, recorded: History) -> None:
    lake = tmp_path / "lake"
    builder = BronzeBuilder(LocalDisk(lake, fsync=False), BTC)
    builder.write(recorded.events[:300])
    settle(lake)
    executor = TransformExecutor.from_config(config(), input=lake, output=out, state_dir=tmp_path / "state")
    with executor.open(Order(parse_targets(["bars"]))) as session:
        session.run(Flag())
        builder.write(recorded.events[300:])
        settle(lake)
        write_live(out, recorded, GOLD, BEGIN_NS // HOUR_NS + 30)
        with pytest.raises(UsageError, match=r"holds rows of the live featurizer"):
            session.run(Flag())
    assert_nothing_is_double(out)


def test_rows_that_the_new_run_does_not_have_go_too(tmp_path: Path, lake: Path, out: Path) -> None:
    before, after = config(tick_bar_size=20, bar_durations=[60]), config(tick_bar_size=10**6, bar_durations=[300])
    run(lake, out, given=before, parameters="config")
    run(lake, out, given=after, parameters="config", replace=True)
    assert not [key for key in parts(out) if "duration=60" in key or "tick_bars" in key]
    shutil.rmtree(out / "gold/tick_bars")  # folders without a part
    run(lake, tmp_path / "fresh", given=after, parameters="config")
    assert_same_tables(tmp_path / "fresh", out)


def test_rows_beside_the_days_and_tables_of_a_run_stay(lake: Path, out: Path) -> None:
    before, after = config(bar_durations=[60]), config(bar_durations=[300])
    run(lake, out, given=before, targets=["all"], parameters="config")
    silver = [key for key in parts(out) if key.startswith("silver")]
    times = gold_times(out, 60)
    run(lake, out, FilterSpec(begin=day(2), end=day(2)), given=after, parameters="config", replace=True)
    assert [key for key in parts(out) if key.startswith("silver")] == silver
    # The second day's part begins with the bar before midnight, which this run does not compute, and so it stays.
    assert gold_times(out, 60) == times


def gold_times(out: Path, duration: int) -> list[int]:
    frame = pl.read_parquet(out / f"gold/bars/duration={duration}/**/*.parquet", hive_partitioning=False)
    return sorted(frame["timestamp"].cast(pl.Int64))


def test_live_rows_of_a_day_that_bronze_lacks_are_not_lost(lake: Path, out: Path, recorded: History) -> None:
    """The last bar before the hole is closed by the first event behind it, and its hour's live part has others too."""
    live = write_live(out, recorded, ("trade_bars",))
    for folder in (lake / "bronze").rglob("day=2"):
        shutil.rmtree(folder)
    with pytest.raises(UsageError, match=r"hours that the input lacks.*move it away"):
        run(lake, out, replace=True)
    hole = [key for key in live if "part_20260202" in key]
    assert set(hole) <= set(parts(out))
    away = [key for key in hole if "part_20260202T00" in key]
    for key in away:
        (out / key).unlink()
    run(lake, out, replace=True)
    assert set(parts(out)) & set(live) == set(hole) - set(away) != set()
    assert_nothing_is_double(out)


def test_a_part_of_many_days_is_seen_from_the_last_of_them(tmp_path: Path, out: Path) -> None:
    made = events(12)
    trades = [event for event in made if isinstance(event, Trade)]
    lines = tmp_path / "events.ndjson"
    lines.write_text("".join(line(trade) for trade in trades))
    run(lines, out)
    of_lines = parts(out)
    write_history(tmp_path / "lake", History(BTC, (made[0], *trades)))
    with pytest.raises(UsageError, match="holds rows of another run"):
        run(tmp_path / "lake", out, FilterSpec(begin=day(12)))
    with pytest.raises(UsageError, match="before the input that was read"):
        run(tmp_path / "lake", out, FilterSpec(begin=day(12)), replace=True)
    assert parts(out) == of_lines
    run(tmp_path / "lake", out, replace=True)
    assert set(parts(out)).isdisjoint(of_lines)
    run(tmp_path / "lake", tmp_path / "fresh")
    assert_same_tables(tmp_path / "fresh", out)


def line(trade: Trade) -> str:
    market = {"channel": "trades", "exchange": BTC.exchange, "symbol": BTC.symbol}
    said = {name: getattr(trade, name) for name in ("capture_ts", "id", "price", "amount", "side")}
    return json.dumps(market | said) + "\n"


def test_a_task_that_reads_something_else_after_a_crash_makes_no_second_copy(
    tmp_path: Path, out: Path, recorded: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died between the parts and the checkpoint, and then somebody put a damaged segment right."""
    lake = tmp_path / "lake"
    keys = write_history(lake, recorded)
    segment = lake / [key for key in keys if "/trades/" in key and "/day=1/" in key][-1]
    good = segment.read_bytes()
    segment.write_bytes(good[:50])
    settle(lake)
    with monkeypatch.context() as patched:
        patched.setattr(JobFolder, "write", died_at(JobFolder.write))
        with pytest.raises(KeyboardInterrupt):
            run(lake, out, targets=["trades"])
    [left] = parts(out)
    segment.write_bytes(good)
    settle(lake)
    with pytest.raises(EtlError, match=r"of an earlier attempt at task 1 .*--restart --replace"):
        run(lake, out, targets=["trades"])
    assert parts(out) == [left]
    run(lake, out, targets=["trades"], restart=True, replace=True)
    run(lake, tmp_path / "fresh", targets=["trades"])
    assert_same_tables(tmp_path / "fresh", out)


def died_at(write):
    """Keeps the plan of a task, and dies before it is kept that it is done."""

    def dying(folder, checkpoint):
        if checkpoint.pending is None:
            raise KeyboardInterrupt
        write(folder, checkpoint)

    return dying
