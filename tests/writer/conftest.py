"""Where the writer's tests store."""

from pathlib import Path

import pytest

from daedalus_common.stores import LocalDisk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where objects go."""
    return tmp_path / "lake"


@pytest.fixture
def disk(folder: Path) -> LocalDisk:
    return LocalDisk(folder, fsync=False)
