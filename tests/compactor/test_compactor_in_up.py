"""`daedalus up` runs the compactor beside the others, and its work is not taken for what the run has recorded."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.bronze import BronzeBuilder, varied_events
from support.compaction import age, keys_of
from support.lake import counting

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def up(data: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "daedalus", "up", "--demo", "--json", "--no-display", "--data-dir", str(data)]
    done = subprocess.run(
        [*command, "--duration", "6s", *arguments], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_merges_what_is_old_while_the_demo_records_and_the_summary_reconciles(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path, fsync=False)
    builder = BronzeBuilder(disk, Market("kraken", "XMR/EUR"), flush=timedelta(seconds=2))
    builder.write(varied_events(6, 800))
    age(tmp_path)
    summary = up(tmp_path)
    assert summary["reconciled"], summary["problems"]
    old = [path for path in counting(tmp_path, "bronze") if "XMR-EUR" in str(path)]
    assert len(old) == 4, "one of each table"
    assert len([key for key in keys_of(disk) if "XMR-EUR" in key]) == len(builder.keys) + 4, "the grace has not passed"
    assert "merged" in (tmp_path / "logs" / "compactor.log").read_text()
    rows = sum(table["rows"] for name, table in summary["tables"].items() if name.startswith("bronze/"))
    assert rows == sum(each["last"] - each["first"] + 1 for each in summary["sequences"]), (
        "what was merged is no row of this run"
    )


def test_it_is_not_started_where_it_is_switched_off(tmp_path: Path) -> None:
    config = tmp_path / "daedalus.yaml"
    document = {
        "ccxt": {"exchanges": {"binanceus": {"channels": {"watchTrades": ["BTC/USDT"]}}}},
        "compactor": {"enabled": False},
    }
    config.write_text(yaml.safe_dump(document))
    up(tmp_path / "data", "--config", str(config))
    assert not (tmp_path / "data" / "logs" / "compactor.log").exists()
