"""A client of Redis or Valkey Cluster: redis-py's own, with what a recorder needs beside it.

    every command -> the node of its slot; MOVED and ASK are followed, nothing else is sent twice
    a node that fails -> its error to the caller; the next command asks another node for the topology, and goes on
    a node that hangs -> its commands fail at once until it answers a PING, or the cluster has another for its slots

redis-py by itself would ask the failed node first in one refresh of three, while all commands wait; it would read the
topology again before every command for as long as the node is away; and its cluster errors are no RedisErrors.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, Self, cast

from redis._parsers import AsyncCommandsParser
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.cluster import get_node_name
from redis.exceptions import (
    ClusterDownError,
    ClusterError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from daedalus_common.broker.connections import honest

# A refresh takes 10 ms of this process; a failover takes seconds. So a node that is away costs 2 % of it.
_REFRESH_SECONDS: Final = 0.5
# Per node, as many as there are commands under way; redis-py's 100 would refuse the rest.
MAX_CONNECTIONS: Final = 10_000


class NotACluster(RedisError):
    """The server is there and is no node of a cluster."""


class ClusterClient(RedisCluster):
    """Raises RedisErrors only: what the topology cannot answer is a ConnectionError."""

    def __init__(self, *, host: str, port: int = 6379, **settings: Any) -> None:
        # Each MOVED corrects its slot. redis-py would otherwise close all connections at every fifth, also when in use.
        super().__init__(host, port, reinitialize_steps=0, max_connections=MAX_CONNECTIONS, **settings)
        # Of the nodes that it is given here, and of those that it learns of.
        self.connection_kwargs["connection_class"] = honest(self.connection_kwargs["connection_class"])
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = self.connection_kwargs["connection_class"]
        # The nodes it learns of replace the given one. It is asked again where none of them answers any more: a cluster
        # that came back under other addresses still has its name.
        self._given = host, port
        self.commands_parser = _Commands(self)
        self._failed: str | None = None
        self._refreshed_at = 0.0
        self._hanging: dict[str, asyncio.Task[None]] = {}

    @classmethod
    def from_url(cls, url: str, **settings: Any) -> Self:
        """`redis://HOST:PORT` or `rediss://…` of any node."""
        return cast(Self, super().from_url(url, **settings))

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> Self:
        """Learns the topology, if it must be learnt (again), from any node but the one that failed last."""
        recently = time.monotonic() - self._refreshed_at < _REFRESH_SECONDS
        if self._initialize and not (recently and self.nodes_manager.default_node is not None):
            others = list(additional_startup_nodes_info or ())
            if get_node_name(*self._given) not in self.nodes_manager.startup_nodes:
                others.append(self._given)
            try:
                _ = await super().initialize(others, last_failed_node_name or self._failed)
            except RedisClusterException as error:
                raise _as_redis_error(error) from error
            self._refreshed_at = time.monotonic()
        return self

    async def discover(self) -> None:
        """`initialize`, for whoever wants nothing else. Raises NotACluster where the server is none of a cluster."""
        _ = await self.initialize()

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """redis-py's, with RedisErrors only."""
        try:
            return await super().execute_command(*args, **kwargs)
        except (RedisConnectionError, RedisTimeoutError) as error:
            node = self.nodes_manager.nodes_cache.get(getattr(error, "last_failed_node_name", ""))
            if node is not None:
                self.suspect(node, error)
            raise
        except RedisClusterException as error:
            raise _as_redis_error(error) from error
        except ClusterDownError:
            raise
        except ClusterError as error:  # "TTL exhausted": 16 redirections
            raise ClusterError("the slot is moving from one node to another, and does not answer meanwhile") from error

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """redis-py's, with RedisErrors only. Not for transactions: those start a thread for each command."""
        return _Pipeline(self, transaction)  # type: ignore[abstract]

    async def _execute_command(self, target_node: ClusterNode, *args: Any, **kwargs: Any) -> Any:
        self.refuse_hanging(target_node)
        return await super()._execute_command(target_node, *args, **kwargs)

    def suspect(self, node: ClusterNode, error: RedisError) -> None:
        """The node was not reached: before the next command another one is asked for the topology."""
        name = str(node.name)
        self.nodes_manager.move_node_to_end_of_cached_nodes(name)
        self._failed = name
        self._initialize = True
        if isinstance(error, RedisTimeoutError) and name not in self._hanging:
            self._hanging[name] = asyncio.create_task(self._wait_for(node))

    def refuse_hanging(self, node: ClusterNode) -> None:
        """Raises where the node hangs. Each command would take the timeout, and leases of others run out meanwhile."""
        if node.name in self._hanging:
            self._initialize = True
            raise RedisConnectionError(f"{node.name} does not answer")

    async def _wait_for(self, node: ClusterNode) -> None:
        answered = False
        while not answered:
            try:
                await node.execute_command("PING")
                answered = True
            except RedisTimeoutError:
                continue
            except (RedisError, OSError):
                answered = True  # with an error, as it will every command
        self._hanging.pop(str(node.name), None)

    async def aclose(self) -> None:
        """Closes every connection, also after a failure."""
        for task in self._hanging.values():
            task.cancel()
        self._hanging.clear()
        self._initialize = False  # else redis-py would take the client for closed, and leave its connections open
        await super().aclose()

    async def nodes_of(self, keys: Sequence[str]) -> list[ClusterNode | None]:
        """The master of each key; None where no node serves the key's slot."""
        await self.discover()
        found = (self.nodes_manager.slots_cache.get(self.keyslot(key)) for key in keys)
        return [nodes[0] if nodes else None for nodes in found]

    async def masters(self) -> list[ClusterNode]:
        """Those of the last known topology, by name."""
        await self.discover()
        return sorted(self.get_primaries(), key=lambda node: str(node.name))


class _Commands(AsyncCommandsParser):
    """Learns the commands from any master: redis-py asks the first one, so that while that is away no client begins."""

    def __init__(self, client: ClusterClient) -> None:
        super().__init__()
        self._client = client

    async def initialize(self, node: ClusterNode | None = None) -> None:
        """Of `node`, or else of the first master that answers. Raises the last one's redis error."""
        first = [] if node is None else [node]
        asked = first + [each for each in self._client.get_primaries() if each not in first]
        for number, each in enumerate(asked):
            try:
                await super().initialize(each)
            except (RedisConnectionError, RedisTimeoutError):
                if number == len(asked) - 1:
                    raise
            else:
                self._client.nodes_manager.default_node = each
                return


class _Pipeline(ClusterPipeline):
    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        try:
            return await super().execute(raise_on_error, allow_redirections)
        except RedisClusterException as error:
            raise _as_redis_error(error) from error


def _as_redis_error(error: RedisClusterException) -> RedisError:
    """What kept redis-py from knowing the topology, or from sending a command."""
    cause = error.__cause__
    if isinstance(cause, RedisError):
        return cause
    if isinstance(cause, RedisClusterException):  # the server answered CLUSTER SLOTS with an error
        answer = cause.__context__
        if isinstance(answer, NoPermissionError):
            return answer
        if isinstance(answer, ResponseError):
            return NotACluster(str(answer))
    return RedisConnectionError(str(error))
