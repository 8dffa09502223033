"""`features`: what is computed, and with which parameters; each can differ per market."""

from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from daedalus_common.config.sections.base import Ascending, FrozenMap, Section, Unique, empty_map, reject

Category = Literal["structural", "dynamic", "rolling"]
CATEGORIES: tuple[Category, ...] = ("structural", "dynamic", "rolling")

_NANOSECONDS = 1_000_000_000
_WEEK_SECONDS = 7 * 24 * 3600
_Settings = TypeVar("_Settings", bound="FeatureSettings")


def nanoseconds(seconds: float) -> Decimal:
    """Exactly what was written: 0.1 is 100,000,000 ns, not the double next to it."""
    return Decimal(repr(seconds)) * _NANOSECONDS


def _whole_nanoseconds(value: float) -> float:
    if nanoseconds(value) % 1:
        reject("no whole number of nanoseconds")
    return value


def _in_order(categories: tuple[Category, ...]) -> tuple[Category, ...]:
    return tuple(category for category in CATEGORIES if category in categories)


Windows = Annotated[Ascending[Annotated[int, Field(ge=1, le=_WEEK_SECONDS)]], Field(min_length=1)]
WindowSeconds = Annotated[int, Field(ge=1, le=_WEEK_SECONDS)]
Decay = Annotated[float, Field(ge=0, le=100)]
Threshold = Annotated[float, Field(ge=1e-15, le=1e15)]
Trades = Annotated[int, Field(ge=1, le=1_000_000)]
"""A number of trades."""


class BookParameters(Section):
    """The parameters of the order-book rows and of all time bars."""

    categories: Annotated[Unique[Category], Field(min_length=1), AfterValidator(_in_order)] = CATEGORIES
    book_levels: Annotated[int, Field(ge=1, le=1000)] = 50
    depth_levels: Annotated[int, Field(ge=1, le=1000)] = 20
    rolling_windows: Windows = (5, 15, 60, 300, 900)
    bar_durations: Windows = (60, 300, 900, 3600)
    emit_interval: Annotated[float, Field(ge=0.001, le=3600), AfterValidator(_whole_nanoseconds)] = 1.0
    ofi_decay_alpha: Decay = 0.5
    smart_depth_decay: Decay = 0.5
    kyle_window: WindowSeconds = 300
    vpin_bucket_size: Threshold = 1.0
    vpin_buckets: Annotated[int, Field(ge=1, le=10_000)] = 50
    regime_window: WindowSeconds = 900

    @property
    def emit_interval_ns(self) -> int:
        return int(nanoseconds(self.emit_interval))


class TradeBarParameters(Section):
    """The parameters of the bars that close by what was traded, not by the clock."""

    tick_bar_size: Trades = 100
    volume_bar_size: Threshold = 10.0
    dollar_bar_size: Threshold = 1e5
    imbalance_bar_ticks: Trades = 100
    imbalance_bar_span: Trades = 1000
    imbalance_bar_min_ticks: Trades = 10
    imbalance_bar_max_ticks: Trades = 1000


class FeatureSettings(TradeBarParameters, BookParameters):
    """The parameters of one market; what they shape is defined in docs/features.md."""


class Overrides(Section):
    """Some of the parameters; only what was written (`model_fields_set`) counts."""

    @model_serializer(mode="wrap")
    def _only_what_was_written(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}

    def over(self, settings: _Settings) -> _Settings:
        """`settings` with these parameters in place of its own."""
        return settings.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class FeatureOverrides(Overrides, FeatureSettings):
    """What differs for one market."""


class FeaturesSection(FeatureSettings):
    """The parameters of all markets, and per market what differs."""

    markets: FrozenMap[str, FeatureOverrides] = Field(default_factory=empty_map)

    def for_market(self, exchange: str, symbol: str) -> FeatureSettings:
        """The parameters of one market, whether it is listed under `markets` or not."""
        common = FeatureSettings.model_construct(**{name: getattr(self, name) for name in FeatureSettings.model_fields})
        overrides = self.markets.get(f"{exchange}:{symbol}")
        return common if overrides is None else overrides.over(common)
