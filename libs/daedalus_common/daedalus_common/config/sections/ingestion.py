"""`ingestion`: how the ingestor publishes and reconnects, and when the writer closes a segment."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from daedalus_common.config.sections.base import MEBIBYTE, FilePath, Section, duration


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """Exponential backoff from `first_delay` to `max_delay`; `max_attempts` is None for ever."""

    enabled: bool
    first_delay: timedelta
    max_delay: timedelta
    max_attempts: int | None


class IngestionSettings(Section):
    """The defaults suit ten markets on a Raspberry Pi 4."""

    # The publishing script takes a batch as its arguments; Lua unpacks less than 8,000 of them.
    batch_size: Annotated[int, Field(ge=1, le=2000)] = 100
    queue_maxsize: Annotated[int, Field(ge=100, le=10_000_000)] = 10_000
    # None: `spool` under storage.paths.state_dir.
    spool_dir: FilePath | None = None
    spool_max_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 512
    linger_seconds: Annotated[float, Field(ge=0, le=1)] = 0.02
    heartbeat_seconds: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    stale_after_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    auto_reconnect: bool = True
    max_reconnect_attempts: Annotated[int, Field(ge=-1, le=1_000_000)] = -1
    reconnect_delay: Annotated[float, Field(ge=0.01, le=3600)] = 5.0
    max_reconnect_delay: Annotated[float, Field(ge=0.01, le=3600)] = 60.0
    flush_interval_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    segment_max_mb: Annotated[float, Field(ge=0.01, le=4096)] = 100.0
    enable_fsync: bool = True

    @property
    def linger(self) -> timedelta:
        return duration(self.linger_seconds)

    @property
    def heartbeat(self) -> timedelta:
        return duration(self.heartbeat_seconds)

    @property
    def stale_after(self) -> timedelta:
        return duration(self.stale_after_seconds)

    @property
    def flush_interval(self) -> timedelta:
        return duration(self.flush_interval_seconds)

    @property
    def segment_max_size_bytes(self) -> int:
        return round(self.segment_max_mb * MEBIBYTE)

    @property
    def spool_max_size_bytes(self) -> int:
        return self.spool_max_mb * MEBIBYTE

    @property
    def reconnect(self) -> ReconnectPolicy:
        attempts = self.max_reconnect_attempts
        return ReconnectPolicy(
            enabled=self.auto_reconnect,
            first_delay=duration(self.reconnect_delay),
            max_delay=duration(self.max_reconnect_delay),
            max_attempts=None if attempts < 0 else attempts,
        )
