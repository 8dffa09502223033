"""The compactor's settings, taken from the one configuration."""

from dataclasses import dataclass, replace

from daedalus_common.config import Config
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.stores import StoreSettings, store_settings
from daedalus_compactor.policy import Rules


@dataclass(frozen=True, slots=True)
class StoreLayers:
    """A store, and the layers that lie in it."""

    store: StoreSettings
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to merge, when, and how."""

    enabled: bool
    every_seconds: float
    stores: tuple[StoreLayers, ...]
    rules: Rules
    compression: Compression


def settings_from(config: Config) -> Settings:
    storage, section, fsync = config.storage, config.compactor, config.ingestion.enable_fsync
    events = store_settings("storage.ingestion_storage", storage.ingestion_storage, fsync=fsync)
    rows = store_settings("storage.etl_storage_output", storage.etl_storage_output, fsync=fsync)
    if replace(rows, role=events.role) == events:
        stores: tuple[StoreLayers, ...] = (StoreLayers(events, ("bronze", "quality", "silver", "gold")),)
    else:
        stores = StoreLayers(events, ("bronze", "quality")), StoreLayers(rows, ("silver", "gold"))
    return Settings(
        enabled=section.enabled,
        every_seconds=section.every_seconds,
        stores=stores,
        rules=Rules(section.closed_after, section.grace, section.min_objects, section.target_size_bytes),
        compression=Compression(config.etl.compression, config.etl.effective_compression_level),
    )
