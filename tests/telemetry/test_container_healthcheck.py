"""What HEALTHCHECK runs in a container, against the endpoint that a service serves."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from daedalus_common.telemetry import Health, TelemetryServer
from support.checkout import ROOT
from support.ports import free_port

CHECK = ROOT / "deploy" / "docker" / "healthcheck.py"


@pytest.fixture
def served() -> Iterator[tuple[Health, int]]:
    health = Health("writer")
    server = TelemetryServer("127.0.0.1", 0, health)
    server.start()
    yield health, server.port
    server.stop()


def check(port: int) -> tuple[int, str]:
    """As in the image: without site-packages."""
    command = [sys.executable, "-IS", str(CHECK), str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_it_follows_the_readiness_of_the_service_and_passes_its_reason_on(served: tuple[Health, int]) -> None:
    health, port = served
    health.beat()
    health.mark_ready("redis")
    assert check(port)[0] == 0
    health.mark_unready("redis", "connection refused by redis:6379")
    code, told = check(port)
    assert code == 1
    assert "connection refused by redis:6379" in told


def test_where_nobody_listens_the_container_is_unhealthy() -> None:
    port = free_port()
    code, told = check(port)
    assert code == 1
    assert told.startswith(f"port {port}: ")
