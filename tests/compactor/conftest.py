"""Stores to merge in: a local disk, and a real S3 server."""

from pathlib import Path
from uuid import uuid4

import pytest

from daedalus_common.stores import LocalDisk, ObjectStore, open_store
from support.s3_servers import S3Server
from support.seaweedfs import ADMIN, SeaweedServer


@pytest.fixture
def disk(tmp_path: Path) -> LocalDisk:
    return LocalDisk(tmp_path / "lake", fsync=False)


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "disk":
        found: ObjectStore = request.getfixturevalue("disk")
        return found
    server: SeaweedServer = request.getfixturevalue("seaweedfs")
    return open_store(S3Server("SeaweedFS", server.endpoint_url, ADMIN).settings(uuid4().hex))
