"""The featurizer's settings, taken from the one configuration."""

from dataclasses import dataclass
from datetime import timedelta

from daedalus_common.config import Config
from daedalus_common.markets import Market
from daedalus_features import FeatureConfig


@dataclass(frozen=True, slots=True)
class Settings:
    """Which markets to share out with the other replicas, with which parameters, and how large a step may be."""

    params: dict[Market, FeatureConfig]
    poll: timedelta
    commit_after: timedelta
    max_entries: int
    max_rows: int
    lease_ttl: timedelta
    lease_renew: timedelta


def settings_from(config: Config) -> Settings:
    """Without an enabled channel there are no markets: the featurizer idles."""
    markets = config.markets() if config.etl.channels.enabled else ()
    return Settings(
        params={m.market: params_for(config, m.market) for m in markets},
        poll=config.featurizer.poll,
        commit_after=config.featurizer.commit,
        max_entries=config.featurizer.max_entries,
        max_rows=config.featurizer.max_rows,
        lease_ttl=config.leases.ttl,
        lease_renew=config.leases.renew,
    )


def params_for(config: Config, market: Market) -> FeatureConfig:
    """The market's own parameters, in the features' units."""
    return FeatureConfig(**config.feature_parameters(market))
