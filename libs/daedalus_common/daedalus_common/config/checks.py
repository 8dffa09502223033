"""What the parts of a configuration must agree on, beyond what each value must be by itself."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from daedalus_common.config.documents import KeyPath
from daedalus_common.config.exchanges import NAMES
from daedalus_common.config.schema import nearest
from daedalus_common.config.sections.etl import COMPRESSION_LEVELS
from daedalus_common.config.sections.features import FeatureOverrides, FeatureSettings, nanoseconds
from daedalus_common.config.sections.storage import S3Settings
from daedalus_common.markets import path_symbol

if TYPE_CHECKING:
    from daedalus_common.config.model import Config

_OPTIONS: tuple[KeyPath, ...] = (
    ("etl", "channels", "orderbook", "processor_options"),
    ("etl", "channels", "trades", "processor_options"),
)

_MOST_WINDOW_ROWS = 1_000_000
"""Rows of a market that a replica keeps in memory and Redis for its windows: 100 MB."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A disagreement of the values at `paths`; it is told at the first of them that the user has written.

    It holds only if nothing at `assumes` had to be left out as unusable (None: at `paths`; "*" stands for any key).
    """

    paths: tuple[KeyPath, ...]
    message: str
    found: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    hint: str | None = None
    assumes: tuple[KeyPath, ...] | None = None


def check(config: "Config") -> Iterator[Finding]:
    """Every disagreement."""
    yield from _check_redis(config)
    yield from _check_exchanges(config)
    yield from _check_ingestion(config)
    yield from _check_storage(config)
    yield from _check_etl(config)
    yield from _check_features(config)
    yield from _check_services(config)


def _check_redis(config: "Config") -> Iterator[Finding]:
    url = urlsplit(config.redis.url)
    for key, in_url, beside in (
        ("password", url.password, config.redis.password.get_secret_value()),
        ("username", url.username, config.redis.username),
    ):
        if in_url and beside:
            yield Finding(
                (("redis", key), ("redis", "url")), "given twice", f"a {key} here and in redis.url", "one of the two"
            )
    if config.redis.cluster and (url.scheme == "unix" or url.path.strip("/") not in ("", "0")):
        yield Finding(
            (("redis", "url"), ("redis", "cluster")),
            "no node of a cluster",
            "a socket" if url.scheme == "unix" else f"database {url.path.strip('/')}",
            "redis://HOST:PORT or rediss://HOST:PORT, for a cluster has only database 0",
            hint="or redis.cluster: false",
        )


def _check_exchanges(config: "Config") -> Iterator[Finding]:
    for name, exchange in config.ccxt.exchanges.items():
        if name not in NAMES:
            place: KeyPath = ("ccxt", "exchanges", name)
            yield Finding(
                (place,),
                "unknown exchange",
                repr(name),
                "an exchange id of ccxt.pro, such as binance, binanceus, coinbase, kraken or okx",
                nearest(name, NAMES),
                assumes=(),
            )
        path: KeyPath = ("ccxt", "exchanges", name, "channels")
        by_channel = exchange.channels.by_channel()
        if not by_channel:
            yield Finding(
                (path,), "no symbols", allowed="at least one of watchOrderBook, watchTrades, watchTicker with symbols"
            )
        symbols_of_slug: defaultdict[str, set[str]] = defaultdict(set)
        for market in exchange.markets(name):
            symbols_of_slug[path_symbol(market.symbol)].add(market.symbol)
        for slug, symbols in symbols_of_slug.items():
            if len(symbols) > 1:
                listed = ", ".join(sorted(symbols))
                yield Finding((path,), f"these symbols share the path {slug}", listed, "one of them", assumes=())


def _check_ingestion(config: "Config") -> Iterator[Finding]:
    settings = config.ingestion
    yield from _at_most("ingestion", "reconnect_delay", "max_reconnect_delay", settings)
    yield from _at_most("ingestion", "batch_size", "queue_maxsize", settings)


def _check_storage(config: "Config") -> Iterator[Finding]:
    for role in ("ingestion_storage", "etl_storage_input", "etl_storage_output"):
        store = getattr(config.storage, role)
        path: KeyPath = ("storage", role, "s3")
        if store.backend == "s3" and store.s3 is None:
            yield Finding(
                (path, ("storage", role, "backend")), "backend s3 needs a section s3", allowed="s3: {bucket: NAME}"
            )
        if store.s3 is not None:
            yield from _check_keys(store.s3, path)


def _check_keys(s3: S3Settings, path: KeyPath) -> Iterator[Finding]:
    keys = {name: getattr(s3, name).get_secret_value() for name in ("access_key", "secret_key")}
    if any(keys.values()) and not all(keys.values()):
        given, lacking = sorted(keys, key=lambda name: not keys[name])
        paths = tuple((*path, f"{name}{suffix}") for name in (given, lacking) for suffix in ("", "_file"))
        yield Finding(paths, f"{given} without {lacking}", allowed="both, or neither for boto3's own search")


def _check_etl(config: "Config") -> Iterator[Finding]:
    etl = config.etl
    levels = COMPRESSION_LEVELS[etl.compression]
    if levels is not None and etl.compression_level not in levels:
        yield Finding(
            (("etl", "compression_level"), ("etl", "compression")),
            f"out of range for {etl.compression}",
            str(etl.compression_level),
            f"a whole number from {levels.start} to {levels.stop - 1}",
        )
    if etl.channels.ticker.processor_options.model_fields_set:
        yield Finding(
            (("etl", "channels", "ticker", "processor_options"),),
            "the ticker channel has no options",
            hint="set the parameters under features, for all channels of a market",
        )


def _check_features(config: "Config") -> Iterator[Finding]:
    common = config.features.for_market("", "")
    layers: list[KeyPath] = [*_OPTIONS, ("features",)]
    told = set()
    for finding in _check_parameters(common, layers):
        told.add((finding.message, finding.found))
        yield finding
    configured = {f"{market.exchange}:{market.symbol}" for market in config.markets()}
    for key, overrides in config.features.markets.items():
        path: KeyPath = ("features", "markets", key)
        if key not in configured:
            yield Finding(
                (path,),
                "no market of ccxt.exchanges",
                repr(key),
                _some(sorted(configured)) or "none, for ccxt.exchanges lists no markets",
                nearest=nearest(key, configured),
                assumes=(path, ("ccxt", "exchanges", "*", "channels")),
            )
        yield from _check_overrides(common, overrides, [path, *layers], told)


def _check_overrides(
    common: FeatureSettings, overrides: FeatureOverrides, layers: list[KeyPath], told: set[tuple[str, str | None]]
) -> Iterator[Finding]:
    for finding in _check_parameters(overrides.over(common), layers):
        if (finding.message, finding.found) not in told:
            yield finding


def _check_parameters(settings: FeatureSettings, layers: list[KeyPath]) -> Iterator[Finding]:
    """`layers`: where each parameter may have been written, the winner first."""
    if settings.depth_levels > settings.book_levels:
        paths = _places(layers, "depth_levels", "book_levels")
        found = f"depth_levels {settings.depth_levels}, book_levels {settings.book_levels}"
        yield Finding(paths, "more depth_levels than book_levels", found, "depth_levels up to book_levels")
    interval = nanoseconds(settings.emit_interval)
    windows = {
        "rolling_windows": settings.rolling_windows,
        "bar_durations": settings.bar_durations,
        "kyle_window": (settings.kyle_window,),
        "regime_window": (settings.regime_window,),
    }
    for key, seconds in windows.items():
        if uneven := [window for window in seconds if nanoseconds(window) % interval]:
            paths = _places(layers, key, "emit_interval")
            found = ", ".join(f"{window} s" for window in uneven)
            allowed = f"multiples of emit_interval, {settings.emit_interval:g} s"
            yield Finding(paths, f"{key}: no multiple of emit_interval", found, allowed)
    longest = max((*settings.rolling_windows, settings.kyle_window, settings.regime_window))
    if (rows := -(-nanoseconds(longest) // interval)) > _MOST_WINDOW_ROWS:
        yield Finding(
            _places(layers, "emit_interval", "rolling_windows", "kyle_window", "regime_window"),
            "more rows in the longest window than are kept",
            f"{rows:,} rows in {longest} s",
            f"{_MOST_WINDOW_ROWS:,} rows; take a longer emit_interval or shorter windows",
        )
    least, most = settings.imbalance_bar_min_ticks, settings.imbalance_bar_max_ticks
    if least > most:
        paths = _places(layers, "imbalance_bar_min_ticks", "imbalance_bar_max_ticks")
        message = "imbalance_bar_min_ticks is above imbalance_bar_max_ticks"
        yield Finding(paths, message, f"{least} and {most}", "imbalance_bar_min_ticks up to imbalance_bar_max_ticks")


def _places(layers: list[KeyPath], *keys: str) -> tuple[KeyPath, ...]:
    return tuple((*layer, key) for key in keys for layer in layers)


def _check_services(config: "Config") -> Iterator[Finding]:
    leases = config.leases
    if leases.renew_seconds > leases.ttl_seconds / 2:
        yield Finding(
            (("leases", "renew_seconds"), ("leases", "ttl_seconds")),
            "a lease must survive one lost renewal",
            f"renew_seconds {leases.renew_seconds:g}, ttl_seconds {leases.ttl_seconds:g}",
            "renew_seconds up to half of ttl_seconds",
        )
    yield from _check_ports(config)
    supervisor = config.supervisor
    yield from _at_most("supervisor", "memory_warning_mb", "memory_critical_mb", supervisor)
    yield from _at_most("supervisor", "restart_delay_seconds", "max_restart_delay_seconds", supervisor)


def _check_ports(config: "Config") -> Iterator[Finding]:
    services_of_port: defaultdict[int, list[str]] = defaultdict(list)
    ports = config.telemetry.ports
    for service in type(ports).model_fields:
        services_of_port[getattr(ports, service)].append(service)
    for port, services in services_of_port.items():
        if port and len(services) > 1:
            paths = tuple(("telemetry", "ports", service) for service in reversed(services))
            yield Finding(paths, "one port for several services", f"{port} for {', '.join(services)}", "a port each")


def _at_most(section: str, low: str, high: str, settings: object) -> Iterator[Finding]:
    lower, upper = getattr(settings, low), getattr(settings, high)
    if lower > upper:
        yield Finding(
            ((section, low), (section, high)),
            f"{low} is above {high}",
            f"{lower:g} and {upper:g}",
            f"{low} up to {high}",
        )


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
