"""docs/extending.md is true: its package installs, and its column and its table are there live and in batch."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from support.batch import assert_same_tables, run_all
from support.checkout import ROOT
from support.offline import stored_tables
from support.stack import Stack

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE / "my_features"
MARKET = "exchange=binanceus/symbol=BTC-USDT"
CONFIG = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": ["BTC/USDT"], "watchTrades": ["BTC/USDT"]}}}},
    "ingestion": {"flush_interval_seconds": 0.5},
}
BROKEN = """
from daedalus_features import feature, SampledBooks

@feature(unit="quote")
def mid_price(book: SampledBooks):
    \"\"\"A name that is taken.\"\"\"
    return book.mid
"""


def python(*arguments: str | Path, path: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder into which the example is installed: on the path of a process, it is as good as site-packages."""
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "my_features")
    folder = str(tmp_path_factory.mktemp("installed"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target", folder]
    done = python("-m", "pip", "install", "--quiet", *options, source, path="")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_code_in_the_document_is_that_of_the_example() -> None:
    document = (ROOT / "docs" / "extending.md").read_text()
    shown = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", document, re.MULTILINE | re.DOTALL))
    files = [path for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml")]
    assert shown == {path.relative_to(EXAMPLE).as_posix(): path.read_text() for path in files}


def test_the_catalogue_has_the_column_and_the_table(installed: str) -> None:
    done = python("-m", "daedalus", "features", "list", "--json", path=installed)
    assert done.returncode == 0, done.stderr
    found = {(item["table"], item["name"]): item for item in json.loads(done.stdout)}
    assert found["orderbook", "touch_share"]["category"] == "structural"
    assert found["trade_runs", "volume"]["unit"] == "base"
    assert {name for table, name in found if table == "trade_runs"} == {"direction", "trade_count", "volume", "seconds"}
    assert (found["trade_runs", "volume"]["layer"], found["trade_runs", "volume"]["channel"]) == ("gold", "trades")


def test_portions_do_not_show(installed: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "portions.py", tmp_path)
    done = python(HERE / "recompute.py", path=f"{installed}{os.pathsep}{tmp_path}")
    assert done.returncode == 0, done.stderr
    computed = json.loads(done.stdout)
    assert len(computed["one"]["trade_runs"]) > 300
    assert computed["one"].keys() == computed["many"].keys()
    for table, rows in computed["one"].items():
        np.testing.assert_allclose(rows, computed["many"][table], rtol=1e-9, err_msg=table)


def test_an_extension_that_cannot_be_loaded_stops_the_featurizer_at_its_start(tmp_path: Path) -> None:
    (tmp_path / "taken.py").write_text(BROKEN)
    info = tmp_path / "their_features-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-features\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[daedalus.features]\ntheirs = taken\n")
    config = tmp_path / "config.yaml"
    config.write_text("redis: {url: redis://127.0.0.1:1}\n")
    done = python("-m", "daedalus_featurizer", "--config", config, "--telemetry-port", "0", path=str(tmp_path))
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if "cannot start" in line]
    for part in ("daedalus featurizer", "theirs", "their-features", "mid_price"):
        assert part in line
    done = python("-m", "daedalus", "features", "list", path=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "their-features" in done.stderr


def touch_shares(rows: pl.DataFrame) -> list[float]:
    """From the sizes that the same rows hold."""
    best = rows["bid_size_L0"] + rows["ask_size_L0"]
    sizes = [name for name in rows.columns if re.fullmatch(r"(bid|ask)_size_L\d+", name)]
    shares: list[float] = (best / rows.select(pl.sum_horizontal(sizes)).to_series()).to_list()
    return shares


def runs(trades: pl.DataFrame) -> list[tuple[int, int, int, float, float]]:
    """(timestamp, direction, trade_count, volume, seconds) of every run that another one has ended."""
    columns = (trades["direction"], trades["timestamp"].dt.epoch("ns"), trades["amount"])
    classified = [trade for trade in zip(*columns, strict=True) if trade[0] is not None]
    every = [(direction, list(run)) for direction, run in groupby(classified, key=lambda trade: trade[0])]
    return [
        (after[1][0][1], direction, len(run), sum(trade[2] for trade in run), (run[-1][1] - run[0][1]) / 1e9)
        for (direction, run), after in pairwise(every)
    ]


def streamed_books(stack: Stack) -> int:
    """Order-book rows that the featurizer has given."""
    with stack.client() as client:
        return sum(fields[b"c"] == b"orderbook" for _, fields in client.xrange("{binanceus:BTC-USDT}:silver"))


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_the_column_and_the_table_are_computed_live_and_in_batch(
    installed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", installed)
    with Stack(tmp_path, CONFIG) as stack:
        for name in ("writer", "featurizer"):
            stack.start(name)
        stack.wait_until(lambda: stack.lag("binanceus:BTC-USDT", "raw", "featurizer") == 0, "featurizer is there")
        stack.simulate("--symbols", "BTC/USDT", "--seed", "1", "--depth-rate", "50", "--trade-rate", "40")
        stack.start("ingestor")
        stack.wait_until(lambda: streamed_books(stack) > 5, "rows come", 60)
        stack.stop_in_order()
    tables = stored_tables(stack.data, MARKET)
    rows = tables["silver/orderbook"]
    assert rows.height > 4
    np.testing.assert_allclose(rows["touch_share"], touch_shares(rows), rtol=1e-9)
    expected = runs(tables["silver/trades"])
    assert len(expected) > 20
    stored = tables["gold/trade_runs"].with_columns(pl.col("timestamp").dt.epoch("ns")).drop("seq")
    np.testing.assert_allclose(stored.to_numpy(), expected, rtol=1e-9)
    run_all(stack.data, tmp_path / "batch", tmp_path / "state")
    assert assert_same_tables(stack.data, tmp_path / "batch")["gold/trade_runs"] == len(expected)
