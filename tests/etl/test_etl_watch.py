"""A watch computes what comes, in the order in which it was recorded, and nothing twice."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from daedalus.etl.executor import TransformExecutor
from daedalus.etl.filters import FilterSpec
from daedalus.etl.order import Order
from daedalus.etl.report import Report
from daedalus.etl.session import Session, Surroundings
from daedalus.etl.targets import parse_targets
from daedalus.etl.watch import watching
from daedalus_common.config import parse_config
from daedalus_common.stores import LocalDisk
from support.bronze import BronzeBuilder
from support.etl_runs import BTC, EtlProcess, History, assert_holds, history, parts, settle

CONFIG = parse_config({"ingestion": {"enable_fsync": False}})
FLUSH = timedelta(minutes=30)


class Lake:
    """A folder in which Bronze grows, and an order that is open on it."""

    def __init__(self, tmp_path: Path, recorded: History, later: timedelta = timedelta()) -> None:
        self.folder = tmp_path / "lake"
        self.out = tmp_path / "out"
        self.state = tmp_path / "state"
        self.folder.mkdir()
        self.later = later
        self.recorded = recorded
        self.builder = BronzeBuilder(LocalDisk(self.folder, fsync=False), BTC, FLUSH)
        self._written = 0

    def executor(self) -> TransformExecutor:
        around = Surroundings(now=lambda: datetime.now(UTC) + self.later)
        made = TransformExecutor.from_config(CONFIG, input=self.folder, output=self.out, state_dir=self.state)
        return TransformExecutor(made.places, self.state, around)

    def grow(self, count: int) -> list[str]:
        """The keys of the segments of so many more events."""
        new = self.builder.write(self.recorded.events[self._written : self._written + count])
        self._written += count
        return new


@pytest.fixture(scope="module")
def recorded() -> History:
    return history(days=0.5, count=2000, seed=9)


def order(**more: object) -> Order:
    return Order(parse_targets(["all"]), **more)  # type: ignore[arg-type]


def one_pass(session: Session) -> Report:
    return session.run(Event(), patient=True)


def test_each_pass_takes_what_has_come(tmp_path: Path, recorded: History) -> None:
    lake = Lake(tmp_path, recorded)
    with lake.executor().open(order()) as session:
        assert one_pass(session).markets == {}
        seen = []
        for _ in range(5):
            lake.grow(len(recorded.events) // 5 + 1)
            seen.append(one_pass(session).events)
            assert one_pass(session).events == 0
    assert sum(seen) == len(recorded.events)
    assert all(seen)
    assert_holds(lake.out, recorded)


def test_a_new_process_goes_on_where_the_last_one_ended(tmp_path: Path, recorded: History) -> None:
    lake = Lake(tmp_path, recorded)
    for _ in range(3):
        lake.grow(len(recorded.events) // 3 + 1)
        with lake.executor().open(order()) as session:
            one_pass(session)
    assert_holds(lake.out, recorded)


def test_a_segment_that_comes_late_is_waited_for(tmp_path: Path, recorded: History) -> None:
    lake = Lake(tmp_path, recorded)
    keys = lake.grow(len(recorded.events))
    books = [key for key in keys if "/orderbook/" in key]
    late = lake.folder / books[-1]
    hidden = late.rename(tmp_path / "late.parquet")
    with lake.executor().open(order()) as session:
        first = one_pass(session)
        assert first.held_back > 0
        assert 0 < first.events < len(recorded.events)
        assert first.of(BTC).amounts.missing == 0
        hidden.rename(late)
        second = one_pass(session)
    assert second.held_back == 0
    assert second.of(BTC).amounts.missing == 0
    assert_holds(lake.out, recorded)


def test_a_segment_that_never_comes_is_a_loss_after_ten_minutes(tmp_path: Path, recorded: History) -> None:
    lake = Lake(tmp_path, recorded)
    keys = lake.grow(len(recorded.events))
    (lake.folder / [key for key in keys if "/orderbook/" in key][-1]).unlink()
    with lake.executor().open(order()) as session:
        assert one_pass(session).held_back > 0
    lake.later = timedelta(minutes=9)
    with lake.executor().open(order()) as session:
        assert one_pass(session).held_back > 0
    lake.later = timedelta(minutes=11)
    with lake.executor().open(order()) as session:
        report = one_pass(session)
    assert report.held_back == 0
    assert report.of(BTC).amounts.missing > 0


def test_a_market_without_a_genesis_is_left_until_none_can_come(tmp_path: Path, recorded: History) -> None:
    lake = Lake(tmp_path, History(BTC, recorded.events[1:]))
    lake.grow(500)
    with lake.executor().open(order()) as session:
        first = one_pass(session)
        assert (first.events, first.held_back > 0) == (0, True)
    settle(lake.folder)
    with lake.executor().open(order()) as session:
        assert one_pass(session).events == 500


def test_it_stops_between_two_looks(tmp_path: Path, recorded: History) -> None:
    lake = Lake(tmp_path, recorded)
    lake.grow(500)
    stop = Event()
    reports: list[Report] = []
    with lake.executor().open(order()) as session:
        thread = Thread(target=lambda: reports.extend(watching(session, 60.0, stop, print)))
        thread.start()
        deadline = time.monotonic() + 20
        while not reports and time.monotonic() < deadline:
            time.sleep(0.01)
        stop.set()
        thread.join(5)
    assert [report.events for report in reports] == [500]


def test_the_command_watches_until_stopped(tmp_path: Path, recorded: History) -> None:
    lake = Lake(tmp_path, recorded)
    half = len(recorded.events) // 2
    places = ("--input", lake.folder, "--output", lake.out, "--state-dir", lake.state)
    with EtlProcess("watch", *places, "--poll-interval", "0.2", "--json") as process:
        assert process.process.stdout is not None
        lake.grow(half)
        _until(process, half)
        lake.grow(half + 1)
        _until(process, len(recorded.events) - half)
        process.process.send_signal(signal.SIGTERM)
        code, _, errors = process.ended()
    assert code == 143
    assert "watching" in errors
    assert_holds(lake.out, recorded)
    assert len(parts(lake.out)) > 10


def test_filters_hold_for_a_watch_too(tmp_path: Path, recorded: History) -> None:
    lake = Lake(tmp_path, recorded)
    lake.grow(500)
    with lake.executor().open(order(filters=FilterSpec(symbol="BTC/USDT"))) as session:
        assert one_pass(session).events == 500


def _until(process: EtlProcess, events: int) -> None:
    """Until reports of so many events have been printed."""
    assert process.process.stdout is not None
    while events > 0:
        line = process.process.stdout.readline()
        assert line, process.process.stderr and process.process.stderr.read()
        events -= json.loads(line)["events"]
