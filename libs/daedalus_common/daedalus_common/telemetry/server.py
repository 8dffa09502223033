"""Serves /metrics, /healthz and /readyz from a daemon thread."""

import errno
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import make_wsgi_app

from daedalus_common.telemetry.health import Health, HealthReport

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_IDLE_CLIENT_SECONDS = 10
# How soon `stop` returns; serve_forever's default of 0.5 s would be most of a service's shutdown.
_POLL_SECONDS = 0.05


class TelemetryError(Exception):
    """The endpoint cannot be served; the text says why and what to change."""


class TelemetryPortTaken(TelemetryError):
    """Another process listens on the port."""


class TelemetryServer:
    """The HTTP endpoint of one service. It is bound (so that `port` is known) on construction, served after `start`."""

    def __init__(self, host: str, port: int, health: Health) -> None:
        """Binds to host:port, where port 0 means any free one. Raises TelemetryError when that is impossible."""
        try:
            self._server = _Server(host, port, _application(health))
        except OSError as error:
            problem = TelemetryPortTaken if error.errno == errno.EADDRINUSE else TelemetryError
            raise problem(_bind_problem(host, port, error)) from error
        self._host = host
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="telemetry", daemon=True
        )

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Frees the port; safe to call before `start`."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A hanging scraper must not hold up the service's stop.
    block_on_close = False

    def __init__(self, host: str, port: int, application: "WSGIApplication") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks DNS for the host's full name, which takes seconds where DNS is away.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):
            structlog.get_logger().error("telemetry request failed", client=str(client_address), exc_info=error)


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Stays silent: a scrape every few seconds is no news."""


def _application(health: Health) -> "WSGIApplication":
    metrics: WSGIApplication = make_wsgi_app()

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/healthz":
            return _send_report(start_response, health.service, "alive", health.liveness())
        if path == "/readyz":
            return _send_report(start_response, health.service, "ready", health.readiness())
        return _send(start_response, "404 Not Found", {"error": "try /metrics, /healthz or /readyz"})

    return answer


def _send_report(start_response: "StartResponse", service: str, word: str, report: HealthReport) -> list[bytes]:
    status = "200 OK" if report.ok else "503 Service Unavailable"
    return _send(start_response, status, {"service": service, word: report.ok, "problems": report.problems})


def _send(start_response: "StartResponse", status: str, body: dict[str, object]) -> list[bytes]:
    payload = json.dumps(body).encode() + b"\n"
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(payload))),
        ("Cache-Control", "no-store"),
    ]
    start_response(status, headers)
    return [payload]


def _bind_problem(host: str, port: int, error: OSError) -> str:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"telemetry port {where} is in use by another process; "
            "change telemetry.ports in the configuration, or give --telemetry-port (0 = any free port)"
        )
    if error.errno == errno.EACCES:
        return f"telemetry port {where} needs privileges; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"telemetry.host {host!r} is no address of this machine"
    return f"telemetry cannot listen on {where}: {error}"
