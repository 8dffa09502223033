"""Is the server set up so that nothing is lost? Its settings, as findings that name the fix.

INFO, CONFIG GET (of every master of a cluster) -> findings (pure) -> logged; an error keeps a service from starting
"""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from daedalus_common.broker.cluster import ClusterClient, NotACluster

OLDEST_REDIS: Final = (7, 0)
OLDEST_VALKEY: Final = (8, 0)
MOST_OF_MEMORY: Final = 0.75
"""Of the machine's memory. While the append-only file is rewritten, pages that change exist twice."""

_CONFIG_PATTERNS: Final = ("maxmemory*", "append*", "cluster-require*")
_CHECKED: Final = "maxmemory-policy, maxmemory, appendonly, appendfsync"

_MIB: Final = 2**20
# A master that is away must not keep the services from starting, which wait for 5 s for everything.
_NODE_SECONDS: Final = 2.0


class Level(StrEnum):
    """How bad a finding is: an error keeps the services from starting."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Finding(msgspec.Struct, frozen=True):
    """What is wrong with one setting, and how to put it right; `node` is a cluster's, HOST:PORT."""

    level: Level
    setting: str
    text: str
    node: str = ""


class WrongKind(Exception):
    """The server is a node of a cluster and `redis.cluster` is false, or the reverse; the text names the key."""


class Askable(Protocol):
    """Any asyncio Redis client, of one server or a cluster."""

    def info(self, **options: Any) -> Any: ...

    def config_get(self, pattern: str, **options: Any) -> Any: ...


async def check_kind(client: Askable) -> None:
    """Raises WrongKind, and redis' errors of connections and time."""
    if isinstance(client, ClusterClient):
        try:
            await client.discover()
        except NotACluster as error:
            raise WrongKind(
                f"redis.cluster is true, but the server at redis.url is no node of a cluster ({error}): set "
                "redis.cluster: false, or redis.url to a node of a cluster"
            ) from error
    elif _whole(_setting(await _info(client), "cluster_enabled")):
        raise WrongKind(
            "redis.cluster is false, but the server at redis.url is a node of a cluster and holds only a part of the "
            "markets: set redis.cluster: true"
        )


async def check_server(client: Askable) -> tuple[Finding, ...]:
    """Looks at the settings of the server, or of every master, errors first. What access rules hide is a finding too.

    Raises redis' errors of connections and time.
    """
    if not isinstance(client, ClusterClient):
        return findings(*await _settings(client))
    found = await asyncio.gather(*(_check_node(client, node) for node in await client.masters()))
    return _errors_first([finding for of_node in found for finding in of_node])


async def _check_node(client: ClusterClient, node: ClusterNode) -> list[Finding]:
    name = str(node.name)
    try:
        async with asyncio.timeout(_NODE_SECONDS):
            found = findings(*await _settings(client, target_nodes=node))
    except (RedisConnectionError, RedisTimeoutError, TimeoutError) as error:
        reason = str(error) or "no answer"
        text = f"{name} does not answer, so its settings were not checked and its markets stand still: {reason}"
        return [Finding(Level.WARNING, "node", text, name)]
    return [msgspec.structs.replace(each, text=f"{name}: {each.text}", node=name) for each in found]


async def _settings(client: Askable, **options: Any) -> tuple[Mapping[str, Any], Mapping[str, str] | None]:
    """INFO and CONFIG GET as `findings` takes them."""
    info = await _info(client, **options)
    try:
        # One pattern a call: Redis before 7.0, whose version is to be named, takes no more.
        config: Mapping[str, str] | None = {
            name: text
            for pattern in _CONFIG_PATTERNS
            for name, text in _texts(await client.config_get(pattern, **options)).items()
        }
    except ResponseError as error:
        if not _is_forbidden(error):
            raise
        config = None
    return info, config


async def _info(client: Askable, **options: Any) -> Mapping[str, Any]:
    """Empty where it is forbidden."""
    try:
        info: Mapping[str, Any] = await client.info(**options)
    except ResponseError as error:
        if not _is_forbidden(error):
            raise
        return {}
    return info


def findings(info: Mapping[str, Any], config: Mapping[str, str] | None) -> tuple[Finding, ...]:
    """Of the fields of INFO (empty: forbidden) and the settings of CONFIG GET (None: forbidden), errors first."""
    config_seen = config or {}
    found = [
        _version(info),
        _policy(_setting(config_seen, "maxmemory-policy") or _setting(info, "maxmemory_policy")),
        _append_only(info, _setting(config_seen, "appendonly")),
        _fsync(_setting(config_seen, "appendfsync")),
        _memory(info, _whole(_setting(config_seen, "maxmemory") or _setting(info, "maxmemory"))),
        _coverage(info, _setting(config_seen, "cluster-require-full-coverage")),
        _hidden(info, config),
    ]
    return _errors_first([each for each in found if each])


