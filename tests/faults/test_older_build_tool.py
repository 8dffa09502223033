"""The older build of the fault harness: processes that really run the older packages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from faults.tools.environments import joined
from faults.tools.older_build import OlderBuild
from support.checkout import ROOT, packages
from support.stack import Stack

YOUNGER = {"daedalus_provisioner"}
MODULES = sorted({package.module for package in packages()} - YOUNGER)
ASKS = """
import importlib, importlib.resources, json, sys
found = {name: importlib.import_module(name).__file__ for name in sys.argv[1:]}
scripts = importlib.resources.files("daedalus_common.broker") / "lua"
found["lua"] = [str(path) for path in scripts.iterdir()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> OlderBuild:
    if reason := OlderBuild.missing():
        pytest.skip(reason)
    return OlderBuild(tmp_path_factory.mktemp("older"))


def answer_of(environment: dict[str, str]) -> dict[str, str]:
    command = [sys.executable, "-c", ASKS, *MODULES]
    found = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=True, cwd="/")
    return json.loads(found.stdout)


def test_every_package_and_every_script_comes_from_the_older_build(build: OlderBuild) -> None:
    found = answer_of(build.environment())
    scripts = found.pop("lua")
    assert len(found) == len(MODULES) > 5
    for path in [*found.values(), *scripts]:
        assert Path(path).is_relative_to(build.folder), path
    assert len(scripts) > 5
    for path in answer_of({}).pop("lua"):
        assert Path(path).is_relative_to(ROOT)


def test_a_service_runs_the_older_code(build: OlderBuild, tmp_path: Path) -> None:
    config = {"ccxt": {"exchanges": {"binanceus": {"channels": {"watchTrades": ["BTC/USDT"]}}}}}
    with Stack(tmp_path / "stack", config) as stack:
        # What it imports, with the file, goes to its log.
        older = stack.start("writer", "1", env=joined(build.environment(), {"PYTHONVERBOSE": "1"}))
        stack.wait_until(lambda: bool(older.taken), "the older writer owns the market")
        imported = re.findall(r"code object from '?(/\S+/daedalus_\w+/\S+\.py)", older.log.read_text(errors="replace"))
        assert len(imported) > 20
        assert all(Path(path).is_relative_to(build.folder) for path in imported)
        newer = stack.start("writer", "2")
        stack.wait_until(lambda: "started" in newer.log.read_text(), "today's writer runs beside it")
        assert older.stop() == 0
        stack.wait_until(lambda: bool(newer.taken), "today's writer took over from the older one")
        assert newer.stop() == 0


def test_a_commit_that_is_not_in_the_history_is_missing(tmp_path: Path) -> None:
    if OlderBuild.missing():
        pytest.skip("needs the repository's history")
    reason = OlderBuild.missing("0123456789" * 4)
    assert reason == "the history does not reach back to commit 0123456: it needs a full clone"
    with pytest.raises(RuntimeError, match="full clone"):
        OlderBuild(tmp_path, "0123456789" * 4)


def test_environments_of_several_tools_are_joined() -> None:
    one = {"PYTHONPATH": "/a:/b", "LD_PRELOAD": "/x.so", "NAME": "1"}
    two = {"PYTHONPATH": "/c:/b", "NAME": "2", "MORE": "3"}
    assert joined(one, two) == {"PYTHONPATH": "/a:/b:/c", "LD_PRELOAD": "/x.so", "NAME": "2", "MORE": "3"}
    assert joined() == {}
