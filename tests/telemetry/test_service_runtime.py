"""The common runtime of the services, as real processes: exit codes, signals, telemetry, waiting for Redis."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import redis

from support.ports import free_port
from support.valkey import ValkeyServer

SERVICE = """
import asyncio, gc, os, sys
from redis.asyncio import Redis
from daedalus_common.service import ServiceContext, StartupError, pause, run_service, wait_for_redis

def options(parser):
    parser.add_argument("--greeting", default="hello")

async def run(context: ServiceContext) -> None:
{body}

if __name__ == "__main__":
    sys.exit(run_service("writer", "Writes.", run, sys.argv[1:], os.environ, add_arguments=options))
"""

LOOP = """
    while not await pause(context.stop, 0.05):
        context.health.beat()
    context.log.info("flushed", greeting=context.args.greeting, replica_name=context.name)
"""

WITH_REDIS = """
    client = Redis.from_url(context.config.redis.url, password=context.config.redis.password.get_secret_value() or None)
    if await wait_for_redis(client, context.stop, context.health, context.log):
        context.log.info("connected")
        while not await pause(context.stop, 0.05):
            context.health.beat()
    await client.aclose()
"""


class Service:
    """A running service; its log lines are read from a file."""

    def __init__(self, folder: Path, body: str, config: str = "", *arguments: str, **env: str) -> None:
        script, config_file, self.log = folder / "service.py", folder / "config.yaml", folder / "stderr"
        script.write_text(SERVICE.format(body=body))
        config_file.write_text(f"log_format: json\n{config}")
        command = [sys.executable, str(script), "--config", str(config_file), "--telemetry-port", "0", *arguments]
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr, stdout=stderr, env=dict(os.environ) | env)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def line(self, event: str) -> dict[str, Any]:
        """The first line of an event, waited for."""
        wait_until(lambda: any(line["event"] == event for line in self.lines()), f"the event {event!r}")
        return next(line for line in self.lines() if line["event"] == event)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.line("started")["telemetry"] + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@contextmanager
def running(folder: Path, body: str, config: str = "", *arguments: str, **env: str) -> Iterator[Service]:
    service = Service(folder, body, config, *arguments, **env)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)


def ended(folder: Path, body: str, config: str = "", *arguments: str, **env: str) -> tuple[int, str]:
    with running(folder, body, config, *arguments, **env) as service:
        return service.process.wait(timeout=60), service.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_service_finish_and_end_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, LOOP, "", "--name", "writer-7", "--greeting", "hi") as service:
        service.line("started")
        assert service.stop(number) == 0
        assert [line["event"] for line in service.lines()] == ["started", "stopping", "flushed", "stopped"]
        assert service.line("stopping")["signal"] == number.name
        flushed = service.line("flushed")
        assert (flushed["greeting"], flushed["replica"], flushed["replica_name"]) == ("hi", "writer-7", "writer-7")


def test_a_main_that_returns_ends_the_service_with_0(tmp_path: Path) -> None:
    assert ended(tmp_path, "    return")[0] == 0


def test_health_is_served_while_the_service_runs(tmp_path: Path) -> None:
    with running(tmp_path, LOOP) as service:
        wait_until(lambda: service.get("/readyz")[0] == 200, "readiness")
        assert service.get("/healthz")[0] == 200
        assert "process_resident_memory_bytes" in service.get("/metrics")[1]
        assert service.line("started")["pid"] == service.process.pid
        assert service.stop() == 0


def test_replicas_without_a_name_get_one_of_their_own(tmp_path: Path) -> None:
    with running(tmp_path, LOOP) as service:
        assert service.line("started")["replica"] == f"writer-{socket.gethostname()}-{service.process.pid}"


def test_the_log_level_can_be_overridden(tmp_path: Path) -> None:
    code, text = ended(tmp_path, "    context.log.warning('odd')", "log_level: DEBUG", "--log-level", "WARNING")
    assert code == 0
    assert [json.loads(line)["event"] for line in text.splitlines()] == ["odd"]


def test_a_wrong_configuration_ends_with_2_and_every_problem(tmp_path: Path) -> None:
    code, text = ended(tmp_path, LOOP, "log_level: loud", DAEDALUS__LEASES__TTL_SECONDS="0")
    assert code == 2
    assert [line.split(": ")[:2] for line in text.splitlines()] == [
        ["2 problems in the configuration:"],
        [f"  {tmp_path}/config.yaml:2", "log_level"],
        ["  environment variable DAEDALUS__LEASES__TTL_SECONDS", "leases.ttl_seconds"],
    ]


def test_a_missing_config_option_ends_with_2_and_the_usage(tmp_path: Path) -> None:
    script = tmp_path / "service.py"
    script.write_text(SERVICE.format(body=LOOP))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m daedalus_writer")
    assert "the following arguments are required: --config" in done.stderr


def test_help_shows_examples_exit_codes_and_the_services_own_options(tmp_path: Path) -> None:
    script = tmp_path / "service.py"
    script.write_text(SERVICE.format(body=LOOP))
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    for text in ("python -m daedalus_writer --config daedalus.yaml\n", "exit codes: 0", "--greeting"):
        assert text in done.stdout


def test_what_prevents_the_start_is_one_clear_line_and_1(tmp_path: Path) -> None:
    body = "    raise StartupError('s3://lake refuses the credentials, endpoint http://a:hunter2@h')"
    code, text = ended(tmp_path, body)
    assert code == 1
    last = text.splitlines()[-1]
    assert last == "daedalus writer cannot start: s3://lake refuses the credentials, endpoint http://a:***@h"
    assert "Traceback" not in text


def test_a_taken_telemetry_port_is_one_clear_line_and_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = ended(tmp_path, LOOP, "", "--telemetry-port", str(port))
    assert code == 1
    (line,) = text.splitlines()
    assert line.startswith(f"daedalus writer cannot start: telemetry port 127.0.0.1:{port} is in use")


def test_asked_to_a_service_takes_any_port_where_its_own_is_taken_and_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = ended(tmp_path, "    return", "", "--telemetry-port", str(port), "--telemetry-port-or-any")
    warned, started = (json.loads(line) for line in text.splitlines()[:2])
    assert (code, warned["level"], warned["port"]) == (0, "warning", port)
    assert started["telemetry"].startswith("http://127.0.0.1:")
    assert not started["telemetry"].endswith(f":{port}")


def test_asked_to_a_service_still_takes_its_own_port_where_that_is_free(tmp_path: Path) -> None:
    port = free_port()
    code, text = ended(tmp_path, "    return", "", "--telemetry-port", str(port), "--telemetry-port-or-any")
    assert (code, json.loads(text.splitlines()[0])["telemetry"]) == (0, f"http://127.0.0.1:{port}")


def test_the_telemetry_port_comes_from_the_configuration(tmp_path: Path) -> None:
    port = free_port()
    script, config = tmp_path / "service.py", tmp_path / "config.yaml"
    script.write_text(SERVICE.format(body="    return"))
    config.write_text(f"log_format: json\ntelemetry: {{ports: {{writer: {port}}}}}")
    command = [sys.executable, str(script), "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stderr.splitlines()[0])["telemetry"] == f"http://127.0.0.1:{port}"


def test_an_unexpected_error_is_logged_and_ends_with_1(tmp_path: Path) -> None:
    code, text = ended(tmp_path, "    raise KeyError('surprise')")
    assert code == 1
    last = json.loads(text.splitlines()[-1])
    assert (last["event"], last["level"]) == ("failed", "critical")
    assert last["exception"][0]["exc_type"] == "KeyError"


STANDSTILL_OF_3_SECONDS = """
    from datetime import timedelta
    from daedalus_common import service
    service.STANDSTILL = timedelta(seconds=3)
