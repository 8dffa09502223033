"""`DAEDALUS__A__B` overrides the file; what does not fit is told with the variable's name."""

from pathlib import Path

import pytest

from daedalus_common.config import Config, ConfigError, load_config

FILE = """\
redis: {url: 'redis://file:6379/0'}
ccxt:
  exchanges:
    binanceus:
      channels: {watchOrderBook: [BTC/USDT], watchTrades: [BTC/USDT]}
etl: {channels: {orderbook: {processor_options: {hf_emit_interval: 5}}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(FILE)
    return path


def refused(file: Path, env: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(file, env)
    return [str(problem) for problem in caught.value.problems]


def test_a_variable_wins_over_the_file(file: Path) -> None:
    assert load_config(file, {"DAEDALUS__REDIS__URL": "redis://env:6379/1"}).redis.url == "redis://env:6379/1"


def test_other_variables_do_not_matter(file: Path) -> None:
    env = {"DAEDALUS_REDIS__URL": "x", "DAEDALUS": "x", "REDIS__URL": "x", "PATH": "/bin"}
    assert load_config(file, env) == load_config(file, {})


def test_the_case_of_the_keys_does_not_matter(file: Path) -> None:
    env = {"daedalus__Ccxt__EXCHANGES__BINANCEUS__CHANNELS__WATCHTRADES": "[ETH/USDT]"}
    channels = load_config(file, env).ccxt.exchanges["binanceus"].channels
    assert (channels.watchTrades, channels.watchOrderBook) == (("ETH/USDT",), ("BTC/USDT",))


def test_values_are_read_as_yaml_where_no_text_belongs(file: Path) -> None:
    env = {
        "DAEDALUS__INGESTION__AUTO_RECONNECT": "false",
        "DAEDALUS__INGESTION__BATCH_SIZE": "7",
        "DAEDALUS__FEATURES__ROLLING_WINDOWS": "[5, 10]",
        "DAEDALUS__FEATURES__VPIN_BUCKET_SIZE": "1e-2",
    }
    config = load_config(file, env)
    assert config.ingestion.auto_reconnect is False
    assert config.ingestion.batch_size == 7
    assert config.features.rolling_windows == (5, 10)
    assert config.features.vpin_bucket_size == 0.01


def test_text_is_taken_as_it_is(file: Path) -> None:
    env = {
        "DAEDALUS__REDIS__PASSWORD": "007",
        "DAEDALUS__REDIS__USERNAME": "yes",
        "DAEDALUS__STORAGE__ETL_STORAGE_INPUT__BASE_DIR": "2026",
    }
    config = load_config(file, env)
    assert config.redis.password.get_secret_value() == "007"
    assert config.redis.username == "yes"
    assert config.storage.etl_storage_input.base_dir == Path("2026")


def test_an_empty_variable_takes_an_optional_text_away(file: Path) -> None:
    assert load_config(file, {"DAEDALUS__REDIS__USERNAME": ""}).redis.username is None


def test_a_wide_variable_is_refined_by_a_narrow_one(file: Path) -> None:
    env = {
        "DAEDALUS__REDIS__URL": "redis://narrow",
        "DAEDALUS__REDIS": "{url: 'redis://wide', socket_timeout_seconds: 9}",
    }
    redis = load_config(file, env).redis
    assert (redis.url, redis.socket_timeout_seconds) == ("redis://narrow", 9)


def test_an_exchange_and_its_markets_can_come_from_the_environment_alone() -> None:
    env = {
        "DAEDALUS__CCXT__EXCHANGES__KRAKEN__CHANNELS__WATCHORDERBOOK": "[BTC/USD]",
        "DAEDALUS__CCXT__EXCHANGES__KRAKEN__OPTIONS__defaultType": "spot",
        "DAEDALUS__FEATURES__MARKETS__KRAKEN:BTC/USD__DEPTH_LEVELS": "5",
    }
    config = load_config(None, env)
    assert config.ccxt.exchanges["kraken"].options == {"defaultType": "spot"}
    assert config.features.for_market("kraken", "BTC/USD").depth_levels == 5


def test_older_names_are_understood_and_win_over_the_file(file: Path) -> None:
    env = {"DAEDALUS__ETL__CHANNELS__ORDERBOOK__PROCESSOR_OPTIONS__HF_EMIT_INTERVAL": "2.5"}
    assert load_config(file, env).features.emit_interval == 2.5


def test_every_wrong_variable_is_named(file: Path) -> None:
    env = {
        "DAEDALUS__REDIS__URI": "x",
        "DAEDALUS__TELEMETRY__PORTS__WRITER": "high",
        "DAEDALUS__LOG_LEVEL__ROOT": "x",
        "DAEDALUS__ETL__COMPRESSION_LEVEL": "[",
        "DAEDALUS__STORAGE__PATHS__RAW_DIR": "x",
    }
    told = refused(file, env)
    assert [line.split(": ")[0] for line in told] == [f"environment variable {name}" for name in (
        "DAEDALUS__ETL__COMPRESSION_LEVEL",
        "DAEDALUS__LOG_LEVEL__ROOT",
        "DAEDALUS__REDIS__URI",
        "DAEDALUS__STORAGE__PATHS__RAW_DIR",
        "DAEDALUS__TELEMETRY__PORTS__WRITER",
    )]  # fmt: skip
    assert told[2].endswith("redis.uri: unknown key; found uri; allowed: url, cluster, username, password, "
                            "password_file, socket_timeout_seconds; did you mean url?")  # fmt: skip
    assert told[1].endswith("log_level: holds no further keys; allowed: DEBUG, INFO, WARNING, ERROR, CRITICAL")
    assert told[3].endswith("storage.paths.raw_dir: no longer a key; removed: objects are created once, "
                            "under bronze/, silver/, gold/ and quality/ below base_dir")  # fmt: skip
    assert told[4].endswith("telemetry.ports.writer: wrong type; found 'high'; "
                            "allowed: a whole number from 0 to 65,535")  # fmt: skip


def test_the_files_and_the_environments_mistakes_come_together(file: Path) -> None:
    file.write_text("log_level: loud\n")
    told = refused(file, {"DAEDALUS__NICE": "x"})
    assert [line.split(": ")[:2] for line in told] == [
        [f"{file}:1", "log_level"],
        ["environment variable DAEDALUS__NICE", "nice"],
    ]


def test_a_disagreement_is_told_where_the_variable_made_it(file: Path) -> None:
    told = refused(file, {"DAEDALUS__FEATURES__KYLE_WINDOW": "7"})
    assert told == [
        "environment variable DAEDALUS__FEATURES__KYLE_WINDOW: features.kyle_window: kyle_window: no multiple of "
        "emit_interval; found 7 s; allowed: multiples of emit_interval, 5 s"
    ]


def test_values_of_secret_variables_are_not_repeated(file: Path) -> None:
    told = refused(file, {"DAEDALUS__REDIS": "{password: [hunter2]}", "DAEDALUS__REDIS__URL": "http://:hunter2@h"})
    assert len(told) == 2
    assert "hunter2" not in "".join(told)


def test_a_variable_below_something_that_is_no_section_leaves_the_files_problem(file: Path) -> None:
    file.write_text("redis: cache\n")
    assert [line.split(";")[0] for line in refused(file, {"DAEDALUS__REDIS__URL": "redis://a"})] == [
        f"{file}:1: redis: wrong type"
    ]


def test_the_environment_does_not_reach_the_defaults_of_another_load() -> None:
    load_config(None, {"DAEDALUS__CCXT__EXCHANGES__KRAKEN__CHANNELS__WATCHTRADES": "[A/B]"})
    assert load_config(None, {}) == Config()
