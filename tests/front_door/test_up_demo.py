"""`daedalus up --demo` as a user runs it: a real pipeline of real processes, from exchange to Parquet and summary."""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psutil
import pytest

from daedalus.summary.ledger import Ledger
from daedalus.summary.reconcile import reconcile
from daedalus.summary.recording import Recording, objects_since, read_recording
from daedalus.summary.sent import parse_sent
from daedalus.summary.sequences import check_sequences
from daedalus_common.config import load_config
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from front_door.conftest import wait_until
from support.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

UP = (sys.executable, "-m", "daedalus", "up", "--demo")
END_SECONDS = 120.0
START_SECONDS = 90.0
ENV = {name: value for name, value in os.environ.items() if not name.startswith("DAEDALUS__")}


@dataclass
class Demo:
    """One `daedalus up --demo` in progress; `said` is its stderr so far."""

    data_dir: Path
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def child(self, name: str) -> psutil.Process:
        def found() -> list[psutil.Process]:
            children, its_command = psutil.Process(self.process.pid).children(), rf"daedalus_{name}\b|/{name}-server\b"
            return [child for child in children if re.search(its_command, " ".join(child.cmdline()))]

        wait_until(found, f"the {name} runs", START_SECONDS)
        return found()[0]

    def wait_for(self, text: str) -> None:
        wait_until(
            lambda: any(text in line for line in self.said) or self.process.poll() is not None,
            f"it says {text!r}; it said {self.said}",
            START_SECONDS,
        )
        assert self.process.poll() is None, self.said

    def end(self) -> tuple[int, Any]:
        """(exit code, the JSON on stdout or None)."""
        assert self.process.stdout is not None
        text = self.process.stdout.read()
        exit_code = self.process.wait(END_SECONDS)
        return exit_code, json.loads(text) if text else None


