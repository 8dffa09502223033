"""The writer's settings, taken from the one configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from daedalus_common.broker.keys import GOLD, RAW, SILVER
from daedalus_common.config import Config
from daedalus_common.markets import Market
from daedalus_common.parquet.arrow_tables import Compression
from daedalus_common.stores import StoreSettings, store_settings
from daedalus_writer.flush import Limits

MAX_RUN_ROWS = 200_000
"""Entries of a run: those of trades weigh little but take long, and a plan should be carried out within seconds."""

IDLE_READS_PER_FLUSH = 5
MAX_IDLE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to read a busy and an idle stream, and how often to renew leases."""

    poll: timedelta
    idle: timedelta
    lease_renew: timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """Which markets to share out with the other replicas, where their objects go, and when."""

    markets: tuple[Market, ...]
    bronze_store: StoreSettings
    feature_store: StoreSettings
    compression: Compression
    limits: Limits
    pace: Pace
    upload_threads: int
    keep: Mapping[str, timedelta]
    """How long entries stay in their stream, however soon they are stored: of silver and gold for live readers, of raw
    for the ingestor that takes the market over."""
    lease_ttl: timedelta
    max_dead_letters: int
    """Kept of a market, about."""


def settings_from(config: Config) -> Settings:
    ingestion, storage, fsync = config.ingestion, config.storage, config.ingestion.enable_fsync
    idle = min(MAX_IDLE, ingestion.flush_interval / IDLE_READS_PER_FLUSH)
    return Settings(
        markets=tuple(settings.market for settings in config.markets()),
        bronze_store=store_settings("storage.ingestion_storage", storage.ingestion_storage, fsync=fsync),
        feature_store=store_settings("storage.etl_storage_output", storage.etl_storage_output, fsync=fsync),
        compression=Compression(config.etl.compression, config.etl.effective_compression_level),
        limits=Limits(
            interval=ingestion.flush_interval,
            size_bytes=ingestion.segment_max_size_bytes,
            rows=MAX_RUN_ROWS,
            memory_bytes=config.writer.memory_size_bytes,
        ),
        pace=Pace(config.writer.poll, max(config.writer.poll, idle), config.leases.renew),
        upload_threads=config.writer.upload_threads,
        keep={RAW: config.writer.keep_raw, SILVER: config.featurizer.keep_rows, GOLD: config.featurizer.keep_rows},
        lease_ttl=config.leases.ttl,
        max_dead_letters=config.writer.max_dead_letters,
    )
