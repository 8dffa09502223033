"""The HTTP endpoint over real sockets."""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from urllib.error import HTTPError

import pytest

from daedalus_common.telemetry import Health, TelemetryError, TelemetryServer


@pytest.fixture
def health() -> Health:
    return Health("writer", stalled_after=timedelta(seconds=30))


@pytest.fixture
def server(health: Health) -> Iterator[TelemetryServer]:
    server = TelemetryServer("127.0.0.1", 0, health)
    server.start()
    yield server
    server.stop()


def get(url: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_metrics_are_served_in_prometheus_format(server: TelemetryServer) -> None:
    status, content_type, body = get(f"{server.url}/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert "# TYPE process_cpu_seconds_total counter" in body


def test_a_free_port_is_taken_and_told(server: TelemetryServer) -> None:
    assert server.port > 0
    assert server.url == f"http://127.0.0.1:{server.port}"


def test_health_and_readiness_follow_the_service(server: TelemetryServer, health: Health) -> None:
    assert get(f"{server.url}/healthz")[0] == 200
    status, content_type, body = get(f"{server.url}/readyz")
    assert (status, content_type) == (503, "application/json")
    assert json.loads(body) == {
        "service": "writer",
        "ready": False,
        "problems": {"loop": "the service is starting"},
    }
    health.beat()
    health.mark_unready("redis", "connection refused")
    assert json.loads(get(f"{server.url}/readyz")[2])["problems"] == {"redis": "connection refused"}
    health.mark_ready("redis")
    assert json.loads(get(f"{server.url}/readyz")[2]) == {"service": "writer", "ready": True, "problems": {}}


def test_a_hung_loop_fails_the_health_check() -> None:
    seconds = iter((0.0, 31.0))
    health = Health("writer", stalled_after=timedelta(seconds=30), clock=lambda: next(seconds))
    server = TelemetryServer("127.0.0.1", 0, health)
    server.start()
    health.beat()
    status, _, body = get(f"{server.url}/healthz")
    server.stop()
    assert status == 503
    assert json.loads(body) == {
        "service": "writer",
        "alive": False,
        "problems": {"loop": "the main loop has not turned for 31.0 s (30 s allowed)"},
    }


def test_other_paths_are_told_which_exist(server: TelemetryServer) -> None:
    status, _, body = get(f"{server.url}/")
    assert (status, json.loads(body)) == (404, {"error": "try /metrics, /healthz or /readyz"})


def test_a_port_in_use_is_a_clear_error(server: TelemetryServer, health: Health) -> None:
    with pytest.raises(TelemetryError) as caught:
        TelemetryServer("127.0.0.1", server.port, health)
    assert str(caught.value) == (
        f"telemetry port 127.0.0.1:{server.port} is in use by another process; "
        "change telemetry.ports in the configuration, or give --telemetry-port (0 = any free port)"
    )


def test_a_host_that_is_not_ours_is_a_clear_error(health: Health) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(TelemetryError, match=f"telemetry.host '{host}' is no address of this machine"):
            TelemetryServer(host, 0, health)


def test_stopping_frees_the_port(health: Health) -> None:
    first = TelemetryServer("127.0.0.1", 0, health)
    first.start()
    assert get(f"{first.url}/healthz")[0] == 200
    first.stop()
    second = TelemetryServer("127.0.0.1", first.port, health)
    second.start()
    assert get(f"{second.url}/healthz")[0] == 200
    second.stop()


def test_a_server_that_was_never_started_can_be_stopped(health: Health) -> None:
    TelemetryServer("127.0.0.1", 0, health).stop()


def test_clients_that_hang_or_reset_disturb_nobody(server: TelemetryServer, capfd: pytest.CaptureFixture[str]) -> None:
    hanging = socket.create_connection(("127.0.0.1", server.port))
    for garbage in (b"", b"GET /metrics", b"\x00\xff\r\n\r\n", b"GET " + b"x" * 70_000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            client.sendall(garbage)
    assert get(f"{server.url}/healthz")[0] == 200
    server.stop()
    hanging.close()
    assert "Traceback" not in capfd.readouterr().err


def test_the_thread_does_not_keep_a_process_alive(server: TelemetryServer) -> None:
    threads = [thread for thread in threading.enumerate() if thread.name == "telemetry"]
    assert threads
    assert all(thread.daemon for thread in threads)