@pytest.fixture
def start() -> Iterator[Callable[..., Demo]]:
    """Starts runs, and ends those that a failed test has left."""
    demos: list[Demo] = []

    def make(data_dir: Path, *arguments: str) -> Demo:
        process = subprocess.Popen(
            [*UP, "--json", "--no-display", "--data-dir", str(data_dir), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV, start_new_session=True,
        )  # fmt: skip
        demo = Demo(data_dir, process)
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        threading.Thread(target=demo.said.extend, args=(lines,), daemon=True).start()
        demos.append(demo)
        return demo

    yield make
    for demo in demos:
        if demo.process.poll() is None:
            demo.process.kill()
        demo.process.communicate()


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    data_dir: Path
    exit_code: int
    summary: dict[str, Any]
    said: str


MARKETS = {"BTC-USDT", "ETH-USDT", "SOL-USDT"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of eight seconds, which several tests look at."""
    data_dir = tmp_path_factory.mktemp("demo") / "data"
    done = subprocess.run(
        [*UP, "--duration", "8s", "--data-dir", str(data_dir), "--json"],
        capture_output=True, text=True, timeout=200, env=ENV,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return Finished(data_dir, done.returncode, json.loads(done.stdout), done.stderr)


def test_everything_that_was_sent_is_accounted_for(finished):
    summary = finished.summary
    assert (finished.exit_code, summary["result"], summary["problems"]) == (0, "reconciled", []), finished.said
    assert len(summary["feeds"]) == 9
    for feed in summary["feeds"]:
        assert feed["recorded"] > 3, feed
        assert feed["sent"] <= feed["recorded"] + feed["declared"] + 1  # a book may begin with a snapshot
    assert summary["gaps"]["count"] == 9  # one per channel and market, where its subscription begins
    assert (summary["drops"], summary["bad_frames"], summary["dead_letters"]) == (0, 0, 0)
    assert summary["restarts"] == {}
    assert 8 <= summary["seconds"] < 15
    assert json.loads((finished.data_dir / "run" / "summary.json").read_text()) == summary


def test_polars_and_duckdb_read_all_layers_with_their_partitions(finished):
    for table, count in finished.summary["tables"].items():
        pattern = str(finished.data_dir / table / "**" / "*.parquet")
        frame = pl.scan_parquet(pattern, hive_partitioning=True).collect()
        assert frame.height == count["rows"], table
        symbols = set(frame["symbol"].unique())
        # A market of few trades may close none of the larger bars in eight seconds.
        assert symbols == MARKETS if table.startswith(("bronze/", "silver/")) else symbols <= MARKETS, table
        query = f"select symbol, count(*) from read_parquet('{pattern}', hive_partitioning=true) group by symbol"
        relation = duckdb.sql(query)
        assert relation is not None
        assert dict(relation.fetchall()) == dict(frame.group_by("symbol").len().iter_rows()), table
    layers = {table.split("/")[0] for table in finished.summary["tables"]}
    assert layers >= {"bronze", "silver", "gold"}


def test_silver_prices_are_those_of_the_books(finished):
    silver = pl.read_parquet(finished.data_dir / "silver" / "orderbook" / "**" / "*.parquet", hive_partitioning=True)
    assert silver.filter(pl.col("spread") <= 0).height == 0
    books = pl.read_parquet(
        finished.data_dir / "bronze" / "ccxt" / "orderbook" / "**" / "*.parquet", hive_partitioning=True
    )
    for symbol in sorted(MARKETS):
        mids = books.filter(symbol=symbol).select(
            (pl.col("bid_price").list.first() + pl.col("ask_price").list.first()) / 2
        )
        rows = silver.filter(symbol=symbol)["mid_price"]
        assert len(rows) >= 4
        assert set(rows) <= set(mids.to_series())


def test_no_process_and_no_secret_outlives_the_run(finished):
    mine = str(finished.data_dir)
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if mine in " ".join(p.info["cmdline"] or [])]
    assert left == []
    run = finished.data_dir / "run"
    assert run.stat().st_mode & 0o077 == 0
    password = load_config(run / "daedalus.yaml", {}).redis.password.get_secret_value()
    assert password
    for log in (finished.data_dir / "logs").iterdir():
        assert password not in log.read_text(errors="replace")
    assert password not in finished.said


@pytest.mark.parametrize("table", ["orderbook", "trades", "ticker", "control"])
@pytest.mark.parametrize("which", [0, -1], ids=["the first", "the last"])
def test_a_segment_that_is_gone_makes_the_books_not_balance(finished, tmp_path, table, which):
    shutil.copytree(finished.data_dir / "bronze", tmp_path / "bronze")
    assert ledger_of(finished, tmp_path).reconciled
    market = tmp_path / "bronze" / "ccxt" / table / "exchange=binanceus" / "symbol=BTC-USDT"
    sorted(market.rglob("*.parquet"))[which].unlink()
    ledger = ledger_of(finished, tmp_path)
    assert not ledger.reconciled
    assert [sequence.market.symbol for sequence in ledger.sequences if not sequence.whole] == ["BTC/USDT"]


def test_a_segment_that_is_there_twice_makes_the_books_not_balance(finished, tmp_path):
    shutil.copytree(finished.data_dir / "bronze", tmp_path / "bronze")
    segment = next((tmp_path / "bronze" / "ccxt" / "trades").rglob("*.parquet"))
    shutil.copy(segment, segment.with_name("segment_20200101T00_99999.parquet"))
    ledger = ledger_of(finished, tmp_path)
    assert any(balance.double for balance in ledger.balances)
    assert any(sequence.double for sequence in ledger.sequences)


def test_a_segment_that_is_cut_off_makes_the_books_not_balance(finished, tmp_path):
    shutil.copytree(finished.data_dir / "bronze", tmp_path / "bronze")
    segment = next((tmp_path / "bronze" / "ccxt" / "trades").rglob("*.parquet"))
    os.truncate(segment, segment.stat().st_size // 2)
    recording = recording_of(finished, tmp_path)
    assert [str(segment.relative_to(tmp_path)) in text for text in recording.unreadable] == [True]
    assert not ledger_of(finished, tmp_path).reconciled


def recording_of(finished: Finished, folder: Path) -> Recording:
    store = LocalDisk(folder)
    started = datetime.fromisoformat(finished.summary["started"])
    markets = load_config(finished.data_dir / "run" / "daedalus.yaml", {}).markets()
    return read_recording(store, objects_since(store, ["bronze/"], started), [m.market for m in markets], started)


def ledger_of(finished: Finished, folder: Path) -> Ledger:
    """The run's ledger, with the Bronze that lies in `folder`."""
    markets = load_config(finished.data_dir / "run" / "daedalus.yaml", {}).markets()
    sent = parse_sent((finished.data_dir / "run" / "ledger.json").read_bytes(), markets)
    ends = {Market(s["exchange"], s["symbol"]): s["last"] for s in finished.summary["sequences"]}
    recording = recording_of(finished, folder)
    return Ledger(
        reconcile(sent.feeds, recording.events, recording.gaps),
        check_sequences({}, ends, recording.seqs, recording.gaps),
    )


def test_ctrl_c_ends_the_run_cleanly(start, tmp_path):
    demo = start(tmp_path / "data", "--duration", "1h")
    demo.wait_for("recording")
    time.sleep(4)
    demo.process.send_signal(signal.SIGINT)
    exit_code, summary = demo.end()
    assert (exit_code, summary["result"]) == (0, "reconciled"), (summary, demo.said)
    assert summary["seconds"] < 60
    assert summary["totals"]["recorded"] > 50


def test_a_second_ctrl_c_kills_at_once_and_the_next_run_stores_what_was_published(start, tmp_path):
    demo = start(tmp_path / "data", "--duration", "1h")
    demo.wait_for("recording")
    time.sleep(3)
    children = psutil.Process(demo.process.pid).children()
    assert len(children) == 6
    demo.child("compactor").suspend()  # the first to be stopped: it holds up the end until it is killed
    demo.process.send_signal(signal.SIGINT)
    demo.wait_for("stopping the compactor")
    demo.process.send_signal(signal.SIGINT)
    before = time.monotonic()
    exit_code, summary = demo.end()
    assert (exit_code, summary) == (130, None)
    assert time.monotonic() - before < 20
    assert not any(child.is_running() and child.status() != "zombie" for child in children)
    again = start(tmp_path / "data", "--duration", "5s")
    exit_code, summary = again.end()
    assert (exit_code, summary["result"]) == (0, "reconciled"), (summary, again.said)
    assert "takeover" in summary["gaps"]["by_reason"]
    pattern = tmp_path / "data" / "bronze" / "ccxt" / "*" / "**" / "*.parquet"
    rows = pl.scan_parquet(pattern, hive_partitioning=True, extra_columns="ignore", missing_columns="insert")
    seqs = rows.select("symbol", "seq").collect()
    for (symbol,), frame in seqs.group_by("symbol"):
        assert sorted(frame["seq"]) == list(range(1, frame.height + 1)), symbol


def test_killed_children_are_started_again_and_nothing_is_lost_in_silence(start, tmp_path):
    names = ["writer", "featurizer", "ingestor", "valkey"]
    demo = start(tmp_path / "data", "--duration", "1h")
    demo.wait_for("recording")
    for name in names:
        time.sleep(4)
        demo.child(name).kill()
        demo.wait_for(f"{name} ended unasked (killed by SIGKILL)")
    assert demo.child(names[-1]).is_running()
    time.sleep(6)
    demo.process.send_signal(signal.SIGINT)
    exit_code, summary = demo.end()
    assert (exit_code, summary["result"]) == (0, "reconciled"), (summary, demo.said)
    assert summary["restarts"] == dict.fromkeys(names, 1)
    assert sum(feed["declared"] for feed in summary["feeds"]) > 0


def test_nothing_outlives_a_killed_supervisor_and_the_next_run_goes_on(start, tmp_path):
    demo = start(tmp_path / "data", "--duration", "1h")
    demo.wait_for("recording")
    time.sleep(3)
    children = psutil.Process(demo.process.pid).children()
    demo.process.kill()
    demo.process.wait()
    wait_until(lambda: not any(c.is_running() and c.status() != "zombie" for c in children), "all are gone", 10)
    exit_code, summary = start(tmp_path / "data", "--duration", "5s").end()
    assert (exit_code, summary["result"]) == (0, "reconciled"), summary


def test_without_features_only_bronze_is_written_and_nothing_waits_for_the_featurizer(start, tmp_path):
    config = tmp_path / "demo.yaml"
    config.write_text(
        "ccxt: {exchanges: {binanceus: {channels: {watchOrderBook: [BTC/USDT]}}}}\n"
        "etl: {channels: {orderbook: {enabled: false}, trades: {enabled: false}, ticker: {enabled: false}}}\n"
    )
    demo = start(tmp_path / "data", "--duration", "4s", "--config", str(config))
    exit_code, summary = demo.end()
    assert (exit_code, summary["result"]) == (0, "reconciled"), (summary, demo.said)
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"bronze"}
    assert not (tmp_path / "data" / "silver").exists()


def test_on_a_terminal_there_is_a_live_display(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*UP, "--duration", "6s", "--data-dir", str(tmp_path / "data")],
        stdout=subprocess.PIPE, stderr=theirs, stdin=theirs, text=True,
        env={**ENV, "TERM": "xterm-256color", "COLUMNS": "130", "LINES": "50"}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    screen = b""
    while True:
        if select.select([ours], [], [], END_SECONDS)[0]:
            try:
                screen += os.read(ours, 65_536)
                continue
            except OSError:  # the other side is closed: it has ended
                break
        process.kill()
    os.close(ours)
    table, _ = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 0, screen[-3000:]
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode(errors="replace"))
    assert re.search(r"binanceus:BTC-USDT +[\d,]+ +[\d.]+ +\d+ +\d+ +[\d,.]+ +[\d.]+", text), text[-3000:]
    assert re.search(r"ingestor +running +\d+ +\d+s +0 +\d+ % +\d+ MiB", text), text[-3000:]
    assert re.search(r"[1-5]s of 6s +recording", text)
    assert table.rstrip().endswith("reconciled: yes")


