"""Connections to the nodes of a cluster that are reset."""

from redis.exceptions import ConnectionError as RedisConnectionError

from daedalus_common.broker.client import connect
from support.harmed_clients import is_uvloops, run_under, send_much
from support.valkey_cluster import ValkeyCluster


def test_what_uvloop_says_of_a_reset_connection_to_a_node_is_a_connection_error(cluster: ValkeyCluster) -> None:
    def harm() -> None:
        for node in cluster.masters:  # what the node has not read yet makes this a reset
            cluster.ask(node, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    error = run_under(lambda: connect(cluster.url, cluster=True), send_much, harm, is_uvloops)
    assert isinstance(error, RedisConnectionError)
