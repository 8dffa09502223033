"""What the composition roots of the services share: arguments, configuration, logs, telemetry, signals, exit codes.

A service's `__main__.py` is little more than `async def run(context: ServiceContext) -> None` and

    sys.exit(run_service("writer", "Writes Parquet from the streams.", run, sys.argv[1:], os.environ))

Exit codes: 0 stopped as asked, 1 cannot start or failed, 2 wrong configuration or usage.
"""

import argparse
import asyncio
import faulthandler
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, get_args

import structlog
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError
from structlog.stdlib import BoundLogger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from daedalus_common.broker.server_check import Askable, Level, WrongKind, check_kind, check_server
from daedalus_common.config import Config, ConfigError, load_config
from daedalus_common.config.model import LogLevel
from daedalus_common.telemetry import (
    Health,
    TelemetryError,
    TelemetryPortTaken,
    TelemetryServer,
    configure_logging,
    mask_url,
)

STANDSTILL = timedelta(minutes=1)
"""For so long the event loop may stand still. Its longest work, an exchange's import, takes some 20 s on a Pi 4."""
# A server that still loads a large AOF answers at once ("LOADING"); only a dead host or a lost packet takes longer.
_PING_TIMEOUT_SECONDS = 5.0
_FIRST_DELAY_SECONDS = 0.5
_MAX_DELAY_SECONDS = 10.0


class StartupError(Exception):
    """The service cannot start, and waiting would not help; the text is one clear line for the operator."""


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """What a service gets from its surroundings. `stop` is set by SIGTERM and SIGINT: finish, flush, return."""

    config: Config
    name: str
    health: Health
    stop: asyncio.Event
    log: BoundLogger
    args: argparse.Namespace
    telemetry_port: int


ServiceMain = Callable[[ServiceContext], Awaitable[None]]


class Pingable(Askable, Protocol):
    """Any asyncio Redis client, of one server or a cluster."""

    def ping(self) -> Any: ...