LIVE = """
ccxt: {{exchanges: {{binanceus: {{api_url: "{url}", channels: {{watchTrades: [BTC/USDT], watchTicker: [BTC/USDT]}}}}}}}}
storage: {{ingestion_storage: {{base_dir: "{bronze}"}}, etl_storage_output: {{base_dir: "{rest}"}}}}
"""


@pytest.fixture
def exchange_url(tmp_path: Path) -> Iterator[str]:
    """A simulated exchange that stands for a real one: the run knows nothing of its ledger."""
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "daedalus_simulator", "--port", "0", "--port-file", str(port_file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(port_file.exists, "the exchange listens", START_SECONDS)
        yield f"http://127.0.0.1:{port_file.read_text().strip()}"
    finally:
        process.kill()
        process.wait()


def up(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daedalus", "up", "--config", str(config), "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=ENV)


def test_a_live_run_records_with_the_configured_stores_and_server(tmp_path, exchange_url, redis_url):
    config = tmp_path / "daedalus.yaml"
    config.write_text(LIVE.format(url=exchange_url, bronze=tmp_path / "store", rest=tmp_path / "other"))
    done = up(config, "--duration", "6s", "--redis", redis_url)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["result"], summary["reconciled"], summary["feeds"]) == ("recorded", None, [])
    assert summary["tables"]["bronze/ccxt/trades"]["rows"] > 5
    assert summary["gaps"]["count"] == 2
    trades = tmp_path / "store" / "bronze" / "ccxt" / "trades" / "**" / "*.parquet"
    assert pl.read_parquet(trades, hive_partitioning=True).height == summary["tables"]["bronze/ccxt/trades"]["rows"]
    assert not (tmp_path / "store" / "logs" / "valkey.log").exists()


