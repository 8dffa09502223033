"""A market with events, leases and rows on the session's server, and the command itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daedalus.cli.main import app


class Command:
    """`daedalus …` against one server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, *arguments: str, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, [*arguments, "--redis", self._url], input=stdin)
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture
def daedalus(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("DAEDALUS__REDIS__URL", raising=False)
    return Command(redis_url)


@pytest.fixture
def run_without_server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`daedalus …` as it is, for what needs no server or names a wrong one."""
    monkeypatch.delenv("DAEDALUS__REDIS__URL", raising=False)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))
