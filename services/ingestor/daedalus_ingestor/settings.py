"""The ingestor's settings, taken from the one configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from daedalus_common.broker import keys
from daedalus_common.config import Config
from daedalus_common.config.exchanges import ccxt_id
from daedalus_common.events import Channel
from daedalus_common.markets import Market
from daedalus_ingestor.backoff import Backoff
from daedalus_ingestor.ccxt_exchange import ExchangeAccess

DRAIN: Final = timedelta(seconds=30)
"""How long a stop waits for Redis to take what was captured; the supervisor allows 120 s in all."""
GIVE: Final = timedelta(seconds=5)
"""How long handing one market to another replica waits for the same."""


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """One exchange: what to watch there, how deep, and how patiently."""

    access: ExchangeAccess
    channels: Mapping[Market, tuple[Channel, ...]]
    depth: int
    stale_after: timedelta
    heartbeat: timedelta
    backoff: Backoff


@dataclass(frozen=True, slots=True)
class Settings:
    """`feeds` by the exchange's configured name."""

    markets: tuple[Market, ...]
    feeds: dict[str, FeedSettings]
    batch_size: int
    queue_maxsize: int
    spool_dir: Path
    spool_max_bytes: int
    """0: no spool."""
    linger: timedelta
    lease_ttl: timedelta
    lease_renew: timedelta
    groups: keys.Groups


def settings_from(config: Config) -> Settings:
    return Settings(
        markets=tuple(settings.market for settings in config.markets()),
        feeds={name: _feed(config, name) for name in config.ccxt.exchanges},
        batch_size=config.ingestion.batch_size,
        queue_maxsize=config.ingestion.queue_maxsize,
        spool_dir=config.ingestion.spool_dir or config.storage.paths.state_dir / "spool",
        spool_max_bytes=config.ingestion.spool_max_size_bytes,
        linger=config.ingestion.linger,
        lease_ttl=config.leases.ttl,
        lease_renew=config.leases.renew,
        groups=keys.groups(features=bool(config.etl.channels.enabled)),
    )


def _feed(config: Config, name: str) -> FeedSettings:
    exchange, ingestion = config.ccxt.exchanges[name], config.ingestion
    markets = exchange.markets(name)
    policy = ingestion.reconnect
    return FeedSettings(
        access=ExchangeAccess(
            name=name,
            id=ccxt_id(name),
            symbols=tuple(settings.symbol for settings in markets),
            api_url=exchange.api_url,
            stale_after=ingestion.stale_after,
            api_key=exchange.api_key.get_secret_value(),
            api_secret=exchange.api_secret.get_secret_value(),
            options=exchange.options,
        ),
        channels={settings.market: settings.channels for settings in markets},
        depth=exchange.max_orderbook_depth,
        stale_after=ingestion.stale_after,
        heartbeat=ingestion.heartbeat,
        backoff=Backoff(policy.first_delay, policy.max_delay, policy.max_attempts, policy.enabled),
    )
