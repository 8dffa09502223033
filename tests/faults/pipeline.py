"""What a run's pipeline is made of: its configuration, its processes and their names."""

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from daedalus_common.leases import Role
from faults.stores import LocalLake, S3Lake
from support.stack import Service, Stack

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "LTC/USDT")
CHANNELS = 3
TTL_SECONDS = 3.0
ROLES = (Role.INGESTOR, Role.WRITER, Role.FEATURIZER)
REPLICAS = ("1", "2")
STALE_SECONDS = 6.0

CONFIG: dict[str, Any] = {
    "ccxt": {
        "exchanges": {
            "binanceus": {
                "max_orderbook_depth": 10,
                "channels": {name: list(SYMBOLS) for name in ("watchOrderBook", "watchTrades", "watchTicker")},
            }
        }
    },
    "ingestion": {
        # The queue is the smallest there may be: seconds without Redis need the spool.
        "queue_maxsize": 100,
        "spool_max_mb": 64,
        "flush_interval_seconds": 0.5,
        "reconnect_delay": 0.2,
        "max_reconnect_delay": 1.0,
        # A third of it is the time a pong may take, and other processes of this machine may take the processor.
        "stale_after_seconds": STALE_SECONDS,
    },
    "features": {"bar_durations": [5, 60], "emit_interval": 0.5},
    "featurizer": {"commit_seconds": 1.0},
    "leases": {"ttl_seconds": TTL_SECONDS, "renew_seconds": 0.6},
    "writer": {"memory_mb": 32},
}
REDIS_TIMEOUT_SECONDS = 1.0


class FaultStack(Stack):
    """A stack whose services reach Redis through a proxy and keep their data in `lake`."""

    def __init__(self, folder: Path, lake: LocalLake | S3Lake) -> None:
        super().__init__(folder, CONFIG)
        self.lake = lake
        self.redis_port: int | None = None
        self.path = folder / "config.yaml"

    def start(self, name: str, replica: str = "1", env: Mapping[str, str] | None = None) -> Service:
        # Written once: a service that starts while another thread writes it would read half a file.
        if not self.path.exists():
            self.path.write_text(yaml.safe_dump(self.config))
        arguments = ["--config", str(self.path), "--name", f"{name}-{replica}", "--telemetry-port", "0"]
        return self._run(name, arguments, env)

    @property
    def config(self) -> dict[str, Any]:
        config = super().config
        config["redis"] = {
            "url": f"redis://127.0.0.1:{self.redis_port}/0",
            "socket_timeout_seconds": REDIS_TIMEOUT_SECONDS,
        }
        config["storage"] |= self.lake.storage()
        return config


@dataclass(slots=True)
class Replica:
    """One name of a service, and the process that has it now."""

    role: Role
    number: str
    service: Service
    env: dict[str, str] = field(default_factory=dict)
    down: bool = False
    """Ended by the harness, so nobody but the harness starts it again."""

    @property
    def name(self) -> str:
        return f"{self.role}-{self.number}"

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.service.pid, number)

    def says(self, pattern: str) -> int:
        """How many lines of its log match."""
        return len(re.findall(pattern, self.service.log.read_text(errors="replace")))
