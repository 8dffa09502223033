"""An HTTP gateway in front of an S3 server that fails on command, as networks and servers do."""

import http.client
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, or what the gateway says in its place."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


Ask = Callable[[], Answer]
Fault = Callable[[Ask], Answer | None]
"""Gets a way to ask the real server, and returns what the client shall see: None cuts the connection."""


def lose_the_answer(ask: Ask) -> None:
    """The server does its work, and nobody hears of it."""
    ask()


def cut_at_once(_: Ask) -> None:
    """The connection ends before the server has heard anything."""


def cut_the_body(ask: Ask) -> Answer:
    """The headers promise the whole body; the connection ends in the middle of it."""
    whole = ask()
    return Answer(whole.status, whole.headers, whole.body[: len(whole.body) // 2])


def answer(status: int, code: str, message: str = "on command") -> Fault:
    """The server is not asked; an S3 error answers."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return lambda _: Answer(status, (("Content-Type", "application/xml"),), text.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual 5 a burst of connections waits a second for its second SYN

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news: what is, prints its traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Lines:
    """What a client says; `cut` when it ended where a line was to come, such as among the headers."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.cut = False

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._file.readline(limit)
        self.cut = not line.endswith(b"\n")
        return line

    def read(self, size: int) -> bytes:
        found: bytes = self._file.read(size)
        return found

    def close(self) -> None:
        self._file.close()


class S3Gateway:
    """Listens on 127.0.0.1 and passes every request on to `upstream_url`, unless a fault is planned for it.

    `requests` lists (method, bytes of the answer's body) in the order of the answers.
    """

    def __init__(self, upstream_url: str) -> None:
        self._upstream = urlsplit(upstream_url).netloc
        self._faults: dict[str, deque[Fault]] = {}
        self.requests: list[tuple[str, int]] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def plan(self, method: str, *faults: Fault) -> None:
        """The next requests of this method meet these faults, one each."""
        self._faults.setdefault(method, deque()).extend(faults)

    def pending(self) -> int:
        """How many planned faults have not happened yet."""
        return sum(len(faults) for faults in self._faults.values())

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, request: Request) -> Answer | None:
        """The answer to a request, None to cut the connection."""
        waiting = self._faults.get(request.method)
        found = waiting.popleft()(lambda: self._ask(request)) if waiting else self._ask(request)
        self.requests.append((request.method, len(found.body) if found else 0))
        return found

    def _ask(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(self._upstream, timeout=10)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                # The client's signature covers its Host, which passes unchanged; Expect was answered here.
                if name.lower() != "expect":
                    connection.putheader(name, value)
            connection.endheaders(request.body)
            response = connection.getresponse()
            return Answer(response.status, tuple(response.getheaders()), response.read())
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms between its headers and its body

            def setup(self) -> None:
                super().setup()
                self.rfile: Any = _Lines(self.rfile)

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size)
                # Of a request that is cut in its middle a server does nothing; this parser takes its half for a whole.
                if len(body) < size or self.rfile.cut:
                    self.close_connection = True
                    return
                found = gateway.respond(Request(self.command, self.path, tuple(self.headers.items()), body))
                if found is None:
                    self.close_connection = True
                    return
                self._send(found)

            def _send(self, found: Answer) -> None:
                self.send_response_only(found.status)
                headers = {name.lower(): value for name, value in found.headers}
                headers.setdefault("content-length", str(len(found.body)))
                headers.pop("transfer-encoding", None)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(found.body)
                self.wfile.flush()
                if self.command != "HEAD" and int(headers["content-length"]) > len(found.body):
                    self.close_connection = True

        return Handler
