"""Fixtures that every test may use: a real Valkey server, and the recordings beside the checkout."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.valkey import ValkeyServer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One running server for the whole session. A test that stops, kills or restarts one makes its own."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """The URL of the session's server, emptied of keys, functions and scripts."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
        client.function_flush()
        client.script_flush()
    return valkey.url


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings, `../shared/data`; the test is skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data, the recordings that lie beside the checkout")
    return folder
