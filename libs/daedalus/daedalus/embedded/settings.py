"""From what the user asked for to the configuration that the services get."""

import dataclasses
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from daedalus_common.config import Config, ConfigError, Problem, config_to_yaml, load_config, parse_config
from daedalus_common.config.environment import PREFIX
from daedalus_common.config.exchanges import ccxt_id

DEFAULT_DATA_DIR = Path("data")
DEMO_DATA_DIR = Path("data-demo")
"""Not where real markets are recorded by default: simulated prices of the same market would lie among theirs."""
SIMULATED = frozenset({"binance", "binanceus"})
"""Exchanges, by their ccxt id, whose protocol the simulator speaks."""

_STORES = ("ingestion_storage", "etl_storage_input", "etl_storage_output")


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked of `daedalus up`, as far as it shapes the configuration."""

    demo: bool
    config_file: Path | None
    data_dir: Path | None
    redis_url: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """`config` as the user gave it, before the addresses of the embedded server and the simulator are known."""

    config: Config
    demo: bool
    data_dir: Path
    """Absolute: logs, run files and the embedded server; local stores too, unless the configuration says otherwise."""
    stores_in_data_dir: bool
    redis_url: str | None
    """The server to use; None = embed one."""


def read_settings(wishes: Wishes, env: Mapping[str, str]) -> Settings:
    """Loads and checks. Raises ConfigError."""
    if wishes.config_file is None and not wishes.demo:
        raise _error(
            "there is nothing to record", "say --demo for a simulated exchange, or --config FILE for a real one"
        )
    config = _demo_config(env) if wishes.config_file is None else load_config(wishes.config_file, env)
    if not config.ccxt.exchanges:
        raise _error("ccxt.exchanges is empty: there is nothing to record", "name an exchange with its channels there")
    if wishes.demo:
        _check_simulated(config)
    own_stores = wishes.config_file is None or wishes.data_dir is not None
    return Settings(
        config=config,
        demo=wishes.demo,
        data_dir=(wishes.data_dir or _data_dir_of(config, wishes)).absolute(),
        stores_in_data_dir=own_stores,
        redis_url=wishes.redis_url or _redis_of(config),
    )


def effective_config(settings: Settings, redis: Mapping[str, Any] | None, simulator_url: str | None) -> Config:
    """The configuration of the services. `redis` replaces keys of that section; `simulator_url` is the base of the
    local exchange that all exchanges are reached at. Raises ConfigError."""
    values: dict[str, Any] = yaml.safe_load(config_to_yaml(settings.config, masked=False))
    if settings.redis_url is not None:
        values["redis"]["url"] = settings.redis_url
    values["redis"].update(redis or {})
    for name in _STORES:
        store = values["storage"][name]
        if store["backend"] == "local":
            base = settings.data_dir if settings.stores_in_data_dir else Path(store["base_dir"]).absolute()
            store["base_dir"] = str(base)
    if values["ingestion"]["spool_dir"] is None:
        values["ingestion"]["spool_dir"] = str(settings.data_dir / "spool")
    if simulator_url is not None:
        for exchange in values["ccxt"]["exchanges"].values():
            # The user's keys are for the real exchange, and of no use here.
            exchange |= {"api_url": simulator_url, "api_key": "", "api_secret": ""}
        # Nobody scrapes a demo, and beside a real recorder it must not take the ports that are scraped.
        values["telemetry"]["ports"] = dict.fromkeys(values["telemetry"]["ports"], 0)
    return parse_config(values)


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of the children: what it overrides is already in their configuration."""
    return {name: value for name, value in env.items() if not name.upper().startswith(PREFIX)}


def _demo_config(env: Mapping[str, str]) -> Config:
    text = files("daedalus.embedded").joinpath("demo.yaml").read_text(encoding="utf-8")
    return parse_config(yaml.safe_load(text), env)


def _data_dir_of(config: Config, wishes: Wishes) -> Path:
    if wishes.config_file is None:
        return DEMO_DATA_DIR
    store = config.storage.ingestion_storage
    return store.base_dir if store.backend == "local" else DEFAULT_DATA_DIR


def _redis_of(config: Config) -> str | None:
    # The default address names no server of the user's: example files spell it out.
    default = type(config.redis).model_fields["url"].default
    return None if config.redis.url == default else config.redis.url


def _check_simulated(config: Config) -> None:
    foreign = [name for name in config.ccxt.exchanges if ccxt_id(name) not in SIMULATED]
    if foreign:
        raise _error(
            f"the simulated exchange cannot stand for {', '.join(foreign)}",
            f"use only {' and '.join(sorted(SIMULATED))} with --demo, or leave --demo out",
        )


def _error(message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(message, hint=hint)])
