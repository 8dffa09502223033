"""A real Valkey Cluster for tests: three masters on 127.0.0.1, if wanted each with a replica.

with ValkeyCluster(folder) as cluster:
    connect(cluster.url, cluster=True)
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from daedalus_common.markets import Market
from support.ports import free_port
from support.valkey import NO_RETRY, ValkeyServer

MASTERS = 3
NODE_TIMEOUT_MS = 1500
JOIN_SECONDS = 30.0
MIGRATE_MS = 5000


class ValkeyCluster:
    """Its nodes' ports are kept, so that a node that was stopped or killed can be started again."""

    def __init__(self, folder: Path, *, replicas: bool = False, options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self._options = options
        self._bus_ports: dict[int, int] = {}
        self.masters = [self._node(f"master-{number}") for number in range(MASTERS)]
        self.replicas = [self._node(f"replica-{number}") for number in range(MASTERS)] if replicas else []
        """`replicas[n]` follows `masters[n]` at the start."""

    @property
    def nodes(self) -> list[ValkeyServer]:
        return self.masters + self.replicas

    @property
    def url(self) -> str:
        """Of its first node."""
        return self.masters[0].url

    def start(self) -> None:
        """Returns when every node knows the whole cluster and calls it ok."""
        try:
            for node in self.nodes:
                node.start()
            self._assign_slots()
            first, *others = self.nodes
            for node in others:
                self.ask(node, "CLUSTER", "MEET", "127.0.0.1", first.port, self._bus_ports[first.port])
            self._wait(lambda: all(len(self._known(node)) == len(self.nodes) for node in self.nodes), "nodes meet")
            for master, replica in zip(self.masters, self.replicas, strict=bool(self.replicas)):
                self.ask(replica, "CLUSTER", "REPLICATE", self.id_of(master))
            self._wait(lambda: all(self._is_ok(node) for node in self.nodes), "the cluster is ok")
            self._wait(lambda: all(self._follows(node) for node in self.replicas), "replicas follow their masters")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends every node that runs, at once."""
        for node in self.nodes:
            with suppress(RuntimeError):
                node.kill()

    def ask(self, node: ValkeyServer, *command: Any) -> Any:
        """The reply of this very node to a command, as text and lists."""
        with redis.Redis(port=node.port, retry=NO_RETRY, socket_timeout=10, decode_responses=True) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def id_of(self, node: ValkeyServer) -> str:
        """The node's name in the cluster."""
        return str(self.ask(node, "CLUSTER", "MYID"))

    def slots_of(self, node: ValkeyServer) -> set[int]:
        """The slots that the node itself says it serves; none for a replica."""
        slots: set[int] = set()
        for first, last, (_, port, *_), *_ in self.ask(node, "CLUSTER", "SLOTS"):
            if port == node.port:
                slots |= set(range(first, last + 1))
        return slots

    def master_of(self, market: Market) -> ValkeyServer:
        """The node that serves the market's slot, as some node that answers sees it."""
        slot = slot_of(market)
        for asked in self.nodes:
            with suppress(redis.ConnectionError, redis.TimeoutError):
                port = next(
                    port
                    for first, last, (_, port, *_), *_ in self.ask(asked, "CLUSTER", "SLOTS")
                    if first <= slot <= last
                )
                return next(node for node in self.nodes if node.port == port)
        raise RuntimeError("no node of the cluster answers")

    def promote(self, replica: ValkeyServer) -> None:
        """Makes it the master of its slots although its master does not answer; returns when all others know."""
        self.ask(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
        self._wait(lambda: bool(self.slots_of(replica)), "the replica serves slots")

    def migrate(self, market: Market, target: ValkeyServer, pause_seconds: float = 0.0) -> int:
        """Moves the market's slot to `target` as an operator does, key by key; returns how many keys it had.

        Meanwhile its old node answers ASK for what has gone already, and then MOVED.
        """
        slot, source = slot_of(market), self.master_of(market)
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        moved = 0
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            for key in keys:
                self.ask(source, "MIGRATE", "127.0.0.1", target.port, key, 0, MIGRATE_MS)
                moved += 1
                time.sleep(pause_seconds)
        for node in (target, source, *(node for node in self.masters if node not in (source, target))):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))
        return moved

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _node(self, name: str) -> ValkeyServer:
        # The port of the cluster's bus is 10,000 above by default, where outgoing connections have theirs.
        port, bus_port = free_port(), free_port()
        self._bus_ports[port] = bus_port
        options = (
            *("--cluster-enabled", "yes", "--cluster-port", str(bus_port)),
            *("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-require-full-coverage", "no"),
            *("--repl-diskless-sync-delay", "0", "--cluster-announce-ip", "127.0.0.1"),
        )
        return ValkeyServer(self.folder / name, (*options, *self._options), port)

    def _assign_slots(self) -> None:
        ends = [REDIS_CLUSTER_HASH_SLOTS * number // MASTERS for number in range(MASTERS + 1)]
        for number, node in enumerate(self.masters):
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self.ask(node, "CLUSTER", "ADDSLOTSRANGE", ends[number], ends[number + 1] - 1)

    def _known(self, node: ValkeyServer) -> list[str]:
        lines: list[str] = self.ask(node, "CLUSTER", "NODES").splitlines()
        return [line for line in lines if "handshake" not in line]

    def _is_ok(self, node: ValkeyServer) -> bool:
        lines = self.ask(node, "CLUSTER", "INFO").split()
        return "cluster_state:ok" in lines and f"cluster_slots_assigned:{REDIS_CLUSTER_HASH_SLOTS}" in lines

    def _follows(self, replica: ValkeyServer) -> bool:
        return "master_link_status:up" in self.ask(replica, "INFO", "replication").split()

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + JOIN_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {JOIN_SECONDS} s")
            time.sleep(0.05)


def slot_of(market: Market) -> int:
    """The slot of all the market's keys."""
    return key_slot(f"{{{market.name}}}".encode())
