"""Starts a run's processes in order, each when the one before is ready.

server -> simulator (demo) -> writer -> featurizer -> ingestor: the streams' readers are there before the first event,
and the featurizer's genesis stands before it in the stream.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from daedalus.embedded.http import Unreachable, fetch
from daedalus.embedded.run import Run, SessionError
from daedalus.embedded.services import COMPACTOR, FEATURIZER, INGESTOR, SIMULATOR, WRITER
from daedalus.embedded.telemetry import telemetry_url, unreadiness
from daedalus.embedded.valkey import wait_until_ready
from daedalus.supervisor.supervisor import Notice
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.markets import Market
from daedalus_common.telemetry import mask_url

_READY_TIMEOUT = timedelta(seconds=30)
"""A service that is not ready by then gets there by itself, or not: its log tells."""

_FOREIGN_REDIS_TIMEOUT_SECONDS = 5.0
_POLL_SECONDS = 0.05


async def start_all(run: Run) -> bool:
    """False if it was told to stop, or a process failed, before all were there. Raises SessionError."""
    if not await _start_redis(run):
        return False
    run.outcome.started = datetime.now(UTC)
    run.outcome.seq_before = await _sequences(run)
    if run.parts.simulator is not None:
        run.phase = "starting the simulator"
        run.supervisor.start(run.parts.simulator)
        await _until_ready(run, SIMULATOR, partial(_silence, f"{run.parts.simulator_url}/healthz"), lambda: run.over)
    # Readers side by side: most of a start is loading libraries.
    last = (INGESTOR, COMPACTOR) if run.config.compactor.enabled else (INGESTOR,)
    for names in ((WRITER, FEATURIZER), last):
        if run.over:
            return False
        run.phase = f"starting the {' and the '.join(names)}"
        for name in names:
            run.supervisor.start(run.parts.surroundings.service(name))
        for name in names:
            await until_ready(run, name, lambda: run.over)
            _tell_another_port(run, name)
    return not run.over


def _tell_another_port(run: Run, name: str) -> None:
    """A Prometheus that scrapes the configured port would find another process there."""
    process, port = run.supervisor.running(name), run.config.telemetry.port_of(name)
    url = None if process is None else telemetry_url(process)
    if url is not None and port and urlsplit(url).port != port:
        run.notify(Notice(name, f"has its metrics at {url}/metrics: telemetry.ports.{name}, {port}, is taken"))


async def _sequences(run: Run) -> dict[Market, int]:
    log = MarketLog(run.client)
    try:
        return {market: (await log.sequence(market))[0] for market in run.markets}
    except (RedisError, OSError) as error:
        raise SessionError(f"Redis at {mask_url(run.config.redis.url)} does not answer any more: {error}") from error


async def until_ready(run: Run, name: str, give_up: Callable[[], bool]) -> None:
    """Waits until the service says that it is ready; after a timeout it tells why it is not, and returns too."""
    await _until_ready(run, name, partial(_unreadiness, run, name), give_up)


async def _until_ready(
    run: Run, name: str, unready: Callable[[], Awaitable[str | None]], give_up: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT.total_seconds()
    while not give_up():
        reason = await unready()
        if reason is None:
            return
        if time.monotonic() > deadline:
            run.notify(Notice(name, f"is not ready after {_READY_TIMEOUT.total_seconds():g} s: {reason}"))
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _unreadiness(run: Run, name: str) -> str | None:
    process = run.supervisor.running(name)
    return "it does not run" if process is None else await unreadiness(process)


async def _silence(url: str) -> str | None:
    try:
        await fetch(url)
    except Unreachable as error:
        return str(error)
    return None


async def _start_redis(run: Run) -> bool:
    settings = run.config.redis
    password = settings.password.get_secret_value()
    if run.parts.valkey is not None:
        run.phase = "starting the server"
        run.supervisor.start(run.parts.valkey, restart_when_large=False)
        await wait_until_ready(settings.url, settings.username, password, lambda: run.over)
        return not run.over
    run.phase = "connecting to Redis"
    url = mask_url(settings.url)
    try:
        async with asyncio.timeout(_FOREIGN_REDIS_TIMEOUT_SECONDS):
            await wait_until_ready(settings.url, settings.username, password, lambda: run.over)
    except TimeoutError:
        raise SessionError(
            f"no Redis answers at {url}; start it, correct --redis or redis.url, "
            "or leave both out to use the embedded server"
        ) from None
    except RedisError as error:
        raise SessionError(
            f"Redis at {url} does not let us in: {error}; see redis.username and redis.password"
        ) from None
    return not run.over
