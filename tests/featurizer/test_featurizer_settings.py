"""The configuration's parameters are the features' own: all of them, with the same defaults and within their limits."""

from dataclasses import fields
from typing import Any

import pytest

from daedalus_common.config import Config, parse_config
from daedalus_common.config.schema import Slot, root_slot
from daedalus_common.config.sections.features import FeatureSettings
from daedalus_common.markets import Market
from daedalus_features import FeatureConfig
from daedalus_featurizer.settings import params_for, settings_from

BTC = Market("binanceus", "BTC/USDT")
MARKETS = {"ccxt": {"exchanges": {"binanceus": {"channels": {"watchTrades": ["BTC/USDT"]}}}}}
NUMBERS = [name for name, field in FeatureSettings.model_fields.items() if field.annotation in (int, float)]


def test_every_parameter_of_the_features_comes_from_the_configuration() -> None:
    assert set(Config().feature_parameters(BTC)) == {field.name for field in fields(FeatureConfig)}


def test_the_defaults_are_the_features_own() -> None:
    assert params_for(Config(), BTC) == FeatureConfig()


@pytest.mark.parametrize("bound", ["ge", "le"])
@pytest.mark.parametrize("name", NUMBERS)
def test_the_features_accept_whatever_the_configuration_lets_through(name: str, bound: str) -> None:
    slot = root_slot(Config).at(("features", name))
    assert isinstance(slot, Slot)
    value = next(getattr(each, bound) for each in slot.constraints if hasattr(each, bound))
    # What the configuration asks of several values together is met here.
    window = 1000 if (name, bound) == ("emit_interval", "ge") else 3600
    settings: dict[str, Any] = {"rolling_windows": [window], "bar_durations": [3600], "kyle_window": window}
    settings |= {"regime_window": window, "depth_levels": 1, name: value}
    settings |= {"book_levels": 1000} if name == "depth_levels" else {}
    settings |= {"imbalance_bar_min_ticks": 1} if name == "imbalance_bar_max_ticks" else {}
    settings |= {"imbalance_bar_max_ticks": 1_000_000} if name == "imbalance_bar_min_ticks" else {}
    settings |= {"emit_interval": 1.0} if name in ("kyle_window", "regime_window") else {}
    params = params_for(parse_config(MARKETS | {"features": settings}), BTC)
    if name != "emit_interval":
        assert getattr(params, name) == value


def test_the_enabled_channels_are_parameters_of_every_market() -> None:
    config = parse_config(MARKETS | {"etl": {"channels": {"orderbook": {"enabled": False}}}})
    assert settings_from(config).params[BTC].channels == ("trades", "ticker")


def test_without_an_enabled_channel_there_is_nothing_to_do() -> None:
    off = {"enabled": False}
    config = parse_config(MARKETS | {"etl": {"channels": {"orderbook": off, "trades": off, "ticker": off}}})
    assert settings_from(config).params == {}
