"""The real processes of a pipeline on a cluster of three masters instead of one server."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis

from support.stack import Stack
from support.valkey_cluster import ValkeyCluster


class ClusterStack(Stack):
    """`Stack` with a `cluster`; its single server is never started."""

    def __init__(self, folder: Path, config: dict[str, Any], *, replicas: bool = False) -> None:
        super().__init__(folder, config)
        self.cluster = ValkeyCluster(folder / "cluster", replicas=replicas)

    def client(self) -> "redis.Redis":
        """Of the whole cluster; the commands that tests use are the same."""
        return cast(redis.Redis, redis.RedisCluster.from_url(self.cluster.url))

    @property
    def config(self) -> dict[str, Any]:
        """What the services get."""
        config = super().config
        config["redis"] = {"url": self.cluster.url, "cluster": True, "socket_timeout_seconds": 1.0}
        return config

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("PYTHONUNBUFFERED", "1")
        self.cluster.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in self._services:
            if service.running:
                service.kill()
        self.cluster.kill()
