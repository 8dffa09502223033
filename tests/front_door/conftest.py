"""Children and data directories for the front door's tests."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daedalus.supervisor.process import Command

WAIT_SECONDS = 20.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Polls until the condition holds; fails with `what` otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


async def until(condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """The same for a condition that other tasks bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process of this id runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Command]:
    """Makes a command of a few lines of Python."""

    def make(name: str, code: str, **options: object) -> Command:
        path = tmp_path / f"{name}.py"
        path.write_text(code)
        argv = (sys.executable, "-u", str(path))
        return Command(name, argv, tmp_path / f"{name}.log", dict(os.environ), **options)  # type: ignore[arg-type]

    return make