def test_a_live_run_serves_its_metrics_on_the_configured_ports_and_tells_of_one_that_is_taken(tmp_path, exchange_url):
    config, writer = tmp_path / "daedalus.yaml", free_port()
    text = LIVE.format(url=exchange_url, bronze=tmp_path / "store", rest=tmp_path / "store")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ingestor = taken.getsockname()[1]
        ports = f"telemetry: {{ports: {{writer: {writer}, featurizer: 0, ingestor: {ingestor}}}}}\n"
        config.write_text(text + ports)
        done = up(config, "--duration", "2s")
    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{writer}" in (tmp_path / "store" / "logs" / "writer.log").read_text()
    assert f"/metrics: telemetry.ports.ingestor, {ingestor}, is taken" in done.stderr
    assert "telemetry.ports.featurizer" not in done.stderr


def test_a_service_that_cannot_start_ends_the_run_with_its_last_words(tmp_path, exchange_url):
    (tmp_path / "file").write_text("")
    config = tmp_path / "daedalus.yaml"
    config.write_text(LIVE.format(url=exchange_url, bronze=tmp_path / "store", rest=tmp_path / "file"))
    done = up(config, "--duration", "1h")
    assert done.returncode == 1
    assert "the writer failed 3 times in a row while starting (exit code 1)" in done.stderr
    assert f"local disk {tmp_path / 'file'}" in done.stderr
    assert "storage.etl_storage_output" in done.stderr
