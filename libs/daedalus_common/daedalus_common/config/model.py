"""The whole configuration as one frozen value."""

from typing import Any, Literal

from daedalus_common.config.sections.base import Section
from daedalus_common.config.sections.ccxt import CcxtSettings, MarketSettings
from daedalus_common.config.sections.etl import EtlSettings
from daedalus_common.config.sections.features import FeatureSettings, FeaturesSection
from daedalus_common.config.sections.ingestion import IngestionSettings
from daedalus_common.config.sections.redis import RedisSettings
from daedalus_common.config.sections.services import (
    CompactorSettings,
    FeaturizerSettings,
    LeaseSettings,
    SupervisorSettings,
    TelemetrySettings,
    WriterSettings,
)
from daedalus_common.config.sections.storage import StorageSettings
from daedalus_common.markets import Market

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Config(Section):
    """What `load_config` and `parse_config` give; `features` already holds etl's processor options."""

    log_level: LogLevel = "INFO"
    log_format: Literal["console", "json"] = "console"
    redis: RedisSettings = RedisSettings()
    ccxt: CcxtSettings = CcxtSettings()
    ingestion: IngestionSettings = IngestionSettings()
    storage: StorageSettings = StorageSettings()
    etl: EtlSettings = EtlSettings()
    features: FeaturesSection = FeaturesSection()
    leases: LeaseSettings = LeaseSettings()
    writer: WriterSettings = WriterSettings()
    featurizer: FeaturizerSettings = FeaturizerSettings()
    compactor: CompactorSettings = CompactorSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    supervisor: SupervisorSettings = SupervisorSettings()

    def markets(self) -> tuple[MarketSettings, ...]:
        """Every configured market, by exchange in the order of the file."""
        return tuple(market for name, exchange in self.ccxt.exchanges.items() for market in exchange.markets(name))

    def feature_parameters(self, market: Market) -> dict[str, Any]:
        """The parameters of one market, as the keyword arguments of `daedalus_features.FeatureConfig`."""
        settings = self.features.for_market(market.exchange, market.symbol)
        parameters: dict[str, Any] = {name: getattr(settings, name) for name in FeatureSettings.model_fields}
        del parameters["emit_interval"]
        channels = tuple(channel.value for channel in self.etl.channels.enabled)
        return parameters | {"emit_interval_ns": settings.emit_interval_ns, "channels": channels}
