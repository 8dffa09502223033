"""The real processes of a pipeline, started one by one: Valkey, the simulator, the services.

with Stack(folder, config) as stack:
    stack.start("writer")
    stack.simulate("--seed", "1")
    stack.start("ingestor")
"""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import redis
import yaml

from support.valkey import ValkeyServer

READY_SECONDS = 30.0
STOP_SECONDS = 60.0


class Service:
    """One running process of a service."""

    def __init__(self, name: str, arguments: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        """`env` is added to this process's own environment."""
        self.name = name
        self.log = log
        self._log = log.open("ab")
        command = [sys.executable, "-m", f"daedalus_{name}", *arguments]
        # Told to stop in vain it is aborted, and then writes into its log where each of its threads stands.
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1", **(env or {})}
        self._popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, env=environment)
        self.usage = psutil.Process(self._popen.pid)

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def taken(self) -> set[str]:
        """The markets whose lease it has taken, by their names."""
        return set(re.findall(r"lease taken.*market=(\S+)", self.log.read_text(errors="replace")))

    def first_line(self) -> str:
        """The first line of its standard output."""
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().decode()

    def cpu_seconds(self) -> float:
        times = self.usage.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        return int(self.usage.memory_info().rss)

    def kill(self) -> None:
        """As a crash would end it."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Asks it to finish and waits for that; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self.running:
            self._popen.send_signal(number)
        try:
            code = self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.send_signal(signal.SIGABRT)
            self._popen.wait(STOP_SECONDS)
            raise
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        self._log.close()
        return code


def _is_at_work(service: Service) -> bool:
    """It has looked at the markets: told to stop before, it might leave them to its next start."""
    return "first round of leases" in service.log.read_text(errors="replace")


class Simulator:
    """A running simulator and its control endpoint."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.url = str(json.loads(service.first_line())["url"])

    def ledger(self, *, ids: bool = True) -> Any:
        """Per symbol and channel: how many frames were sent, and their ids in order."""
        return self._ask(f"/control/ledger?ids={ids:d}")

    def status(self) -> Any:
        return self._ask("/control/status")

    def post(self, path: str, **body: Any) -> Any:
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", body, timeout=120) as reply:
            return json.loads(reply.read())


class Stack:
    """A pipeline in `folder`. `config` is the YAML's content; redis, storage and api_url are filled in."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.valkey = ValkeyServer(folder / "valkey")
        self.simulator: Simulator | None = None
        self._config = copy.deepcopy(config)
        self._services: list[Service] = []

    def start(self, name: str, replica: str = "1", env: Mapping[str, str] | None = None) -> Service:
        """A service as a process; it is up when this returns, though perhaps not ready. `env` is added to ours."""
        path = self.folder / "config.yaml"
        new = path.with_suffix(".new")
        new.write_text(yaml.safe_dump(self.config))
        new.replace(path)  # at once: a service that was started a moment ago may be reading it
        arguments = ["--config", str(path), "--name", f"{name}-{replica}", "--telemetry-port", "0"]
        return self._run(name, arguments, env)

    def simulate(self, *arguments: str) -> Simulator:
        """The simulator with these arguments, on any free port."""
        self.simulator = Simulator(self._run("simulator", ["--port", "0", "--log-level", "WARNING", *arguments]))
        return self.simulator

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.valkey.url)

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Polls; fails with the ends of all logs when the time is over."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {seconds} s\n{self.logs()}")
            time.sleep(0.05)

    def lag(self, market: str, stream: str, group: str) -> int | None:
        """Entries of a stream that a group has not passed; None where there is no such group yet."""
        try:
            with self.client() as client:
                groups = client.xinfo_groups(f"{{{market}}}:{stream}")
        except redis.ResponseError:
            return None
        return next((group_["lag"] for group_ in groups if group_["name"] == group.encode()), None)

    def wait_for_featurizer(self, markets: list[str], seconds: float = READY_SECONDS) -> None:
        """Until it has passed every raw entry."""
        self.wait_until(
            lambda: all(self.lag(market, "raw", "featurizer") == 0 for market in markets), "featurizer lag 0", seconds
        )

    def stop_in_order(self) -> None:
        """Simulated market first, then ingestor, featurizer, writer: everything sent ends in Parquet."""
        if self.simulator is not None:
            self.simulator.post("/control/stop")
            self._wait_for_silence()
        for name in ("ingestor", "featurizer", "writer"):
            running = [service for service in self._services if service.name == name and service.running]
            for service in running:
                self.wait_until(partial(_is_at_work, service), f"{name} is at work")
                code = service.stop()
                assert code == 0, f"{name} ended with {code}\n{self.logs()}"

    def _wait_for_silence(self) -> None:
        """Until the ingestor has taken in what is on the wire: from then on a market gets a heartbeat a second."""
        with self.client() as client:
            keys = sorted(client.scan_iter("{*}:sequence"))
            before, quiet = -1, 0
            while quiet < 2:
                time.sleep(1.0)
                now = sum(int(client.hget(key, "seq") or 0) for key in keys)
                quiet = quiet + 1 if now - before <= 2 * len(keys) else 0
                before = now

    def logs(self, lines: int = 30) -> str:
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted(self.folder.glob("*.log"))
        )

    def _run(self, name: str, arguments: list[str], env: Mapping[str, str] | None = None) -> Service:
        service = Service(name, arguments, self.folder / f"{name}-{len(self._services)}.log", env)
        self._services.append(service)
        return service

    @property
    def config(self) -> dict[str, Any]:
        """What the services get."""
        config = copy.deepcopy(self._config)
        store = {"backend": "local", "base_dir": str(self.data)}
        config["redis"] = {"url": self.valkey.url}
        config["ingestion"] = {"spool_dir": str(self.folder / "spool")} | config.get("ingestion", {})
        config["storage"] = {
            "ingestion_storage": store,
            "etl_storage_input": store,
            "etl_storage_output": store,
        } | config.get("storage", {})
        if self.simulator is not None:
            for exchange in config["ccxt"]["exchanges"].values():
                exchange["api_url"] = self.simulator.url
        return config

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("PYTHONUNBUFFERED", "1")
        self.valkey.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in self._services:
            if service.running:
                service.kill()
        self.valkey.kill()
