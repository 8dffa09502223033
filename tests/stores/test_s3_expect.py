"""S3: the connection ends within the server's leave to send the body."""

import socketserver
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from daedalus_common.stores import StoreUnavailable
from daedalus_common.stores.s3 import S3Store
from support.s3_servers import S3Server
from support.seaweedfs import ADMIN

PATIENCE_SECONDS = 20.0
"""Three attempts with pauses between them take up to 3 s."""


class _Handler(socketserver.StreamRequestHandler):
    """Reads the headers of a request, and says what its server was told to say."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        server = self.server
        assert isinstance(server, _Server)
        server.asked += 1
        self.wfile.write(server.answer)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    answer = b""
    asked = 0


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 100 Continue\r\nVia: a", b"HTTP/1.1 100", b"HTTP/1.1 2", b""]
)
def test_an_end_within_the_leave_to_send_the_body_is_a_lost_answer(server: _Server, answer: bytes) -> None:
    server.answer = answer
    settings = S3Server("half a server", f"http://127.0.0.1:{server.server_address[1]}", ADMIN).settings("lake")
    store = S3Store(settings, read_timeout=timedelta(seconds=1))
    errors: list[BaseException] = []

    def create() -> None:
        try:
            store.create("a/b", memoryview(b"body" * 100), {})
        except StoreUnavailable as error:
            errors.append(error)

    creating = threading.Thread(target=create, daemon=True)  # one that never ends shall not hold up the others
    creating.start()
    creating.join(PATIENCE_SECONDS)
    assert not creating.is_alive(), "it still reads"
    assert len(errors) == 1
    assert server.asked == 3, "each attempt begins anew"
