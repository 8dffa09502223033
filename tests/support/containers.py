"""Redis and the object store in containers, with the images that deploy/compose names.

with redis_container("--maxmemory", "64mb") as url:
    ...
"""

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import redis
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from support.compose_stack import MINIO, has_image, is_stand_in
from support.s3_servers import S3Server, own_name
from support.seaweedfs import ADMIN
from support.valkey import NO_RETRY

REDIS = "redis:8"
READY_SECONDS = 90.0
POLL_SECONDS = 0.1


@cache
def why_no_container(image: str) -> str | None:
    """What keeps a test from running this image here; None where nothing does."""
    if shutil.which("docker") is None:
        return "needs Docker: there is no `docker` command"
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return f"needs Docker: `docker info` fails ({lines[-1] if lines else 'without a word'})"
    return None if has_image(image) else f"needs the image {image}, which is not here and cannot be pulled"


def what_runs() -> list[str]:
    """For each image what its container is here, or why there is none: one line each."""
    lines = []
    for image in (REDIS, MINIO):
        reason = why_no_container(image)
        if reason is None and is_stand_in(image):
            reason = "a stand-in built here" + (": Ceph RGW, not MinIO" if image == MINIO else "")
        lines.append(f"container {image}: {reason or 'the public image'}")
    return lines


@contextmanager
def redis_container(*options: str) -> Iterator[str]:
    """The URL of a new server with an append-only file; `options` are further arguments of the server."""
    container = DockerContainer(REDIS).with_command(["redis-server", "--appendonly", "yes", *options])
    with _running(container, 6379) as port:
        url = f"redis://127.0.0.1:{port}/0"
        _wait_until(lambda: _pongs(url), container)
        yield url


@contextmanager
def object_store_container() -> Iterator[S3Server]:
    """The server of deploy/compose, or what stands in for it: its `name` is what it says of itself."""
    container = DockerContainer(MINIO).with_command(["server", "/data"])
    container.with_env("MINIO_ROOT_USER", ADMIN.access_key).with_env("MINIO_ROOT_PASSWORD", ADMIN.secret_key)
    with _running(container, 9000) as port:
        url = f"http://127.0.0.1:{port}"
        _wait_until(lambda: _is_healthy(url), container)
        yield S3Server(own_name(url), url, ADMIN).with_bucket()


@contextmanager
def _running(container: DockerContainer, port: int) -> Iterator[int]:
    """The port of 127.0.0.1 that leads to `port` of the container, which is removed with its data at the end."""
    # Ryuk removes what a killed test run leaves. Where its image cannot be had, nothing starts with it switched on.
    if not has_image(testcontainers_config.ryuk_image):
        testcontainers_config.ryuk_disabled = True
    # Its own method for it takes no address; Docker's client, which gets this, does.
    ports: dict[str, Any] = container.ports
    ports[f"{port}/tcp"] = ("127.0.0.1", None)
    try:
        container.start()
        # Not `get_container_host_ip`: beside an engine of its own it takes a container for one of the engine's.
        yield container.get_exposed_port(port)
    finally:
        container.stop()


def _wait_until(holds: Callable[[], bool], container: DockerContainer) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            said = b"\n".join(container.get_logs()).decode(errors="replace")[-2000:]
            raise RuntimeError(f"the container of {container.image} is not ready after {READY_SECONDS:g} s:\n{said}")
        time.sleep(POLL_SECONDS)


def _pongs(url: str) -> bool:
    with redis.Redis.from_url(url, retry=NO_RETRY, socket_timeout=2) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/minio/health/ready", timeout=2):
            return True
    except OSError:
        return False
