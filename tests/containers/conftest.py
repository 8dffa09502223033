"""The same servers twice: embedded ones, and containers of the images that deploy/compose names."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import uuid4

import pytest
import redis

from support.containers import REDIS, redis_container, why_no_container
from support.s3_servers import S3Server
from support.seaweedfs import ADMIN
from support.valkey import ValkeyServer

StartRedis = Callable[..., AbstractContextManager[str]]
"""Starts a server with these further arguments, and gives its URL."""


@pytest.fixture(scope="session", params=["embedded", pytest.param("containers", marks=pytest.mark.docker)])
def flavour(request: pytest.FixtureRequest) -> str:
    """`embedded`: Valkey and SeaweedFS as child processes. `containers`: what the two images hold."""
    return str(request.param)


@pytest.fixture(scope="session")
def start_redis(flavour: str, tmp_path_factory: pytest.TempPathFactory) -> StartRedis:
    if flavour == "embedded":

        @contextmanager
        def start(*options: str) -> Iterator[str]:
            with ValkeyServer(tmp_path_factory.mktemp("valkey"), options) as server:
                yield server.url

        return start
    reason = why_no_container(REDIS)
    if reason:
        pytest.skip(reason)
    return redis_container


@pytest.fixture(scope="session")
def running_redis(start_redis: StartRedis) -> Iterator[str]:
    with start_redis("--maxmemory", "256mb", "--maxmemory-policy", "noeviction") as url:
        yield url


@pytest.fixture
def redis_url(running_redis: str) -> str:
    """Emptied, and in place of the one that other tests get: whatever stands on it runs on this flavour."""
    with redis.Redis.from_url(running_redis) as client:
        client.flushall()
        client.function_flush()
        client.script_flush()
    return running_redis


@pytest.fixture(scope="session")
def store_server(flavour: str, request: pytest.FixtureRequest) -> S3Server:
    """With the bucket `lake`."""
    if flavour == "containers":
        found: S3Server = request.getfixturevalue("object_store")
        return found
    return S3Server("SeaweedFS", request.getfixturevalue("seaweedfs").endpoint_url, ADMIN)


@pytest.fixture
def prefix() -> str:
    """A part of the bucket for one test."""
    return f"run-{uuid4().hex}"
