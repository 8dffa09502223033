"""The stack of deploy/compose in containers, for tests: a project, ports, secrets and images of its own."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from support.checkout import ROOT
from support.ports import free_port

FOLDER = ROOT / "deploy" / "compose"
MINIO = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
GRAFANA = "grafana/grafana:12.3.1"
SERVICES = ("ingestor", "writer", "featurizer", "compactor", "redis", "object-store", "prometheus", "simulator")
OURS = ("ingestor", "writer", "featurizer", "compactor", "simulator")
# Built for the tests, so that an image of the user's is never replaced.
VERSION = "test"


@cache
def why_no_docker() -> str | None:
    """What keeps a test from using containers here; None where nothing does."""
    if shutil.which("docker") is None:
        return "needs Docker: there is no `docker` command"
    for command in (["docker", "info"], ["docker", "compose", "version"], ["docker", "buildx", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            return f"needs Docker: `{' '.join(command)}` fails ({lines[-1] if lines else 'without a word'})"
    missing = [image for image in ("redis:8", "prom/prometheus:v3.5.3", MINIO) if not has_image(image)]
    return f"needs the images {', '.join(missing)}, which cannot be pulled here" if missing else None


@cache
def has_image(name: str) -> bool:
    """The image is here, or could be pulled."""
    here = ["docker", "image", "inspect", name]
    if subprocess.run(here, capture_output=True, timeout=30, check=False).returncode == 0:
        return True
    pull = ["docker", "pull", "--quiet", name]
    return subprocess.run(pull, capture_output=True, timeout=300, check=False).returncode == 0


def is_stand_in(image: str) -> bool:
    """The image carries a public name and was built here from other parts: RGW for MinIO."""
    command = ["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image]
    labels = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    return "offline-images.recipe" in (labels or {})


class ComposeStack:
    """The stack with profile `demo`; it is removed with its data at the end."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.project = f"daedalus-test-{uuid4().hex[:8]}"
        self.secrets = folder / "secrets"
        self.s3_port, self.prometheus_port, self.grafana_port = free_port(), free_port(), free_port()
        self.env = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "SECRETS": str(self.secrets),
            "VERSION": VERSION,
            "S3_PORT": str(self.s3_port),
            "S3_CONSOLE_PORT": str(free_port()),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "GRAFANA_PORT": str(self.grafana_port),
            "HEALTH_INTERVAL": "2s",
            "OBJECT_STORE_KEYS": "shared" if is_stand_in(MINIO) else "per-service",
            "GRAFANA": "on" if has_image(GRAFANA) else "off",
            **settings,
        }

    def __enter__(self) -> Self:
        self.run([str(FOLDER / "secrets.sh")])
        try:
            self.compose("build", "--quiet", "tools", seconds=400)
            self.up("--build")
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self, *arguments: str) -> None:
        """Returns when everything is healthy. Raises AssertionError with what Docker said."""
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", "240", *arguments, seconds=400)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail', '15')}") from None

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "5", seconds=120)

    def compose(self, *arguments: str, seconds: float = 60, **settings: str) -> str:
        """What it printed; `settings` are those of .env. Raises AssertionError when it fails."""
        profiles = ["--profile", "demo", "--profile", "tools"] if arguments[0] == "down" else ["--profile", "demo"]
        return self.run(
            ["docker", "compose", "-f", str(FOLDER / "compose.yaml"), *profiles, *arguments], seconds, **settings
        )

    def tools(self, *arguments: str, key: str = "reader") -> str:
        """What `daedalus ARGUMENTS` printed, from the image `tools`, with the key of that role for the store."""
        words = ["run", "--rm", "--no-deps", "--quiet-pull", "-T", "tools", *arguments]
        return self.compose(*words, seconds=100, TOOLS_KEY=key)

    def run(self, command: Sequence[str], seconds: float = 60, **settings: str) -> str:
        done = subprocess.run(
            command, env=self.env | settings, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-3000:]}\n{done.stdout[-1000:]}"
        return done.stdout

    def containers(self, service: str = "") -> list[str]:
        """The ids of the running containers, of one service or of all."""
        return self.compose("ps", "--quiet", *([service] if service else [])).split()

    def inspect(self, service: str = "") -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = json.loads(self.run(["docker", "inspect", *self.containers(service)]))
        return found

    def is_healthy(self, service: str) -> bool:
        states = [container["State"] for container in self.inspect(service)] if self.containers(service) else []
        return bool(states) and all(state.get("Health", {}).get("Status") == "healthy" for state in states)

    def owners(self, role: str) -> set[str]:
        """Who holds the markets in this role; "" stands for markets that nobody holds."""
        return {lease["owner"] or "" for lease in json.loads(self.tools("leases", "--json")) if lease["role"] == role}

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Polls. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)
