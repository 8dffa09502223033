"""A usable file becomes frozen values with units."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from daedalus_common.config import Config, ConfigError, ReconnectPolicy, config_to_yaml, load_config, parse_config
from daedalus_common.events import Channel
from daedalus_common.markets import Market

MARKETS = {
    "ccxt": {
        "exchanges": {
            "binanceus": {
                "channels": {
                    "watchTicker": ["BTC/USDT"],
                    "watchOrderBook": ["ETH/USDT", "BTC/USDT"],
                    "watchTrades": None,
                }
            },
            "coinbaseadvanced": {"channels": {"watchTrades": ["BTC/USD"]}},
        }
    }
}


def test_without_a_file_the_defaults_hold() -> None:
    assert load_config(None, {}) == Config()


def test_the_seeds_example_loads_once_its_removed_keys_are_gone() -> None:
    config = parse_config(
        {
            "storage": {
                "ingestion_storage": {"backend": "local", "base_dir": "F:/"},
                "etl_storage_input": {"backend": "local", "base_dir": "F:/"},
                "etl_storage_output": {
                    "backend": "s3",
                    "base_dir": "my-datalake",
                    "s3": {"bucket": "my-datalake", "region": "us-east-1"},
                },
            },
            "ccxt": {
                "exchanges": {
                    "coinbaseadvanced": {
                        "max_orderbook_depth": 50,
                        "api_key": "",
                        "api_secret": "",
                        "channels": {"watchOrderBook": ["BTC/USD", "ETH/USD"]},
                    }
                }
            },
            "ingestion": {
                "batch_size": 100,
                "flush_interval_seconds": 5.0,
                "queue_maxsize": 10000,
                "enable_fsync": True,
                "segment_max_mb": 100,
            },
            "etl": {
                "compression": "zstd",
                "delete_after_processing": True,
                "channels": {
                    "ticker": {"enabled": True},
                    "orderbook": {
                        "processor_options": {
                            "hf_emit_interval": 1.0,
                            "bar_durations": [1, 5, 30, 60],
                            "horizons": [1, 5, 30, 60],
                        }
                    },
                },
            },
            "log_level": "INFO",
        }
    )
    settings = config.features.for_market("coinbaseadvanced", "BTC/USD")
    assert settings.rolling_windows == settings.bar_durations == (1, 5, 30, 60)


def test_markets_gather_their_channels_over_the_lists() -> None:
    markets = parse_config(MARKETS).markets()
    assert [(market.market, market.channels) for market in markets] == [
        (Market("binanceus", "ETH/USDT"), (Channel.ORDERBOOK,)),
        (Market("binanceus", "BTC/USDT"), (Channel.ORDERBOOK, Channel.TICKER)),
        (Market("coinbaseadvanced", "BTC/USD"), (Channel.TRADES,)),
    ]


def test_durations_and_sizes_have_units() -> None:
    config = parse_config({"ingestion": {"linger_seconds": 0.05, "segment_max_mb": 0.5, "max_reconnect_attempts": 3}})
    assert config.ingestion.linger == timedelta(milliseconds=50)
    assert config.ingestion.segment_max_size_bytes == 512 * 1024
    assert config.ingestion.reconnect == ReconnectPolicy(True, timedelta(seconds=5), timedelta(seconds=60), 3)
    assert Config().ingestion.reconnect.max_attempts is None
    assert Config().writer.memory_size_bytes == 256 * 1024 * 1024
    assert Config().leases.ttl == timedelta(seconds=10)


def test_the_grid_is_exact_in_nanoseconds() -> None:
    for written, nanoseconds in ((0.1, 100_000_000), (0.3, 300_000_000), (1e-3, 1_000_000), (2.5, 2_500_000_000)):
        features = {"emit_interval": written, "rolling_windows": [60], "bar_durations": [60]}
        config = parse_config({"features": features | {"kyle_window": 300, "regime_window": 900}})
        assert config.features.emit_interval_ns == nanoseconds


def test_features_are_resolved_from_the_widest_to_the_narrowest_place() -> None:
    config = parse_config(
        MARKETS
        | {
            "features": {
                "depth_levels": 10,
                "vpin_buckets": 20,
                "kyle_window": 60,
                "markets": {"binanceus:BTC/USDT": {"kyle_window": 120}},
            },
            "etl": {"channels": {"orderbook": {"processor_options": {"vpin_buckets": 30, "kyle_window": 90}}}},
        }
    )
    special = config.features.for_market("binanceus", "BTC/USDT")
    common = config.features.for_market("binanceus", "ETH/USDT")
    assert (special.book_levels, special.depth_levels, special.vpin_buckets, special.kyle_window) == (50, 10, 30, 120)
    assert (common.book_levels, common.depth_levels, common.vpin_buckets, common.kyle_window) == (50, 10, 30, 90)


def test_the_trades_options_are_resolved_like_the_order_books() -> None:
    config = parse_config(
        MARKETS
        | {
            "features": {
                "tick_bar_size": 1,
                "volume_bar_size": 2.0,
                "dollar_bar_size": 3.0,
                "markets": {"binanceus:BTC/USDT": {"dollar_bar_size": 33.0, "imbalance_bar_span": 7}},
            },
            "etl": {
                "channels": {
                    "orderbook": {"processor_options": {"bar_durations": [60]}},
                    "trades": {"processor_options": {"volume_bar_size": 22.0, "dollar_bar_size": 4.0}},
                }
            },
        }
    )
    special = config.feature_parameters(Market("binanceus", "BTC/USDT"))
    common = config.feature_parameters(Market("binanceus", "ETH/USDT"))
    names = ("tick_bar_size", "volume_bar_size", "dollar_bar_size", "imbalance_bar_span", "bar_durations")
    assert [special[name] for name in names] == [1, 22.0, 33.0, 7, (60,)]
    assert [common[name] for name in names] == [1, 22.0, 4.0, 1000, (60,)]


def test_the_enabled_channels_are_a_parameter_of_every_market() -> None:
    market = Market("binanceus", "BTC/USDT")
    off = {"enabled": False}
    for channels, enabled in (
        ({}, ("orderbook", "trades", "ticker")),
        ({"orderbook": off}, ("trades", "ticker")),
        ({"trades": off}, ("orderbook", "ticker")),
        ({"orderbook": off, "ticker": off}, ("trades",)),
        ({"orderbook": off, "trades": off, "ticker": off}, ()),
    ):
        config = parse_config(MARKETS | {"etl": {"channels": channels}})
        assert config.feature_parameters(market)["channels"] == enabled
        assert tuple(channel.value for channel in config.etl.channels.enabled) == enabled


def test_the_grid_is_a_parameter_in_nanoseconds() -> None:
    config = parse_config(MARKETS | {"etl": {"channels": {"orderbook": {"processor_options": {"emit_interval": 0.1}}}}})
    parameters = config.feature_parameters(Market("binanceus", "BTC/USDT"))
    assert parameters["emit_interval_ns"] == 100_000_000
    assert "emit_interval" not in parameters


def test_the_order_in_which_windows_are_written_does_not_matter() -> None:
    one, other = ({"features": {"rolling_windows": windows}} for windows in ([60, 5], [5, 60]))
    assert parse_config(one).features.for_market("a", "b") == parse_config(other).features.for_market("a", "b")


def test_nothing_in_a_configuration_can_be_changed() -> None:
    config = parse_config(MARKETS)
    with pytest.raises(ValidationError):
        config.redis.url = "redis://elsewhere"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.ccxt.exchanges["kraken"] = config.ccxt.exchanges["binanceus"]  # type: ignore[index]
    with pytest.raises(ValidationError):
        config.features.for_market("binanceus", "BTC/USDT").kyle_window = 5  # type: ignore[misc]


def test_sections_whose_keys_are_all_commented_out_are_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("redis:\n  # url: redis://cache\nfeatures:\n  markets:\nstorage:\n  paths:\n")
    assert load_config(file, {}) == Config()


def test_yaml_anchors_merges_and_exponents_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "ccxt:\n  exchanges:\n    kraken: &usual\n      max_orderbook_depth: 10\n"
        "      channels: {watchTrades: [A/B]}\n    okx:\n      <<: *usual\n      max_orderbook_depth: 20\n"
        "features: {vpin_bucket_size: 1e-3}\n"
    )
    config = load_config(file, {})
    assert config.ccxt.exchanges["okx"].channels == config.ccxt.exchanges["kraken"].channels
    assert config.ccxt.exchanges["okx"].max_orderbook_depth == 20
    assert config.features.vpin_bucket_size == 0.001


def test_a_wrong_value_that_comes_from_a_merge_is_told_at_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("leases:\n  <<: {ttl_seconds: long}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert [(problem.path, problem.line) for problem in caught.value.problems] == [("leases.ttl_seconds", 2)]


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbflog_level: DEBUG\n")
    assert load_config(file, {}).log_level == "DEBUG"


def test_secrets_are_read_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("redis-secret\n")
    (tmp_path / "key").write_text("s3-secret\n")
    store = {"backend": "s3", "s3": {"bucket": "lake", "access_key": "AKIA", "secret_key_file": str(tmp_path / "key")}}
    config = parse_config(
        {
            "redis": {"password_file": str(tmp_path / "password")},
            "storage": {"etl_storage_output": store},
        }
    )
    s3 = config.storage.etl_storage_output.s3
    assert s3 is not None
    assert config.redis.password.get_secret_value() == "redis-secret"
    assert (s3.access_key.get_secret_value(), s3.secret_key.get_secret_value()) == ("AKIA", "s3-secret")


def test_secret_files_that_cannot_be_used_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    s3 = {
        "bucket": "lake",
        "access_key_file": str(tmp_path / "empty"),
        "secret_key_file": str(tmp_path / "binary"),
    }
    with pytest.raises(ConfigError) as caught:
        parse_config(
            {
                "redis": {"password_file": str(tmp_path / "gone")},
                "storage": {"etl_storage_input": {"s3": s3}},
            }
        )
    assert [str(problem) for problem in caught.value.problems] == [
        "configuration: redis.password_file: the file cannot be read: No such file or directory; "
        f"found '{tmp_path}/gone'",
        f"configuration: storage.etl_storage_input.s3.access_key_file: the file is empty; found '{tmp_path}/empty'",
        "configuration: storage.etl_storage_input.s3.secret_key_file: the file cannot be read: not UTF-8 text; "
        f"found '{tmp_path}/binary'",
    ]


def test_a_secret_beside_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a")
    with pytest.raises(ConfigError, match="given twice; found password and password_file; allowed: one of the two"):
        parse_config({"redis": {"password": "b", "password_file": str(tmp_path / "password")}})


def test_a_configuration_written_out_loads_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from a file")
    config = parse_config(
        MARKETS
        | {
            "redis": {"password_file": str(tmp_path / "password"), "username": "ümläut"},
            "features": {"vpin_bucket_size": 1e-9, "markets": {"binanceus:BTC/USDT": {"vpin_buckets": 5}}},
            "etl": {
                "channels": {
                    "orderbook": {"processor_options": {"hf_emit_interval": 0.5}},
                    "trades": {"processor_options": {"dollar_bar_size": 5e6}},
                }
            },
            "supervisor": {"cpu_affinity": [3, 1]},
        }
    )
    file = tmp_path / "written.yaml"
    file.write_text(config_to_yaml(config, masked=False))
    again = load_config(file, {})
    assert again == config
    assert again.features.for_market("binanceus", "BTC/USDT") == config.features.for_market("binanceus", "BTC/USDT")
    assert again.redis.password.get_secret_value() == "from a file"


def test_shown_configurations_hold_no_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2")
    exchange = {
        "api_key": "hunter2",
        "api_secret": "hunter2",
        "options": {"apiKey": "hunter2", "deep": [{"password": "hunter2"}], "proxy": "http://me:hunter2@proxy"},
        "channels": {"watchTrades": ["A/B"]},
    }
    s3 = {"bucket": "lake", "access_key": "hunter2", "secret_key_file": str(tmp_path / "key")}
    config = parse_config(
        {
            "redis": {"url": "redis://:hunter2@cache:6379/0"},
            "ccxt": {"exchanges": {"kraken": exchange}},
            "storage": {"ingestion_storage": {"s3": s3 | {"endpoint_url": "http://me:hunter2@minio:9000"}}},
        }
    )
    shown = config_to_yaml(config)
    assert "hunter2" not in shown + repr(config)
    assert "redis://:***@cache:6379/0" in shown
    assert f"secret_key_file: {tmp_path}/key" in shown
