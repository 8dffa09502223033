"""What a service tells about itself: metrics and health over HTTP, structured logs on stderr.

Every service serves `/metrics` (Prometheus), `/healthz` (is its loop alive) and `/readyz` (can it work),
bound to 127.0.0.1 unless the configuration says otherwise.
"""

from daedalus_common.config.masking import mask_url
from daedalus_common.telemetry.health import Health, HealthReport
from daedalus_common.telemetry.logs import configure_logging
from daedalus_common.telemetry.server import TelemetryError, TelemetryPortTaken, TelemetryServer

__all__ = [
    "Health",
    "HealthReport",
    "TelemetryError",
    "TelemetryPortTaken",
    "TelemetryServer",
    "configure_logging",
    "mask_url",
]
