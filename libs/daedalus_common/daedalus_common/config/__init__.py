"""One YAML file, validated into a frozen `Config`; wrong ones are told with all their problems at once.

    config = load_config(Path("daedalus.yaml"), os.environ)
    config.ingestion.segment_max_size_bytes, config.leases.ttl, config.markets()

Fields are named as the keys of the file and hold what it says. Durations are also there as `timedelta` (the name
without `_seconds`), sizes in bytes (`…_size_bytes`).
"""

from daedalus_common.config.errors import ConfigError, Problem
from daedalus_common.config.loader import load_config, parse_config
from daedalus_common.config.model import Config
from daedalus_common.config.rendering import config_to_yaml
from daedalus_common.config.sections.ccxt import ExchangeSettings, MarketSettings
from daedalus_common.config.sections.features import FeatureSettings
from daedalus_common.config.sections.ingestion import ReconnectPolicy
from daedalus_common.config.sections.redis import RedisSettings
from daedalus_common.config.sections.storage import S3Settings, StoreSettings

__all__ = [
    "Config",
    "ConfigError",
    "ExchangeSettings",
    "FeatureSettings",
    "MarketSettings",
    "Problem",
    "ReconnectPolicy",
    "RedisSettings",
    "S3Settings",
    "StoreSettings",
    "config_to_yaml",
    "load_config",
    "parse_config",
]