"""


def test_a_service_whose_loop_stands_still_says_where_and_ends_with_1(tmp_path: Path) -> None:
    stuck = """
    await asyncio.sleep(0.1)
    import time
    time.sleep(60)
"""
    code, text = ended(tmp_path, STANDSTILL_OF_3_SECONDS + stuck)
    assert code == 1
    assert "Timeout" in text
    assert "in run" in text


def test_a_service_that_waits_for_long_does_not_stand_still(tmp_path: Path) -> None:
    code, text = ended(tmp_path, STANDSTILL_OF_3_SECONDS + "    await asyncio.sleep(6)")
    assert code == 0, text


def test_garbage_is_collected_at_the_configured_interval(tmp_path: Path) -> None:
    body = """
    gc.disable()
    before, began = gc.get_stats()[2]["collections"], asyncio.get_running_loop().time()
    times = took = 0
    while took < 0.5 or (times < 2 and took < {longest}):
        await asyncio.sleep(0.1)
        times, took = gc.get_stats()[2]["collections"] - before, asyncio.get_running_loop().time() - began
    context.log.info("collected", times=times, took=took)
"""
    _, text = ended(tmp_path, body.format(longest=20), "supervisor: {gc_interval_seconds: 0.1}")
    collected = json.loads(text.splitlines()[1])
    assert 2 <= collected["times"] <= collected["took"] / 0.1 + 1
    _, text = ended(tmp_path, body.format(longest=0.5), "supervisor: {gc_interval_seconds: 0}")
    assert json.loads(text.splitlines()[1])["times"] == 0


def test_a_redis_that_is_down_is_waited_for_and_the_service_says_so(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    with running(tmp_path, WITH_REDIS, f"redis: {{url: '{server.url}'}}") as service:
        wait_until(lambda: len(service.lines()) >= 4, "three attempts")
        attempts = [line for line in service.lines() if line["event"] == "waiting for Redis"]
        delays = [line["retry_in_seconds"] for line in attempts[:3]]
        # 0.5, 1 and 2 s, each with up to 0.5 s of jitter.
        assert all(base <= delay <= base + 0.5 for base, delay in zip((0.5, 1.0, 2.0), delays, strict=True))
        status, body = service.get("/readyz")
        assert status == 503
        assert f"connecting to 127.0.0.1:{server.port}" in json.loads(body)["problems"]["redis"]
        assert service.get("/healthz")[0] == 200
        server.start()
        try:
            service.line("connected")
            wait_until(lambda: service.get("/readyz")[0] == 200, "readiness")
            assert service.stop() == 0
        finally:
            server.stop()


def test_waiting_for_redis_can_be_stopped(tmp_path: Path) -> None:
    with running(tmp_path, WITH_REDIS, f"redis: {{url: 'redis://127.0.0.1:{free_port()}'}}") as service:
        service.line("waiting for Redis")
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 3
        assert service.lines()[-1]["event"] == "stopped"


def test_a_host_that_accepts_and_never_answers_can_be_stopped_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with running(tmp_path, WITH_REDIS, f"redis: {{url: '{url}'}}") as service:
            service.line("started")
            connection, _ = silent.accept()
            with connection:
                assert service.stop() == 0


def test_a_refused_password_is_not_waited_out(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey") as server, redis.Redis.from_url(server.url) as admin:
        admin.config_set("requirepass", "right")
        code, text = ended(tmp_path, WITH_REDIS, f"redis: {{url: '{server.url}', password: wrong}}")
    assert code == 1
    last = text.splitlines()[-1]
    assert last.startswith("daedalus writer cannot start: Redis does not let us in (")
    assert last.endswith("see redis.username and redis.password")
