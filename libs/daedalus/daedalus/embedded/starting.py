"""Starts a run's processes in order, each when the one before is ready.

server -> simulator (demo) -> writer -> featurizer -> ingestor: the streams' readers are there before the first event,
and the featurizer's genesis stands before it in the stream.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from redis.exceptions import RedisError

from daedalus.embedded.http import Unreachable, fetch
from daedalus.embedded.run import Run, SessionError
from daedalus.embedded.services import FEATURIZER, INGESTOR, WRITER
from daedalus.embedded.telemetry import is_ready
from daedalus.embedded.valkey import wait_until_ready
from daedalus_common.broker.market_log import MarketLog
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
    log = MarketLog(run.client)
    run.outcome.seq_before = {market: (await log.sequence(market))[0] for market in run.markets}
    if run.parts.simulator is not None:
        run.phase = "starting the simulator"
        run.supervisor.start(run.parts.simulator)
        await _until(partial(_answers, f"{run.parts.simulator_url}/healthz"), lambda: run.over)
    # Readers side by side: most of a start is loading libraries.
    for names in ((WRITER, FEATURIZER), (INGESTOR,)):
        if run.over:
            return False
        run.phase = f"starting the {' and the '.join(names)}"
        for name in names:
            run.supervisor.start(run.parts.surroundings.service(name))
        for name in names:
            await until_ready(run, name, lambda: run.over)
    return not run.over


async def until_ready(run: Run, name: str, give_up: Callable[[], bool]) -> None:
    """Waits until the service says that it is ready; returns on timeout too."""
    await _until(partial(_is_ready, run, name), give_up)


async def _until(ready: Callable[[], Awaitable[bool]], give_up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT.total_seconds()
    while True:
        if give_up() or await ready() or time.monotonic() > deadline:
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _is_ready(run: Run, name: str) -> bool:
    process = run.supervisor.running(name)
    return process is not None and await is_ready(process)


async def _answers(url: str) -> bool:
    try:
        await fetch(url)
    except Unreachable:
        return False
    return True


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
