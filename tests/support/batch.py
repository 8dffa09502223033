"""`daedalus etl` as a user runs it, and whether its tables are those of a live run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

COMPUTED = ("silver", "gold")


def etl(*arguments: str | Path, seconds: float = 120.0) -> "subprocess.CompletedProcess[str]":
    """Runs the command to its end."""
    command = [sys.executable, "-m", "daedalus", "etl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def run_all(bronze: Path, output: Path, state: Path, *arguments: str | Path) -> Any:
    """`daedalus etl run all --json`, which must succeed; its report."""
    done = etl("run", "all", "--input", bronze, "--output", output, "--state-dir", state, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def computed_tables(data: Path) -> dict[str, pl.DataFrame]:
    """Every Silver and Gold table below a folder by name, such as `silver/trades`, in the order of its rows."""
    folders = [folder for layer in COMPUTED for folder in sorted((data / layer).glob("*")) if folder.is_dir()]
    return {f"{folder.parent.name}/{folder.name}": _in_order(folder) for folder in folders}


def _in_order(folder: Path) -> pl.DataFrame:
    rows = pl.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True, missing_columns="insert")
    # Bars of one timestamp keep the order of their trades, which is that of seq; seq itself counts within a run.
    names = rows.collect_schema().names()
    keys = [key for key in ("exchange", "symbol", "duration", "timestamp", "seq") if key in names]
    return rows.sort(keys).drop("seq", "year", "month", "day", strict=False).collect()


def assert_same_tables(live: Path, batch: Path) -> dict[str, int]:
    """Fails where a row of one is missing, double or different in the other; the number of rows per table."""
    left, right = computed_tables(live), computed_tables(batch)
    assert sorted(left) == sorted(right)
    for name, rows in left.items():
        assert_frame_equal(rows, right[name], rel_tol=1e-9, abs_tol=1e-12, categorical_as_str=True)
    return {name: rows.height for name, rows in left.items()}
