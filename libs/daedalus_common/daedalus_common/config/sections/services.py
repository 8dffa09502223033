"""`leases`, `writer`, `featurizer`, `compactor`, `telemetry` and `supervisor`: how the services run."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from daedalus_common.config.sections.base import MEBIBYTE, Name, PortNumber, Section, Unique, duration


class LeaseSettings(Section):
    """How replicas share out the markets."""

    ttl_seconds: Annotated[float, Field(ge=0.2, le=300)] = 10.0
    renew_seconds: Annotated[float, Field(ge=0.05, le=100)] = 3.0

    @property
    def ttl(self) -> timedelta:
        return duration(self.ttl_seconds)

    @property
    def renew(self) -> timedelta:
        return duration(self.renew_seconds)


class WriterSettings(Section):
    """`memory_mb` bounds what the writer holds of all markets before it flushes."""

    memory_mb: Annotated[float, Field(ge=1, le=65536)] = 256.0
    upload_threads: Annotated[int, Field(ge=1, le=64)] = 4
    max_dead_letters: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    poll_seconds: Annotated[float, Field(ge=0.001, le=10)] = 0.05
    keep_raw_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0

    @property
    def memory_size_bytes(self) -> int:
        return round(self.memory_mb * MEBIBYTE)

    @property
    def poll(self) -> timedelta:
        return duration(self.poll_seconds)

    @property
    def keep_raw(self) -> timedelta:
        return duration(self.keep_raw_seconds)


class FeaturizerSettings(Section):
    """The bounds of one atomic step, and how long live readers find its rows."""

    poll_seconds: Annotated[float, Field(ge=0.001, le=10)] = 0.02
    max_entries: Annotated[int, Field(ge=1, le=5000)] = 500
    max_rows: Annotated[int, Field(ge=1, le=500)] = 50
    commit_seconds: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    keep_rows_seconds: Annotated[float, Field(ge=600, le=86400)] = 600.0

    @property
    def poll(self) -> timedelta:
        return duration(self.poll_seconds)

    @property
    def commit(self) -> timedelta:
        return duration(self.commit_seconds)

    @property
    def keep_rows(self) -> timedelta:
        return duration(self.keep_rows_seconds)


class CompactorSettings(Section):
    """When the small objects of a closed partition are merged, and when those that were are deleted."""

    enabled: bool = True
    every_seconds: Annotated[float, Field(ge=1, le=86400)] = 600.0
    closed_after_seconds: Annotated[float, Field(ge=600, le=2_592_000)] = 7200.0
    grace_seconds: Annotated[float, Field(ge=0, le=2_592_000)] = 3600.0
    min_objects: Annotated[int, Field(ge=2, le=10_000)] = 4
    target_size_mb: Annotated[float, Field(ge=1, le=4096)] = 128.0

    @property
    def closed_after(self) -> timedelta:
        return duration(self.closed_after_seconds)

    @property
    def grace(self) -> timedelta:
        return duration(self.grace_seconds)

    @property
    def target_size_bytes(self) -> int:
        return round(self.target_size_mb * MEBIBYTE)


class TelemetryPorts(Section):
    """0 takes any free port."""

    ingestor: PortNumber = 9101
    writer: PortNumber = 9102
    featurizer: PortNumber = 9103
    compactor: PortNumber = 9104
    simulator: PortNumber = 9105


class TelemetrySettings(Section):
    host: Name = "127.0.0.1"
    ports: TelemetryPorts = TelemetryPorts()

    def port_of(self, service: str) -> int:
        """The port of a service, by its name. Raises AttributeError for a name that is no service."""
        port: int = getattr(self.ports, service)
        return port


class SupervisorSettings(Section):
    """How `daedalus up` looks after its child processes; `gc_interval_seconds` = 0 leaves collection to Python."""

    memory_warning_mb: Annotated[float, Field(ge=16, le=1_048_576)] = 3000.0
    memory_critical_mb: Annotated[float, Field(ge=16, le=1_048_576)] = 3500.0
    shutdown_timeout_seconds: Annotated[float, Field(ge=1, le=3600)] = 120.0
    restart_delay_seconds: Annotated[float, Field(ge=0.01, le=3600)] = 1.0
    max_restart_delay_seconds: Annotated[float, Field(ge=0.01, le=3600)] = 60.0
    gc_interval_seconds: Annotated[float, Field(ge=0, le=86400)] = 300.0
    nice: Annotated[int, Field(ge=-20, le=19)] = 0
    cpu_affinity: Unique[Annotated[int, Field(ge=0, le=1023)]] = ()

    @property
    def memory_warning_size_bytes(self) -> int:
        return round(self.memory_warning_mb * MEBIBYTE)

    @property
    def memory_critical_size_bytes(self) -> int:
        return round(self.memory_critical_mb * MEBIBYTE)

    @property
    def shutdown_timeout(self) -> timedelta:
        return duration(self.shutdown_timeout_seconds)

    @property
    def restart_delay(self) -> timedelta:
        return duration(self.restart_delay_seconds)

    @property
    def max_restart_delay(self) -> timedelta:
        return duration(self.max_restart_delay_seconds)

    @property
    def gc_interval(self) -> timedelta:
        return duration(self.gc_interval_seconds)
