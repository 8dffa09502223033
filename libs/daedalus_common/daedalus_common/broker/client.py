"""Connection to Redis or Valkey: to one server, or to a cluster."""

from datetime import timedelta
from typing import Any, Literal, overload

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from daedalus_common.broker.cluster import MAX_CONNECTIONS, ClusterClient
from daedalus_common.broker.connections import honest
from daedalus_common.config.sections.redis import RedisSettings

Client = Redis | ClusterClient
"""Either; the commands on one market's keys are the same on both."""

_TIMEOUT = timedelta(seconds=5)


def connect_to(settings: RedisSettings) -> Client:
    """A client of the configured server or cluster."""
    password = settings.password.get_secret_value()
    return connect(settings.url, settings.username, password, settings.socket_timeout, cluster=settings.cluster)


@overload
def connect(
    url: str,
    username: str | None = None,
    password: str | None = None,
    timeout: timedelta = _TIMEOUT,
    *,
    cluster: Literal[False] = False,
) -> Redis: ...


@overload
def connect(
    url: str,
    username: str | None = None,
    password: str | None = None,
    timeout: timedelta = _TIMEOUT,
    *,
    cluster: bool,
) -> Client: ...


def connect(
    url: str,
    username: str | None = None,
    password: str | None = None,
    timeout: timedelta = _TIMEOUT,
    *,
    cluster: bool = False,
) -> Client:
    """A binary client whose own retries are off: a resent command could apply twice, our scripts cannot.

    `url` names the server, or any node of the cluster. Connecting is lazy; the first command raises
    redis.exceptions.ConnectionError or TimeoutError.
    """
    seconds = timeout.total_seconds()
    settings: dict[str, Any] = {
        "username": username or None,
        "password": password or None,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "health_check_interval": 0,
        "protocol": 2,
    }
    if cluster:
        return ClusterClient.from_url(url, **settings)
    # What is asked side by side is bounded by the markets. At redis-py's 100 a writer of 26 could not open them.
    client = Redis.from_url(url, retry_on_error=[], max_connections=MAX_CONNECTIONS, **settings)
    client.connection_pool.connection_class = honest(client.connection_pool.connection_class)
    return client