def _errors_first(found: list[Finding]) -> tuple[Finding, ...]:
    order = list(Level)
    return tuple(sorted(found, key=lambda each: order.index(each.level)))


def _version(info: Mapping[str, Any]) -> Finding | None:
    # Valkey says redis_version 7.2.4 whatever its own is.
    valkey = _setting(info, "valkey_version")
    text = valkey or _setting(info, "redis_version")
    if text is None:
        return None
    name, setting, oldest = (
        ("Valkey", "valkey_version", OLDEST_VALKEY) if valkey else ("Redis", "redis_version", OLDEST_REDIS)
    )
    if _numbers(text) >= oldest:
        return None
    return Finding(
        Level.ERROR, setting, f"{name} {text} is too old: install Redis {_dots(OLDEST_REDIS)} or newer, or Valkey "
        f"{_dots(OLDEST_VALKEY)} or newer",
    )  # fmt: skip


def _policy(policy: str | None) -> Finding | None:
    if policy is None or policy == "noeviction":
        return None
    return Finding(
        Level.ERROR, "maxmemory-policy", f"maxmemory-policy is {policy}: a full server would delete streams and "
        "leases; run CONFIG SET maxmemory-policy noeviction and write `maxmemory-policy noeviction` to its "
        "configuration (a managed server: to its parameter group)",
    )  # fmt: skip


def _append_only(info: Mapping[str, Any], config: str | None) -> Finding | None:
    on = config == "yes" if config is not None else info.get("aof_enabled")
    if on is None or on:
        return None
    return Finding(
        Level.WARNING, "appendonly", "appendonly is no: what is not in Parquet yet is lost when the server restarts; "
        "run CONFIG SET appendonly yes and write `appendonly yes` to its configuration",
    )  # fmt: skip


def _fsync(fsync: str | None) -> Finding | None:
    if fsync != "no":
        return None
    return Finding(
        Level.WARNING, "appendfsync", "appendfsync is no: a power failure may lose half a minute; run CONFIG SET "
        "appendfsync everysec and write `appendfsync everysec` to its configuration",
    )  # fmt: skip


def _memory(info: Mapping[str, Any], limit_bytes: int | None) -> Finding | None:
    machine_bytes = _whole(_setting(info, "total_system_memory"))
    if limit_bytes is None:
        return None
    if limit_bytes == 0:
        amount = f"{int(machine_bytes * MOST_OF_MEMORY) // _MIB}mb" if machine_bytes else "SIZE"
        return Finding(
            Level.WARNING, "maxmemory", "maxmemory is 0, no limit: if the streams are not read for long, the system "
            f"kills the server; run CONFIG SET maxmemory {amount} or less and write it to its configuration",
        )  # fmt: skip
    if machine_bytes and limit_bytes > machine_bytes * MOST_OF_MEMORY:
        return Finding(
            Level.WARNING, "maxmemory", f"maxmemory is {limit_bytes // _MIB} MiB of the machine's "
            f"{machine_bytes // _MIB} MiB: rewriting the append-only file takes memory too; run CONFIG SET maxmemory "
            f"{int(machine_bytes * MOST_OF_MEMORY) // _MIB}mb or less and write it to its configuration",
        )  # fmt: skip
    return None


def _coverage(info: Mapping[str, Any], required: str | None) -> Finding | None:
    if required != "yes" or not _whole(_setting(info, "cluster_enabled")):
        return None
    return Finding(
        Level.WARNING, "cluster-require-full-coverage", "cluster-require-full-coverage is yes: one master that is away "
        "stops the markets of all; run CONFIG SET cluster-require-full-coverage no on every node and write it to its "
        "configuration",
    )  # fmt: skip


def _hidden(info: Mapping[str, Any], config: Mapping[str, str] | None) -> Finding | None:
    if config is not None and info:
        return None
    if info:
        return Finding(
            Level.INFO, "appendfsync", "appendfsync was not checked, as CONFIG is forbidden here: make sure that it "
            "is everysec or always",
        )  # fmt: skip
    unseen = "the version" if config is not None else f"the version, {_CHECKED}"
    return Finding(
        Level.WARNING, "INFO", f"INFO is forbidden to this user, so not all was checked: {unseen}; permit it with "
        "ACL SETUSER <name> +info +config|get",
    )  # fmt: skip


def _is_forbidden(error: ResponseError) -> bool:
    """By access rules, or as managed servers do it: by a command renamed away."""
    return isinstance(error, NoPermissionError) or "unknown command" in str(error).lower()


def _texts(config: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in config.items()}


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _setting(settings: Mapping[str, Any], name: str) -> str | None:
    return None if settings.get(name) is None else _text(settings[name])


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _dots(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
