"""redis-py's connections, which say of every lost connection that it is one.

uvloop raises RuntimeError where a transport that the other side has reset is written to; asyncio's own loop drops the
bytes and lets the read fail. redis-py closes the connection, but passes the RuntimeError on, which nobody takes for a
lost connection: the service would end. The same goes for a connection that another task has closed while this one
waited (a cluster's client closes all of a node's): redis-py then writes to a writer that is None.

And they lose no cancellation. redis-py sends within `asyncio.wait_for`, which until Python 3.12 forgets one that comes
in the moment in which the bytes are out: the task would go on, and whoever waits for its end would wait forever.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError


class _Honest(AbstractConnection):
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        cancels = _cancels()
        try:
            await super().send_packed_command(command, check_health)
        except (RuntimeError, AttributeError) as error:
            raise self._lost(error) from error
        if _cancels() > cancels:
            await self.disconnect(nowait=True)  # else the next command would be given this one's reply
            raise asyncio.CancelledError

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except (RuntimeError, AttributeError) as error:
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError | AttributeError) -> Exception:
        """A RedisConnectionError, unless the error says that the program itself is wrong."""
        is_closed = type(error) is RuntimeError or (isinstance(error, AttributeError) and error.obj is None)
        return RedisConnectionError(f"Connection lost: {error}") if is_closed else error


def _cancels() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


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
