"""What has changed since a run was there before is refused with the way out, never read as if it were the same."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import sleep

import polars as pl
import pytest
from rich.console import Console

from daedalus.cli.etl_report import render_report
from daedalus.etl import sources
from daedalus.etl.checkpoint import Checkpoint
from daedalus.etl.executor import TransformExecutor
from daedalus.etl.filters import FilterSpec
from daedalus.etl.jobs import JobFolder
from daedalus.etl.order import Order
from daedalus.etl.problems import UsageError
from daedalus.etl.progress import Sizing
from daedalus.etl.targets import Target
from daedalus_common.config import parse_config
from daedalus_common.events import Genesis
from support.etl_runs import BTC, History, assert_holds, history, parts, settle, write_history

T0 = 1_769_904_000_000_000_000


class PowerCut(BaseException):
    """The process ends between a task's parts and its checkpoint."""


def lines(begin: int, end: int, symbol: str = "A/B") -> str:
    """A trade a second."""
    return "".join(
        json.dumps(
            {"channel": "trades", "exchange": "x", "symbol": symbol, "capture_ts": T0 + n * 10**9,
             "price": 100 + n % 7, "amount": 1.0, "side": "buy"}
        ) + "\n"
        for n in range(begin, end)
    )  # fmt: skip


def executor(tmp_path: Path, source: Path, **features: object) -> TransformExecutor:
    config = parse_config({"features": features})
    return TransformExecutor.from_config(config, input=source, output=tmp_path / "out", state_dir=tmp_path / "state")


