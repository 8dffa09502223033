"""What runs in a container and is no service ends at once when it is told to, as the first process of its namespace.

The kernel gives such a process no signal that it has no handler for: Docker would kill it after 10 s.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil
import pytest

ALIEN = ["--pid", "--fork", "--kill-child"]
TOLD_TO_END = 128 + 15


@cache
def namespace() -> tuple[str, ...]:
    """The command that starts another as the first process of a namespace; the test is skipped where none may."""
    found = shutil.which("unshare")
    if found is None:
        pytest.skip("needs `unshare` of util-linux, to be the first process as in a container")
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = (found, *own, *ALIEN)
    done = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs namespaces of processes: {done.stderr.strip()}")
    return command


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for name in ("root_user", "root_password"):
        (tmp_path / name).write_text("anybody")
    return tmp_path


def ends_at_once(command: list[str], server: socket.socket, env: dict[str, str]) -> None:
    """Once it waits for the server. Its exit code is that of a program which the signal ended."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DAEDALUS__", "AWS_"))}
    with subprocess.Popen(
        [*namespace(), sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True, env=clean | env
    ) as process:
        try:
            connection, _ = server.accept()
            with connection:
                (first,) = psutil.Process(process.pid).children()
                started = time.monotonic()
                first.terminate()
                assert process.wait(8) == TOLD_TO_END
                assert time.monotonic() - started < 4
        finally:
            process.kill()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_the_job_that_prepares_the_store(silent: socket.socket, secrets: Path) -> None:
    endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
    arguments = ["--endpoint", endpoint, "--bucket", "daedalus", "--secrets", str(secrets)]
    ends_at_once(["daedalus_provisioner", *arguments], silent, {})


def test_a_command_that_asks_redis(silent: socket.socket) -> None:
    url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
    ends_at_once(["daedalus", "leases", "--redis", url], silent, {})


def test_a_command_that_asks_the_store(silent: socket.socket, tmp_path: Path) -> None:
    config = tmp_path / "daedalus.yaml"
    config.write_text("{}")
    keys = "access_key: anybody, secret_key: anybody, path_style: true"
    place = f"{{bucket: lake, endpoint_url: 'http://127.0.0.1:{silent.getsockname()[1]}', {keys}}}"
    env = {
        f"DAEDALUS__STORAGE__{role}": f"{{backend: s3, s3: {place}}}"
        for role in ("INGESTION_STORAGE", "ETL_STORAGE_INPUT", "ETL_STORAGE_OUTPUT")
    }
    ends_at_once(["daedalus", "gaps", "--config", str(config)], silent, env)
