"""`etl`: how Parquet is encoded, and which channels become Silver."""

from typing import Annotated, Literal

from pydantic import Field

from daedalus_common.config.sections.base import Section
from daedalus_common.config.sections.features import FeatureOverrides

# parquet's codecs and the levels that each takes; None: it has no level.
COMPRESSION_LEVELS: dict[str, range | None] = {
    "zstd": range(1, 23),
    "gzip": range(1, 10),
    "snappy": None,
    "lz4": None,
    "none": None,
}


class ProcessorOptions(FeatureOverrides):
    """The parameters of `features` under the older place and names; they win over `features`, and markets over both."""

    renamed_keys = {"hf_emit_interval": "emit_interval", "horizons": "rolling_windows"}


class EtlChannelSettings(Section):
    """One channel of Bronze on its way to Silver."""

    enabled: bool = True
    processor_options: ProcessorOptions = ProcessorOptions()

    retired_keys = {
        "partition_cols": "removed: the partitions are fixed, exchange/symbol/year/month/day, "
        "so that every reader and the compactor can rely on them"
    }


class EtlChannels(Section):
    key_word = "channel"

    orderbook: EtlChannelSettings = EtlChannelSettings()
    trades: EtlChannelSettings = EtlChannelSettings()
    ticker: EtlChannelSettings = EtlChannelSettings()


class EtlSettings(Section):
    """`delete_after_processing` concerns `daedalus etl`, which reads Bronze in batch."""

    compression: Literal["zstd", "gzip", "snappy", "lz4", "none"] = "zstd"
    compression_level: Annotated[int, Field(ge=1, le=22)] = 3
    delete_after_processing: bool = False
    channels: EtlChannels = EtlChannels()

    @property
    def effective_compression_level(self) -> int | None:
        """The level for codecs that take one, else None."""
        return None if COMPRESSION_LEVELS[self.compression] is None else self.compression_level
