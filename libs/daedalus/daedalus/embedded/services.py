"""The command line of each child."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from daedalus.embedded.layout import Layout
from daedalus.supervisor.policy import MemoryLimits, RestartPolicy
from daedalus.supervisor.process import Command
from daedalus.supervisor.supervisor import Rules
from daedalus_common.config import Config

SIMULATOR, WRITER, FEATURIZER, INGESTOR = "simulator", "writer", "featurizer", "ingestor"
COMPACTOR = "compactor"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all children share."""

    layout: Layout
    config: Config
    env: Mapping[str, str]
    inherit: tuple[int, ...]
    python: str = sys.executable

    def command(self, name: str, arguments: Iterable[str]) -> Command:
        """A module of ours as a child."""
        return Command(
            name=name,
            argv=(self.python, "-m", f"daedalus_{name}", *arguments),
            log=self.layout.log(name),
            env=self.env,
            nice=self.config.supervisor.nice,
            cpu_affinity=self.config.supervisor.cpu_affinity,
            inherit=self.inherit,
        )

    def service(self, name: str) -> Command:
        """The one replica of a service: its metrics on the configured port, or on any where that one is taken."""
        config = str(self.layout.config)
        return self.command(name, ("--config", config, "--name", f"{name}-1", "--telemetry-port-or-any"))

    def simulator(self, port: int, seed: int) -> Command:
        """The local exchange with every configured symbol."""
        symbols = dict.fromkeys(market.symbol for market in self.config.markets())
        # A run goes on in the data directory of the one before: trades with its ids would be taken for repeated ones.
        arguments = ("--port", str(port), "--seed", str(seed), "--ids-from-clock", "--symbols", *symbols)
        return self.command(SIMULATOR, arguments)


def rules_of(config: Config) -> Rules:
    """The supervisor's rules as configured."""
    settings = config.supervisor
    return Rules(
        restart=RestartPolicy(first_delay=settings.restart_delay, max_delay=settings.max_restart_delay),
        memory=MemoryLimits(settings.memory_warning_size_bytes, settings.memory_critical_size_bytes),
        shutdown_timeout=settings.shutdown_timeout,
    )
