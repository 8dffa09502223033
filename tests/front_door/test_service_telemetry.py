"""What the front door asks its children: where they serve, whether they are ready, what they have counted."""

import sys
from functools import partial
from pathlib import Path

import pytest

from daedalus.embedded.http import Unreachable, fetch
from daedalus.embedded.telemetry import BAD_FRAMES, DROPS, Counters, telemetry_url, totals, unreadiness
from daedalus.supervisor.process import Command, Process
from front_door.conftest import until

METRICS = """
# HELP daedalus_ingestor_dropped_events_total Updates dropped.
# TYPE daedalus_ingestor_dropped_events_total counter
daedalus_ingestor_dropped_events_total{channel="trades",symbol="BTC/USDT"} 3.0
daedalus_ingestor_dropped_events_total{channel="orderbook",symbol="BTC/USDT"} 4.0
# TYPE daedalus_ingestor_dropped_events_created gauge
daedalus_ingestor_dropped_events_created{channel="trades",symbol="BTC/USDT"} 1.7e+09
# HELP daedalus_ingestor_bad_frames_total Bad.
# TYPE daedalus_ingestor_bad_frames_total counter
daedalus_ingestor_bad_frames_total{reason="unreadable"} 1.0
"""

# A child that serves real telemetry and writes the same line to its log as every service; a file makes it ready.
SERVICE = """
import os, sys, time
from daedalus_common.telemetry import Health, TelemetryServer, configure_logging
from daedalus_common.telemetry.metrics import counter
import structlog
dropped = counter("daedalus_ingestor_dropped_events_total", "Dropped.", ("channel",))
dropped.labels(channel="trades").inc(int(sys.argv[2]))
configure_logging("INFO", sys.argv[1], service="ingestor", name="ingestor-1")
health = Health("ingestor")
server = TelemetryServer("127.0.0.1", 0, health)
server.start()
structlog.get_logger().info("started", pid=1, telemetry=server.url)
while not os.path.exists(sys.argv[3]):
    time.sleep(0.02)
health.beat()
time.sleep(60)
"""


@pytest.fixture
def service(tmp_path: Path):
    """Starts such a child; all are killed at the end."""
    started: list[Process] = []

    def start(log_format: str = "json", dropped: int = 0) -> Process:
        argv = (sys.executable, "-c", SERVICE, log_format, str(dropped), str(tmp_path / "may-be-ready"))
        process = Process(Command("ingestor", argv, tmp_path / "ingestor.log", {"PATH": "/bin"}))
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def test_counters_are_summed_over_their_labels():
    assert totals(METRICS, [*DROPS, *BAD_FRAMES]) == {
        "daedalus_ingestor_dropped_events_total": 7.0,
        "daedalus_ingestor_bad_frames_total": 1.0,
    }


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_service_is_found_by_its_log_and_says_when_it_is_ready(service, log_format, tmp_path):
    process = service(log_format)
    await until(lambda: telemetry_url(process) is not None, "the line `started`")
    reason = await unreadiness(process)
    assert reason is not None
    assert "503" in reason
    assert "the service is starting" in reason
    (tmp_path / "may-be-ready").touch()
    while await unreadiness(process) is not None:
        assert process.exit_code() is None


async def test_counts_of_a_service_go_on_over_its_restarts(service):
    counters = Counters()
    await counters.read(None)
    assert counters.total(DROPS) == 0
    for dropped, total in [(3, 3), (2, 5)]:
        process = service(dropped=dropped)
        await until(partial(telemetry_url, process), "the line `started`")
        await counters.read(process)
        await counters.read(process)
        assert counters.total(DROPS) == total
        process.kill()
        await counters.read(process)
        assert counters.total(DROPS) == total


async def test_an_address_where_nobody_listens_is_unreachable():
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1/metrics"):
        await fetch("http://127.0.0.1:1/metrics")