def run_service(
    service: str,
    description: str,
    main: ServiceMain,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Runs `main` until it returns, and gives the exit code.

    `service` is a key of `telemetry.ports`; `add_arguments` adds the service's own options, found in `context.args`.
    """
    args = _parser(service, description, add_arguments).parse_args(argv)
    try:
        config = load_config(args.config, env)
        name = args.name or f"{service}-{socket.gethostname()}-{os.getpid()}"
        configure_logging(args.log_level or config.log_level, config.log_format, service=service, name=name)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_run(service, name, main, config, args))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (StartupError, TelemetryError) as error:
        sys.stderr.write(f"daedalus {service} cannot start: {mask_url(str(error))}\n")
        return 1
    except Exception:
        structlog.get_logger().critical("failed", exc_info=True)
        return 1
    return 0


async def wait_for_redis(client: Pingable, stop: asyncio.Event, health: Health, log: BoundLogger) -> bool:
    """Waits until Redis answers, and looks at its settings; False if `stop` came first.

    Each failed attempt is logged, with delays that grow from 0.5 s to 10 s; meanwhile /readyz names the check `redis`.
    Raises StartupError when Redis answers that it does not let us in, or when with its settings data would be lost.
    """
    health.mark_unready("redis", "not connected yet")
    answer = asyncio.ensure_future(_ping_until_answered(client, health, log))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((answer, stopped), return_when=asyncio.FIRST_COMPLETED)
        return answer.done() and answer.result()
    finally:
        for task in (answer, stopped):
            task.cancel()
        await asyncio.gather(answer, stopped, return_exceptions=True)


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Sleeps for `seconds`, or until `stop` is set; tells whether it is."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not wait_for: until Python 3.12 it forgets some cancellations
            await stop.wait()
    return stop.is_set()


async def _run(service: str, name: str, main: ServiceMain, config: Config, args: argparse.Namespace) -> None:
    log: BoundLogger = structlog.get_logger()
    health, stop = Health(service), asyncio.Event()
    port = config.telemetry.port_of(service) if args.telemetry_port is None else args.telemetry_port
    server = _telemetry_server(config.telemetry.host, port, health, args.telemetry_port_or_any, log)
    _stop_on_signals(stop, log)
    server.start()
    collector = asyncio.create_task(_collect_garbage(config.supervisor.gc_interval, stop))
    watch = asyncio.create_task(_end_if_the_loop_stands_still())
    try:
        log.info("started", pid=os.getpid(), telemetry=server.url)
        await main(ServiceContext(config, name, health, stop, log, args, server.port))
        log.info("stopped")
    finally:
        stop.set()
        await collector
        watch.cancel()
        faulthandler.cancel_dump_traceback_later()
        server.stop()


def _telemetry_server(host: str, port: int, health: Health, or_any: bool, log: BoundLogger) -> TelemetryServer:
    try:
        return TelemetryServer(host, port, health)
    except TelemetryPortTaken:
        if not or_any:
            raise
        log.warning("the telemetry port is in use by another process: taking any free one", port=port)
        return TelemetryServer(host, 0, health)


async def _end_if_the_loop_stands_still() -> None:
    """Then the process writes where each thread stands and exits with 1: its supervisor starts it again.

    It happens without a fault of ours: Python waits forever for a thread that got no memory for its start.
    """
    while True:
        faulthandler.dump_traceback_later(STANDSTILL.total_seconds(), exit=True, file=2)
        await asyncio.sleep(STANDSTILL.total_seconds() / 6)


def _stop_on_signals(stop: asyncio.Event, log: BoundLogger) -> None:
    def handle(number: signal.Signals) -> None:
        log.info("still stopping" if stop.is_set() else "stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, handle, number)


async def _collect_garbage(interval: timedelta, stop: asyncio.Event) -> None:
    while interval and not await pause(stop, interval.total_seconds()):
        gc.collect()


async def _ping_until_answered(client: Pingable, health: Health, log: BoundLogger) -> bool:
    def report(attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        reason = mask_url(str(error) or "no answer")
        health.mark_unready("redis", reason)
        log.warning("waiting for Redis", reason=reason, retry_in_seconds=round(attempt.upcoming_sleep, 1))

    attempts = AsyncRetrying(
        retry=retry_if_exception_type((RedisError, OSError)),
        # The jitter keeps the services of a restarted machine from knocking in step.
        wait=wait_exponential(_FIRST_DELAY_SECONDS, _MAX_DELAY_SECONDS) + wait_random(0, _FIRST_DELAY_SECONDS),
        before_sleep=report,
    )
    await attempts(_ping, client)
    await attempts(_check_settings, client, log)
    health.mark_ready("redis")
    return True


async def _ping(client: Pingable) -> None:
    try:
        async with asyncio.timeout(_PING_TIMEOUT_SECONDS):
            await check_kind(client)
            await client.ping()
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise StartupError(f"Redis does not let us in ({error}); see redis.username and redis.password") from error
    except WrongKind as error:
        raise StartupError(str(error)) from error


async def _check_settings(client: Pingable, log: BoundLogger) -> None:
    async with asyncio.timeout(_PING_TIMEOUT_SECONDS):
        found = await check_server(client)
    if errors := [finding.text for finding in found if finding.level is Level.ERROR]:
        raise StartupError("Redis must be set up otherwise: " + "; ".join(errors))
    for finding in found:
        tell = log.warning if finding.level is Level.WARNING else log.info
        tell("the server's settings", setting=finding.setting, finding=finding.text)


def _parser(
    service: str, description: str, add_arguments: Callable[[argparse.ArgumentParser], None]
) -> argparse.ArgumentParser:
    command = f"python -m daedalus_{service}"
    parser = argparse.ArgumentParser(
        prog=command,
        description=description,
        epilog=f"examples:\n  {command} --config daedalus.yaml\n"
        f"  DAEDALUS__LOG_FORMAT=json {command} --config daedalus.yaml --name {service}-2 --telemetry-port 0\n\n"
        "exit codes: 0 stopped as asked, 1 cannot start or failed, 2 wrong configuration or usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--config", type=Path, required=True, metavar="FILE", help="the YAML configuration")
    option("--name", help="this replica's name, unique among the replicas (default: service-host-pid)")
    option("--telemetry-port", type=int, metavar="N", help="0 = any free one (default: from the configuration)")
    option("--telemetry-port-or-any", action="store_true", help="any free one where another process has that port")
    option("--log-level", choices=get_args(LogLevel), help="(default: from the configuration)")
    add_arguments(parser)
    return parser