def seconds(tmp_path: Path) -> list[int]:
    """The times of all rows of trades, counted from T0."""
    frames = [pl.read_parquet(tmp_path / "out" / key, hive_partitioning=False) for key in parts(tmp_path / "out")]
    return sorted((ns - T0) // 10**9 for frame in frames for ns in frame["timestamp"].cast(pl.Int64))


def dies(monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> None:
    """Runs until the first task's parts are durable, and not its checkpoint."""
    real = JobFolder.write

    def write(self: JobFolder, checkpoint: Checkpoint) -> None:
        if checkpoint.pending is None:
            raise PowerCut
        real(self, checkpoint)

    with monkeypatch.context() as patched:
        patched.setattr(JobFolder, "write", write)
        with pytest.raises(PowerCut):
            run()


def test_a_file_that_grew_while_its_task_was_pending_is_read_on_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "e.ndjson"
    file.write_text(lines(0, 1000))
    dies(monkeypatch, lambda: executor(tmp_path, file).run("trades"))
    with file.open("a") as more:
        more.write(lines(1000, 1100))
    report = executor(tmp_path, file).run("trades")
    assert (report.events, report.rejected) == (1100, 0)
    assert seconds(tmp_path) == list(range(1100))


def test_a_folder_is_read_on_and_an_earlier_file_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b.ndjson").write_text(lines(0, 100))
    assert executor(tmp_path, folder).run("trades").events == 100
    with (folder / "b.ndjson").open("a") as more:
        more.write(lines(100, 120))
    (folder / "c.ndjson").write_text(lines(120, 150))
    assert executor(tmp_path, folder).run("trades").events == 50
    (folder / "a.ndjson").write_text(lines(500, 600))
    with pytest.raises(UsageError, match=r"a\.ndjson is new, and comes before \S*b\.ndjson, .*--restart"):
        executor(tmp_path, folder).run("trades")
    with pytest.raises(UsageError, match=r"a\.ndjson is new"):
        executor(tmp_path, folder).plan(Order((Target.TRADES,)))
    assert seconds(tmp_path) == list(range(150))
    report = executor(tmp_path, folder).run("trades", restart=True, replace=True)
    assert report.events == 250


def test_a_file_replaced_by_another_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    file.write_text(lines(0, 100))
    executor(tmp_path, file).run("trades")
    file.write_text(lines(5000, 5200))
    with pytest.raises(UsageError, match=r"e\.ndjson holds something else than when it was read; give --restart"):
        executor(tmp_path, file).run("trades")
    assert seconds(tmp_path) == list(range(100))


def test_a_file_replaced_while_its_task_was_pending_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "e.ndjson"
    file.write_text(lines(0, 100))
    dies(monkeypatch, lambda: executor(tmp_path, file).run("trades"))
    file.write_text(lines(5000, 5200))
    with pytest.raises(UsageError, match=r"e\.ndjson holds something else than when its task began; give --restart"):
        executor(tmp_path, file).run("trades")
    assert seconds(tmp_path) == list(range(100))


@pytest.mark.parametrize("replace", [False, True])
def test_lines_are_computed_in_pieces_and_the_bytes_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    monkeypatch.setattr(sources, "NDJSON_TASK_EVENTS", 300)
    file = tmp_path / "e.ndjson"
    file.write_text(lines(0, 1000) + lines(0, 50, "C/D"))
    made = executor(tmp_path, file)
    with made.open(Order((Target.TRADES,), replace=replace)) as session, Sizing(session.remaining_bytes) as sizing:
        report = session.run(Event())
        sizing_total = session.remaining_bytes(Event())
        while sizing.total is None:
            sleep(0.01)
    assert {market.symbol: each.amounts.tasks for market, each in report.markets.items()} == {"A/B": 4, "C/D": 1}
    done = sum(each.amounts.input_bytes for each in report.markets.values())
    assert done == sizing.total == sizing_total == file.stat().st_size
    assert executor(tmp_path, file).run("trades").events == 0


def test_two_markets_of_one_path_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    file.write_text(lines(0, 100, "BTC/USDT"))
    executor(tmp_path, file).run("trades")
    with file.open("a") as more:
        more.write(lines(100, 150, "BTC-USDT"))
    with pytest.raises(UsageError, match="both BTC-USDT and BTC/USDT of x, which are both x:BTC-USDT in paths"):
        executor(tmp_path, file).run("trades")


def test_a_checkpoint_of_another_market_with_the_same_path_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    file.write_text(lines(0, 100, "BTC/USDT"))
    executor(tmp_path, file).run("trades")
    file.write_text(lines(0, 100, "BTC-USDT"))
    with pytest.raises(UsageError, match=r"x BTC-USDT: the checkpoint .* is of BTC/USDT"):
        executor(tmp_path, file).run("trades")


def without_genesis() -> History:
    return History(BTC, tuple(each for each in history(days=1, count=400).events if not isinstance(each, Genesis)))


def test_other_parameters_are_refused_for_a_market_that_began_with_the_configurations(tmp_path: Path) -> None:
    write_history(tmp_path / "lake", without_genesis())
    assert executor(tmp_path, tmp_path / "lake").run("orderbook").events > 0
    assert executor(tmp_path, tmp_path / "lake").run("orderbook").events == 0
    with pytest.raises(UsageError, match=r"binanceus:BTC-USDT: nobody has recorded its parameters.*--restart"):
        executor(tmp_path, tmp_path / "lake", emit_interval=5.0).run("orderbook")
    other = executor(tmp_path, tmp_path / "lake", emit_interval=5.0)
    assert other.run("orderbook", restart=True, replace=True).events > 0
    assert other.run("orderbook").events == 0


def test_recorded_parameters_do_not_depend_on_the_configuration(tmp_path: Path) -> None:
    recorded = history(days=1, count=400)
    write_history(tmp_path / "lake", recorded)
    executor(tmp_path, tmp_path / "lake").run("orderbook", limit=100)
    executor(tmp_path, tmp_path / "lake", emit_interval=5.0).run("orderbook")
    assert_holds(tmp_path / "out", recorded, ["silver/orderbook"])


@pytest.mark.parametrize("begin", [False, True], ids=["all", "from a day"])
def test_a_damaged_control_segment_does_not_change_the_parameters(tmp_path: Path, begin: bool) -> None:
    recorded = history(days=2, count=400)
    keys = write_history(tmp_path / "lake", recorded)
    for key in keys:
        if "/control/" in key:
            path = tmp_path / "lake" / key
            path.write_bytes(path.read_bytes()[:40])
    settle(tmp_path / "lake")
    day = datetime.fromtimestamp(recorded.events[-1].capture_ts / 1e9, UTC).date()
    filters = FilterSpec(begin=day) if begin else FilterSpec()
    with pytest.raises(UsageError, match=r"bronze/ccxt/control/\S+parquet: it is truncated.*--parameters config"):
        executor(tmp_path, tmp_path / "lake").run("orderbook", filters)
    assert executor(tmp_path, tmp_path / "lake").run("orderbook", filters, parameters="config").events > 0


def test_a_damaged_control_segment_beside_a_good_genesis_is_no_hindrance(tmp_path: Path) -> None:
    keys = [key for key in write_history(tmp_path / "lake", history(days=2, count=400)) if "/control/" in key]
    (tmp_path / "lake" / keys[-1]).write_bytes(b"")
    settle(tmp_path / "lake")
    report = executor(tmp_path, tmp_path / "lake").run("orderbook")
    assert [bad.key for bad in report.of(BTC).checkpoint.bad_segments] == [keys[-1]]  # type: ignore[union-attr]


def test_a_quarantined_segment_that_was_put_right_is_told_of(tmp_path: Path) -> None:
    recorded = history(days=1, count=400)
    lake = tmp_path / "lake"
    victim = lake / [key for key in write_history(lake, recorded) if "/trades/" in key][-1]
    good = victim.read_bytes()
    victim.write_bytes(b"?" * len(good))
    settle(lake)
    assert executor(tmp_path, lake).run("trades").of(BTC).changed == ()
    assert executor(tmp_path, lake).run("trades").of(BTC).changed == ()
    victim.write_bytes(good)
    report = executor(tmp_path, lake).run("trades")
    assert report.of(BTC).changed == (victim.relative_to(lake).as_posix(),)
    console = Console(width=10_000, file=io.StringIO(), record=True)
    console.print(render_report(report, by_day=False))
    assert f"changed since: {victim.relative_to(lake).as_posix()}; to compute" in console.export_text()
    again = executor(tmp_path, lake).run("trades", restart=True, replace=True)
    assert (again.of(BTC).changed, again.rejected) == ((), 0)
    assert_holds(tmp_path / "out", recorded, ["silver/trades"])


def test_a_limit_on_young_events_holds_nothing_back_afterwards(tmp_path: Path) -> None:
    recorded = history(days=0.02, count=400)
    write_history(tmp_path / "lake", recorded, settled=False)
    first = executor(tmp_path, tmp_path / "lake").run("trades", limit=100)
    assert first.events == 100
    second = executor(tmp_path, tmp_path / "lake").run("trades")
    assert (second.events, second.held_back) == (len(recorded.events) - 100, 0)
    assert_holds(tmp_path / "out", recorded, ["silver/trades"])


def test_output_is_synced_also_where_recording_does_not(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    config = parse_config({"ingestion": {"enable_fsync": False}})
    made = TransformExecutor.from_config(config, input=tmp_path / "lake", output=tmp_path / "out")
    assert made.places.output.fsync
    assert TransformExecutor.from_config(config, input=tmp_path / "lake").places.output.fsync
