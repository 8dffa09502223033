"""From settings to the parts of a run: addresses chosen, the services' configuration written."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec

from daedalus.embedded.layout import DataDir, write_private
from daedalus.embedded.run import Parts, SessionError
from daedalus.embedded.services import COMPACTOR, FEATURIZER, INGESTOR, SIMULATOR, WRITER, Surroundings
from daedalus.embedded.settings import Settings, child_environment, effective_config
from daedalus.embedded.valkey import HOST, ValkeyServer, choose_port, valkey_command
from daedalus_common.config import config_to_yaml

VALKEY_PORT = 6379
SIMULATOR_PORT = 8787


@dataclass(frozen=True, slots=True)
class Chance:
    """What is drawn anew for every run: ports where the usual ones are taken, and the server's password."""

    rng: random.Random
    password: str


def prepare(
    settings: Settings, data_dir: DataDir, env: Mapping[str, str], chance: Chance, seed: int, duration: timedelta | None
) -> Parts:
    """Raises ConfigError, NoServer where no server can be embedded, or SessionError where a service is not installed.

    The data directory must be locked.
    """
    _check_installed(settings.demo, settings.config.compactor.enabled)
    layout = data_dir.layout
    server = _server(settings, chance)
    simulator_port = choose_port(SIMULATOR_PORT, chance.rng, taken=() if server is None else (server.port,))
    simulator_url = f"http://{HOST}:{simulator_port}"
    config = effective_config(settings, _redis_keys(server), simulator_url if settings.demo else None)
    write_private(layout.config, config_to_yaml(config, masked=False))
    children_env = child_environment(env)
    inherit = (data_dir.lock_fd,)
    surroundings = Surroundings(layout, config, children_env, inherit)
    return Parts(
        surroundings=surroundings,
        valkey=None if server is None else valkey_command(server, layout, children_env, inherit),
        simulator=surroundings.simulator(simulator_port, seed) if settings.demo else None,
        simulator_url=simulator_url,
        duration=duration,
    )


def _check_installed(demo: bool, compacts: bool) -> None:
    needed = [WRITER, FEATURIZER, INGESTOR, *([COMPACTOR] if compacts else []), *([SIMULATOR] if demo else [])]
    absent = [f"daedalus-{name}" for name in needed if find_spec(f"daedalus_{name}") is None]
    if absent:
        raise SessionError(f"not installed beside this command: {', '.join(absent)}; install them with pip")


def _server(settings: Settings, chance: Chance) -> ValkeyServer | None:
    if settings.redis_url is not None:
        return None
    return ValkeyServer(choose_port(VALKEY_PORT, chance.rng), chance.password)


def _redis_keys(server: ValkeyServer | None) -> Mapping[str, str | bool | None] | None:
    if server is None:
        return None
    return {"url": server.url, "cluster": False, "username": None, "password": server.password, "password_file": None}
