"""What the user asked for becomes the services' configuration."""

from pathlib import Path

import pytest

from daedalus.embedded.settings import Wishes, child_environment, effective_config, read_settings
from daedalus_common.config import ConfigError, config_to_yaml, load_config

REDIS = {"url": "redis://127.0.0.1:7000/0", "username": None, "password": "pw", "password_file": None}
FILE = """
ccxt: {exchanges: {binanceus: {channels: {watchTrades: [BTC/USDT]}}}}
storage:
  ingestion_storage: {base_dir: somewhere}
  etl_storage_output: {backend: s3, s3: {bucket: lake}}
"""


def wishes(tmp_path: Path, text: str | None = None, **changes) -> Wishes:
    file = None
    if text is not None:
        file = tmp_path / "daedalus.yaml"
        file.write_text(text)
    return Wishes(**{"demo": False, "config_file": file, "data_dir": None, "redis_url": None, **changes})


def test_the_demo_records_three_markets_with_all_channels():
    settings = read_settings(Wishes(True, None, None, None), {})
    assert [(m.exchange, m.symbol, len(m.channels)) for m in settings.config.markets()] == [
        ("binanceus", "BTC/USDT", 3),
        ("binanceus", "ETH/USDT", 3),
        ("binanceus", "SOL/USDT", 3),
    ]
    assert settings.redis_url is None
    assert settings.data_dir == Path("data-demo").absolute(), "not among real markets"


def test_the_demo_can_be_changed_by_the_environment():
    settings = read_settings(Wishes(True, None, None, None), {"DAEDALUS__INGESTION__FLUSH_INTERVAL_SECONDS": "2.0"})
    assert settings.config.ingestion.flush_interval_seconds == 2.0


def test_the_services_get_the_embedded_server_the_simulator_and_the_data_directory(tmp_path):
    settings = read_settings(Wishes(True, None, tmp_path, None), {})
    config = effective_config(settings, REDIS, "http://127.0.0.1:7001")
    assert (config.redis.url, config.redis.password.get_secret_value()) == ("redis://127.0.0.1:7000/0", "pw")
    assert config.ccxt.exchanges["binanceus"].api_url == "http://127.0.0.1:7001"
    assert {config.storage.ingestion_storage.base_dir, config.storage.etl_storage_output.base_dir} == {tmp_path}


def test_only_a_demo_leaves_the_configured_telemetry_ports_to_whoever_is_scraped(tmp_path):
    text = f"{FILE}telemetry: {{ports: {{writer: 9202}}}}\n"
    live = effective_config(read_settings(wishes(tmp_path, text), {}), REDIS, None).telemetry
    assert (live.port_of("writer"), live.port_of("ingestor")) == (9202, 9101)
    demo = effective_config(read_settings(wishes(tmp_path, text, demo=True), {}), REDIS, "http://127.0.0.1:1").telemetry
    assert {demo.port_of(name) for name in ("ingestor", "writer", "featurizer")} == {0}


def test_the_written_configuration_loads_to_the_same(tmp_path):
    settings = read_settings(wishes(tmp_path, FILE), {})
    config = effective_config(settings, REDIS, None)
    written = tmp_path / "effective.yaml"
    written.write_text(config_to_yaml(config, masked=False))
    assert load_config(written, {}) == config


def test_a_configuration_keeps_its_stores_unless_a_data_directory_is_given(tmp_path):
    kept = effective_config(read_settings(wishes(tmp_path, FILE), {}), None, None).storage
    assert kept.ingestion_storage.base_dir == Path("somewhere").absolute()
    assert kept.etl_storage_output.backend == "s3"
    moved = effective_config(read_settings(wishes(tmp_path, FILE, data_dir=tmp_path / "d"), {}), None, None).storage
    assert moved.ingestion_storage.base_dir == tmp_path / "d"
    assert moved.etl_storage_output.backend == "s3"
    assert moved.etl_storage_output.s3 == kept.etl_storage_output.s3


def test_logs_and_run_files_lie_beside_the_stored_data(tmp_path):
    assert read_settings(wishes(tmp_path, FILE), {}).data_dir == Path("somewhere").absolute()
    assert read_settings(wishes(tmp_path, FILE, data_dir=tmp_path / "d"), {}).data_dir == tmp_path / "d"


@pytest.mark.parametrize(
    ("section", "asked", "used"),
    [
        ("", None, None),
        ("redis: {url: 'redis://127.0.0.1:6379/0'}", None, None),
        ("redis: {url: 'redis://cache:6379/0'}", None, "redis://cache:6379/0"),
        ("redis: {url: 'redis://cache:6379/0'}", "redis://other:1/0", "redis://other:1/0"),
        ("", "redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
    ],
)
def test_a_server_is_embedded_unless_another_is_named(tmp_path, section, asked, used):
    settings = read_settings(wishes(tmp_path, FILE + section, redis_url=asked), {})
    assert settings.redis_url == used
    if used is not None:
        assert effective_config(settings, None, None).redis.url == used


@pytest.mark.parametrize(
    ("text", "demo", "message"),
    [
        (None, False, "nothing to record.*--demo"),
        ("log_level: INFO", False, "ccxt.exchanges is empty"),
        ("ccxt: {exchanges: {kraken: {channels: {watchTrades: [BTC/USD]}}}}", True, "cannot stand for kraken"),
        ("ccxt: {exchanges: {krakenn: {channels: {watchTrades: [BTC/USD]}}}}", False, "kraken"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(tmp_path, text, demo, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        read_settings(wishes(tmp_path, text, demo=demo), {})


def test_a_wrong_redis_url_is_refused_by_the_configuration(tmp_path):
    settings = read_settings(wishes(tmp_path, FILE, redis_url="localhost:6379"), {})
    with pytest.raises(ConfigError, match="redis"):
        effective_config(settings, None, None)


def test_children_do_not_see_the_overrides_that_their_configuration_holds_already():
    env = {"PATH": "/bin", "DAEDALUS__REDIS__URL": "redis://elsewhere", "daedalus__log_level": "DEBUG"}
    assert child_environment(env) == {"PATH": "/bin"}
