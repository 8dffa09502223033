"""`etl`: how Parquet is encoded, and which channels become Silver and Gold."""

from typing import Annotated, Literal

from pydantic import Field

from daedalus_common.config.sections.base import Section
from daedalus_common.config.sections.features import (
    BookParameters,
    FeatureOverrides,
    Overrides,
    TradeBarParameters,
)
from daedalus_common.events import Channel

# parquet's codecs and the levels that each takes; None: it has no level.
COMPRESSION_LEVELS: dict[str, range | None] = {
    "zstd": range(1, 23),
    "gzip": range(1, 10),
    "snappy": None,
    "lz4": None,
    "none": None,
}


class OrderbookOptions(Overrides, BookParameters):
    """Parameters of `features` under the older place and names; they win over `features`, and markets over both."""

    key_word = "option of the orderbook channel"
    renamed_keys = {"hf_emit_interval": "emit_interval", "horizons": "rolling_windows"}
    misplaced_keys = dict.fromkeys(TradeBarParameters.model_fields, "it belongs to the trades channel")


class TradesOptions(Overrides, TradeBarParameters):
    """Parameters of `features` that only the trades' tables have; they win over `features`, and markets over both."""

    key_word = "option of the trades channel"
    misplaced_keys = dict.fromkeys(BookParameters.model_fields, "it belongs to the orderbook channel") | {
        "bar_durations": "set it under features: the time bars of books and of trades have the same durations"
    }


class EtlChannelSettings(Section):
    """One channel of Bronze on its way to Silver and Gold."""

    enabled: bool = True

    retired_keys = {
        "partition_cols": "removed: the partitions are fixed, exchange/symbol/year/month/day, "
        "so that every reader and the compactor can rely on them"
    }


class OrderbookChannel(EtlChannelSettings):
    """Tables orderbook and bars."""

    processor_options: OrderbookOptions = OrderbookOptions()


class TradesChannel(EtlChannelSettings):
    """Tables trades, trade_bars, and the bars by ticks, volume, money and imbalance."""

    processor_options: TradesOptions = TradesOptions()


class TickerChannel(EtlChannelSettings):
    """Table ticker, which no parameter shapes: any option is refused."""

    processor_options: FeatureOverrides = FeatureOverrides()


class EtlChannels(Section):
    key_word = "channel"

    orderbook: OrderbookChannel = OrderbookChannel()
    trades: TradesChannel = TradesChannel()
    ticker: TickerChannel = TickerChannel()

    @property
    def enabled(self) -> tuple[Channel, ...]:
        """The channels that become features, in the order of their declaration."""
        return tuple(channel for channel in Channel if getattr(self, channel).enabled)


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
