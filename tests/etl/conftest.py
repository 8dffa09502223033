"""A Bronze folder of one market, made by the writer's own code."""

from collections.abc import Callable
from pathlib import Path

import pytest

from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk, ObjectStore, open_store
from support.bronze import BronzeBuilder
from support.s3_servers import S3Server
from support.seaweedfs import ADMIN, SeaweedServer

BTC = Market("binanceus", "BTC/USDT")


@pytest.fixture
def disk(tmp_path: Path) -> LocalDisk:
    """An empty store, the folder `lake`."""
    return LocalDisk(tmp_path / "lake", fsync=False)


@pytest.fixture
def bronze(disk: LocalDisk) -> BronzeBuilder:
    """Of BTC/USDT on `disk`, one segment per hour, table and call."""
    return BronzeBuilder(disk, BTC)


@pytest.fixture
def open_bucket(seaweedfs: SeaweedServer, request: pytest.FixtureRequest) -> Callable[[], ObjectStore]:
    """Opens a bucket under a prefix of the test's own."""
    prefix = f"tests/{abs(hash(request.node.nodeid))}"
    settings = S3Server("SeaweedFS", seaweedfs.endpoint_url, ADMIN).settings(prefix)
    return lambda: open_store(settings)
