"""Three masters for all tests of this folder that stop none of them, and a market on each."""

from collections.abc import AsyncIterator, Iterator

import pytest

from daedalus_common.broker.client import connect
from daedalus_common.broker.cluster import ClusterClient
from daedalus_common.markets import Market
from support.valkey_cluster import ValkeyCluster

ON_EVERY_MASTER = [Market("binanceus", symbol) for symbol in ("ADA/USDT", "XRP/USDT", "BTC/USDT")]
"""On the first, the second and the third master."""


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        assert [cluster.master_of(market) for market in ON_EVERY_MASTER] == cluster.masters
        yield cluster


@pytest.fixture
def cluster(running_cluster: ValkeyCluster) -> ValkeyCluster:
    """Without keys and scripts."""
    for node in running_cluster.masters:
        running_cluster.ask(node, "FLUSHALL")
        running_cluster.ask(node, "SCRIPT", "FLUSH")
    return running_cluster


@pytest.fixture
async def cluster_client(cluster: ValkeyCluster) -> AsyncIterator[ClusterClient]:
    client = connect(cluster.url, cluster=True)
    assert isinstance(client, ClusterClient)
    yield client
    await client.aclose()
