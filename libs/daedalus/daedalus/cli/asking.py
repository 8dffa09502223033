"""What `daedalus leases`, `streams` and `dlq` share: options, a connection, exit codes, output."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from daedalus_common.config import Config, ConfigError, load_config

if TYPE_CHECKING:
    from rich.console import RenderableType

    from daedalus_common.broker.client import Client
    from daedalus_common.markets import Market

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CODES = "Exit codes: 0 done, 1 the server cannot be reached or refused, 2 unknown name or unusable configuration."

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The YAML configuration: its server and markets."),
]
RedisUrl = Annotated[
    str | None,
    typer.Option("--redis", metavar="URL", help="The server [default: redis.url of the configuration]."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

_T = TypeVar("_T")
Work = Callable[["Client", "Sequence[Market]"], Awaitable[_T]]
"""What to do with a connected client and all markets: the configured ones and those that the server has."""


def ask(command: str, file: Path | None, redis_url: str | None, work: Work[_T]) -> _T:
    """The result of `work`. Ends the command with one clear line where something is wrong."""
    from redis.exceptions import AuthenticationError, RedisError

    from daedalus.operations.server import UnknownMarket
    from daedalus_common.broker.server_check import WrongKind
    from daedalus_common.telemetry import mask_url

    config = _config(file, redis_url)
    try:
        return asyncio.run(_ask(config, work))
    except UnknownMarket as error:
        end(command, str(error), EXIT_USAGE)
    except WrongKind as error:
        end(command, f"{error} (or DAEDALUS__REDIS__CLUSTER)", EXIT_USAGE)
    except AuthenticationError as error:
        fix = "see --redis and --config; of a `daedalus up`, --config DATA_DIR/run/daedalus.yaml has the password"
        end(command, f"{mask_url(config.redis.url)} lets nobody in like this: {error}; {fix}", EXIT_FAILED)
    except (RedisError, OSError, TimeoutError) as error:
        reason = mask_url(str(error) or type(error).__name__)
        end(command, f"no answer of {mask_url(config.redis.url)}: {reason}; see --redis and --config", EXIT_FAILED)


def end(command: str, message: str, code: int) -> NoReturn:
    """Ends with one line on stderr."""
    typer.echo(f"daedalus {command}: {message}", err=True)
    raise typer.Exit(code)


def show_json(value: object) -> None:
    import msgspec

    typer.echo(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))


def show(page: "RenderableType") -> None:
    from rich.console import Console

    # A pipe has no width: whole lines there, so that grep finds a market with its numbers.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(page)


async def _ask(config: Config, work: Work[_T]) -> _T:
    from daedalus.operations.server import connected, markets_of

    async with connected(config) as client:
        return await work(client, await markets_of(client, config))


def _config(file: Path | None, redis_url: str | None) -> Config:
    # As a variable, so that it is checked as the file's would be; and it is stronger than both.
    env = os.environ if redis_url is None else {**os.environ, "DAEDALUS__REDIS__URL": redis_url}
    try:
        return load_config(file, env)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_USAGE) from None
