"""A TCP proxy before Redis or S3 that fails on command, as networks do.

with TcpProxy(valkey.port) as proxy:
    client = redis.Redis(port=proxy.port)
    proxy.half_open()
    ...
    proxy.heal()
"""

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from faults.tools.tcp_line import Line, Side
from faults.tools.tcp_rules import Cut, Medium, Rules, Way
from support.ports import free_port

T = TypeVar("T")

CONTROL_SECONDS = 10.0


class TcpProxy:
    """Listens on 127.0.0.1 and passes everything on to `upstream_port`, unless a fault holds.

    Every fault holds from the call on, for connections that are open and for new ones unless it says otherwise,
    until `heal`; faults add up. The methods return when the fault holds, and may be called from any thread. The
    port stays the same over all faults. While the server is down a connection is accepted and reset.

    `hits` counts what the faults really touched: chunks delayed or swallowed, connections reset, cut or refused to.
    """

    def __init__(self, upstream_port: int, *, port: int | None = None, seed: int = 0) -> None:
        self.upstream_port = upstream_port
        self.port = free_port() if port is None else port
        self.accepted = 0
        """Connections since construction."""
        self._medium = Medium(random.Random(seed))
        self._lines: set[Line] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        try:
            self._run(self._listen())
        except OSError:
            self._end_loop()
            raise

    @property
    def hits(self) -> int:
        return self._medium.hits

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._lines)

    @property
    def request_bytes(self) -> int:
        """Passed on to the server since construction."""
        return self._medium.bytes_passed[Way.REQUEST]

    @property
    def reply_bytes(self) -> int:
        """Passed on to the clients since construction."""
        return self._medium.bytes_passed[Way.REPLY]

    @property
    def passed_bytes(self) -> int:
        """Both ways, since construction."""
        return self.request_bytes + self.reply_bytes

    def latency(self, seconds: float, jitter: float = 0.0) -> None:
        """Every byte comes so much later, plus or minus the jitter, each way; the order stays."""

        def set_rule(rules: Rules) -> None:
            rules.latency, rules.jitter = seconds, jitter

        self._rule(set_rule)

    def bandwidth(self, bytes_per_second: int) -> None:
        """All connections and both ways together get no more than that."""

        def set_rule(rules: Rules) -> None:
            rules.bytes_per_second = bytes_per_second

        self._rule(set_rule)

    def reset(self, *, keep_on: bool = False, after_bytes: int = 0) -> None:
        """A RST to both ends of every connection that is open now; `keep_on`: to new ones too.

        With `after_bytes` each open and each new connection gets its RST when so much more has passed one way.
        """
        if after_bytes:
            self._cut(Cut(frozenset(Way), after_bytes, with_reset=True))
            return

        def act() -> None:
            self._medium.rules.reset_new = keep_on
            for line in list(self._lines):
                self._medium.hits += 1
                line.reset()

        self._call(act)

    def half_open(self, *, new_too: bool = False) -> None:
        """What open connections say vanishes, both ways and without a FIN or RST; `new_too`: new ones as well.

        `heal` resets them.
        """

        def act() -> None:
            self._medium.rules.silent_new = new_too
            for line in self._lines:
                line.silence()

        self._call(act)

    def drop_replies(self) -> None:
        """Requests pass and are carried out; the replies vanish. `heal` resets the connections that missed one."""

        def set_rule(rules: Rules) -> None:
            rules.drop_replies = True

        self._rule(set_rule)

    def truncate(self, after_bytes: int = 1) -> None:
        """Each connection ends with a FIN after so many more bytes of replies."""
        self._cut(Cut(frozenset({Way.REPLY}), after_bytes))

    def truncate_requests(self, after_bytes: int = 1) -> None:
        """Each connection ends with a FIN after so many more bytes of requests: a command is cut in the middle."""
        self._cut(Cut(frozenset({Way.REQUEST}), after_bytes))

    def slow_close(self, seconds: float) -> None:
        """When one end closes, the other hears of it so much later. To the server open connections end now."""

        def act() -> None:
            self._medium.rules.close_delay = seconds
            for line in list(self._lines):
                line.leave_slowly()

        self._call(act)

    def refuse(self) -> None:
        """Open connections are reset, new ones refused: nobody listens. `hits` knows only the former."""

        def act() -> None:
            self._close_server()
            for line in list(self._lines):
                self._medium.hits += 1
                line.reset()

        self._call(act)

    def heal(self) -> None:
        """Every fault ends; what was held back comes at once."""

        def act() -> None:
            self._medium.rules = Rules()
            self._medium.wire_free_at = 0.0
            for line in list(self._lines):
                line.heal()

        self._call(act)
        self._run(self._listen())

    def close(self) -> None:
        """Resets every connection and frees the port."""
        if not self._thread.is_alive():
            return

        def act() -> None:
            self._close_server()
            for line in list(self._lines):
                line.reset()

        self._call(act)
        self._run(asyncio.sleep(0))  # what was reset just now ends here
        self._end_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rule(self, change: Callable[[Rules], None]) -> None:
        self._call(lambda: change(self._medium.rules))

    def _cut(self, cut: Cut) -> None:
        def act() -> None:
            self._medium.rules.cut = cut
            for line in self._lines:
                line.obey_cut()

        self._call(act)

    def _call(self, act: Callable[[], T]) -> T:
        async def call() -> T:
            return act()

        return self._run(call())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_SECONDS)

    def _accept(self) -> Side:
        self.accepted += 1
        return Line(self._medium, self._lines, self.upstream_port).client

    async def _listen(self) -> None:
        if self._server is not None:
            return
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", self.port))
            self._server = await self._loop.create_server(self._accept, sock=sock, backlog=512)
        except OSError:
            sock.close()
            raise

    def _close_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_SECONDS)
        self._loop.close()
