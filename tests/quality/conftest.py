"""A recording on a local disk, and the command itself."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from daedalus.cli.main import app
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.bronze import BronzeBuilder
from support.writers import writer_config

BTC = Market("binanceus", "BTC/USDT")


class Command:
    """`daedalus …` on the recording in `folder`, unless the arguments name another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, *arguments: str, code: int = 0) -> Result:
        where = () if "--config" in arguments else ("--data-dir", str(self._folder))
        result = CliRunner().invoke(app, [name, *where, *arguments])
        assert result.exit_code == code, result.output
        return result

    def json(self, name: str, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(name, *arguments, "--json", code=code).stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def disk(folder: Path) -> LocalDisk:
    return LocalDisk(folder, fsync=False)


@pytest.fixture
def daedalus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("DAEDALUS__REDIS__URL", raising=False)
    return Command(folder)


@pytest.fixture
def audit(
    redis_url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Awaitable[Any]]:
    """`await audit(*arguments, code=0)`: with Redis, the report of the one market, and the whole."""
    monkeypatch.delenv("DAEDALUS__REDIS__URL", raising=False)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(writer_config(redis_url, folder)))

    async def run(*arguments: str, code: int = 0) -> Any:
        command = ["audit", "--config", str(file), "--json", *arguments]
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert result.exit_code == code, result.output
        report = json.loads(result.stdout)
        return report["markets"][0], report

    return run


@pytest.fixture
def bronze_of(disk: LocalDisk) -> Callable[..., BronzeBuilder]:
    """`bronze_of(market=BTC)`: a builder of segments of a minute each."""

    def build(market: Market = BTC) -> BronzeBuilder:
        return BronzeBuilder(disk, market, flush=timedelta(minutes=1))

    return build
