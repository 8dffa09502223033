"""redis-py's connections, which say of every lost connection that it is one.

uvloop raises RuntimeError where a transport that the other side has reset is written to; asyncio's own loop drops the
bytes and lets the read fail. redis-py closes the connection, but passes the RuntimeError on, which nobody takes for a
lost connection: the service would end.
"""

from collections.abc import Iterable
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError


class _Honest(AbstractConnection):
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise _lost(error) from error

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except RuntimeError as error:
            raise _lost(error) from error


class _HonestConnection(_Honest, Connection):
    pass


class _HonestSSLConnection(_Honest, SSLConnection):
    pass


class _HonestUnixConnection(_Honest, UnixDomainSocketConnection):
    pass


_HONEST: Final[dict[type[AbstractConnection], type[AbstractConnection]]] = {
    Connection: _HonestConnection,
    SSLConnection: _HonestSSLConnection,
    UnixDomainSocketConnection: _HonestUnixConnection,
}


def honest(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """The class for pools and nodes to use instead of redis-py's own `connection_class`."""
    return _HONEST[connection_class]


def _lost(error: RuntimeError) -> Exception:
    """A RedisConnectionError, unless the error says that the program itself is wrong."""
    return RedisConnectionError(f"Connection lost: {error}") if type(error) is RuntimeError else error
