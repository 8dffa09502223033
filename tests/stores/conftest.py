"""Every store that the conformance tests run against."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daedalus_common.stores import LocalDisk, ObjectStore, StoreSettings
from daedalus_common.stores.s3 import S3Store
from support.s3_gateway import S3Gateway
from support.s3_servers import MotoServer, S3Server, given_server
from support.seaweedfs import ADMIN, SeaweedServer

GIVEN_URL = os.environ.get("DAEDALUS_TEST_S3_URL", "")
"""http://ACCESS_KEY:SECRET_KEY@HOST:PORT/BUCKET of one more S3 server that shall keep the contract."""

SERVERS = [
    "seaweedfs",
    "moto",
    # MinIO's image, or what stands in for it: the name that the server gives itself decides what is expected of it.
    pytest.param("container", marks=pytest.mark.docker),
    *(["given"] if GIVEN_URL else []),
]
BACKENDS = ["disk", *SERVERS]

OpenAgain = Callable[[], ObjectStore]
"""Opens the store of a test once more, as another process would."""


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with MotoServer(tmp_path_factory.mktemp("moto")) as running:
        yield running.server.with_bucket()


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each S3 server."""
    return server_called(request.param, request)


@pytest.fixture
def server_settings(server: S3Server, request: pytest.FixtureRequest) -> StoreSettings:
    """A prefix of its own for each test, on each S3 server."""
    return server.settings(own_prefix(request))


@pytest.fixture
def gateway(server: S3Server) -> Iterator[S3Gateway]:
    """In front of each S3 server."""
    with S3Gateway(server.endpoint_url) as gateway:
        yield gateway


@pytest.fixture
def s3_settings(seaweedfs: SeaweedServer, request: pytest.FixtureRequest) -> StoreSettings:
    """A prefix of its own for each test, on SeaweedFS: for what does not depend on the server."""
    return S3Server("SeaweedFS", seaweedfs.endpoint_url, ADMIN).settings(own_prefix(request))


@pytest.fixture(params=BACKENDS)
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> OpenAgain:
    """For each backend: opens the store of this test, small in its listing pages."""
    if request.param == "disk":
        return lambda: LocalDisk(tmp_path / "lake")
    settings = server_called(request.param, request).settings(own_prefix(request))
    return lambda: S3Store(settings, list_page_size=7)


@pytest.fixture
def store(open_again: OpenAgain) -> ObjectStore:
    """The store of this test."""
    return open_again()


def server_called(name: str, request: pytest.FixtureRequest) -> S3Server:
    """The running server that a parameter names."""
    if name == "given":
        return given_server(GIVEN_URL)
    if name == "seaweedfs":
        return S3Server("SeaweedFS", request.getfixturevalue("seaweedfs").endpoint_url, ADMIN)
    found: S3Server = request.getfixturevalue({"moto": "moto", "container": "object_store"}[name])
    return found


def own_prefix(request: pytest.FixtureRequest) -> str:
    """Nobody else's, also where a server outlives the session."""
    return f"tests/{os.getpid()}-{abs(hash(request.node.nodeid))}"
