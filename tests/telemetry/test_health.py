"""Liveness follows the loop's beat, readiness the named checks."""

from datetime import timedelta

from daedalus_common.telemetry import Health, HealthReport


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def health_with_clock() -> tuple[Health, Clock]:
    clock = Clock()
    return Health("writer", stalled_after=timedelta(seconds=30), clock=clock), clock


def test_a_starting_service_is_alive_but_not_ready_however_long_it_takes() -> None:
    health, clock = health_with_clock()
    clock.seconds += 10_000
    assert health.liveness() == HealthReport(True, {})
    assert health.readiness() == HealthReport(False, {"loop": "the service is starting"})


def test_the_first_beat_makes_a_service_ready() -> None:
    health, _ = health_with_clock()
    health.beat()
    assert health.readiness() == HealthReport(True, {})


def test_a_loop_that_stands_still_is_neither_alive_nor_ready() -> None:
    health, clock = health_with_clock()
    health.beat()
    clock.seconds += 30
    assert health.liveness().ok
    clock.seconds += 0.5
    expected = HealthReport(False, {"loop": "the main loop has not turned for 30.5 s (30 s allowed)"})
    assert health.liveness() == health.readiness() == expected
    health.beat()
    assert health.liveness().ok
    assert health.readiness().ok


def test_every_check_that_does_not_hold_is_listed_with_its_reason() -> None:
    health, _ = health_with_clock()
    health.beat()
    health.mark_unready("redis", "connection refused")
    health.mark_unready("store", "bucket is missing")
    health.mark_unready("redis", "still refused")
    assert health.readiness() == HealthReport(False, {"redis": "still refused", "store": "bucket is missing"})
    assert health.liveness().ok
    health.mark_ready("redis")
    health.mark_ready("never marked before")
    assert health.readiness() == HealthReport(False, {"store": "bucket is missing"})


def test_a_report_does_not_change_afterwards() -> None:
    health, _ = health_with_clock()
    health.mark_unready("redis", "away")
    report = health.readiness()
    health.mark_ready("redis")
    assert "redis" in report.problems
