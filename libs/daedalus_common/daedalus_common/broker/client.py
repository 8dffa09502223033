"""Connection to Redis or Valkey."""

from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect(
    url: str, username: str | None = None, password: str | None = None, timeout: timedelta = timedelta(seconds=5)
) -> Redis:
    """A binary client whose own retries are off: a resent command could apply twice, our scripts cannot.

    Connecting is lazy; the first command raises redis.exceptions.ConnectionError or TimeoutError.
    """
    seconds = timeout.total_seconds()
    return Redis.from_url(
        url,
        username=username or None,
        password=password or None,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        health_check_interval=0,
        protocol=2,
    )
