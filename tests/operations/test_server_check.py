"""The settings of a server are judged from INFO and CONFIG, each with its fix; errors keep a service from starting."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis as redis_sync
import structlog

from daedalus_common.broker.client import connect
from daedalus_common.broker.server_check import Finding, Level, check_server, findings
from daedalus_common.service import wait_for_redis
from daedalus_common.telemetry import Health
from support.valkey import ValkeyServer

GIB = 2**30
GOOD_INFO = {
    "redis_version": "7.4.2",
    "maxmemory": 2 * GIB,
    "maxmemory_policy": "noeviction",
    "total_system_memory": 8 * GIB,
    "aof_enabled": 1,
    "cluster_enabled": 0,
}
GOOD_CONFIG = {
    "maxmemory": str(2 * GIB),
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "everysec",
}


def test_a_server_as_it_should_be_has_no_findings() -> None:
    assert findings(GOOD_INFO, GOOD_CONFIG) == ()


@pytest.mark.parametrize(
    ("info", "config", "level", "setting", "fix"),
    [
        ({}, {"maxmemory-policy": "allkeys-lru"}, Level.ERROR, "maxmemory-policy", "maxmemory-policy noeviction"),
        ({"redis_version": "6.2.14"}, {}, Level.ERROR, "redis_version", "install Redis 7.0"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.9"}, {}, Level.ERROR, "valkey_version", "Valkey 8.0"),
        ({}, {"appendonly": "no"}, Level.WARNING, "appendonly", "CONFIG SET appendonly yes"),
        ({}, {"appendfsync": "no"}, Level.WARNING, "appendfsync", "CONFIG SET appendfsync everysec"),
        ({}, {"maxmemory": "0"}, Level.WARNING, "maxmemory", "CONFIG SET maxmemory 6144mb"),
        ({}, {"maxmemory": str(7 * GIB)}, Level.WARNING, "maxmemory", "CONFIG SET maxmemory 6144mb"),
    ],
)
def test_each_wrong_setting_is_found_with_its_fix(
    info: dict[str, Any], config: dict[str, str], level: Level, setting: str, fix: str
) -> None:
    (finding,) = findings(GOOD_INFO | info, GOOD_CONFIG | config)
    assert (finding.level, finding.setting) == (level, setting)
    assert fix in finding.text


@pytest.mark.parametrize(
    "version",
    [
        {"redis_version": "7.0.0"},
        {"redis_version": "8.2.1"},
        {"redis_version": "10.0.0"},
        {"redis_version": "7.2.4", "valkey_version": "8.0.0"},
        {"redis_version": "7.2.4", "valkey_version": "9.1.0"},
    ],
)
def test_versions_that_have_what_is_needed_pass(version: dict[str, str]) -> None:
    assert findings(GOOD_INFO | version, GOOD_CONFIG) == ()


def test_where_config_is_forbidden_info_is_judged_and_the_rest_is_said_to_be_unchecked() -> None:
    wrong = GOOD_INFO | {"maxmemory_policy": "volatile-ttl", "aof_enabled": 0, "maxmemory": 0}
    found = findings(wrong, None)
    assert [(each.level, each.setting) for each in found] == [
        (Level.ERROR, "maxmemory-policy"),
        (Level.WARNING, "appendonly"),
        (Level.WARNING, "maxmemory"),
        (Level.INFO, "appendfsync"),
    ]
    assert "was not checked, as CONFIG is forbidden" in found[-1].text


def test_where_nothing_may_be_asked_that_is_the_finding() -> None:
    (finding,) = findings({}, None)
    assert finding.level is Level.WARNING
    assert "not all was checked: the version, maxmemory-policy, maxmemory, appendonly, appendfsync" in finding.text
    (finding,) = findings({}, GOOD_CONFIG)
    assert finding.text.startswith("INFO is forbidden to this user, so not all was checked: the version; permit it")


async def check(url: str, username: str | None = None, password: str | None = None) -> tuple[Finding, ...]:
    client = connect(url, username, password)
    try:
        return await check_server(client)
    finally:
        await client.aclose()


async def test_a_real_server_is_judged_by_what_it_says(tmp_path: Path) -> None:
    options = ("--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    with ValkeyServer(tmp_path, options) as server:
        found = await check(server.url)
        assert [(each.level, each.setting) for each in found] == [
            (Level.ERROR, "maxmemory-policy"),
            (Level.WARNING, "appendonly"),
        ]
        with redis_sync.Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("appendonly", "yes")
        assert await check(server.url) == (), "the fixes in the messages are the right ones"


async def test_a_real_server_that_hides_its_settings_says_so(redis_url: str) -> None:
    with redis_sync.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "no-config", "on", ">pw", "~*", "+@all", "-config")
        client.execute_command("ACL", "SETUSER", "no-info", "on", ">pw", "~*", "+@all", "-config", "-info")
        try:
            found = await check(redis_url, "no-config", "pw")
            assert (found[-1].level, found[-1].setting) == (Level.INFO, "appendfsync")
            (finding,) = await check(redis_url, "no-info", "pw")
            assert finding.setting == "INFO"
        finally:
            client.execute_command("ACL", "DELUSER", "no-config", "no-info")


def start_featurizer(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    config = folder / "daedalus.yaml"
    config.write_text(
        f"log_format: json\nredis: {{url: '{url}'}}\n"
        "ccxt: {exchanges: {binanceus: {channels: {watchTrades: [BTC/USDT]}}}}\n"
    )
    command = [sys.executable, "-m", "daedalus_featurizer", "--config", str(config), "--telemetry-port", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_service_refuses_a_server_that_would_delete_streams_in_one_line_with_1(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey", ("--maxmemory-policy", "volatile-lru")) as server:
        done = start_featurizer(server.url, tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "daedalus featurizer cannot start: Redis must be set up otherwise: maxmemory-policy is volatile"
    )
    assert "CONFIG SET maxmemory-policy noeviction" in last
    assert "Traceback" not in done.stderr


async def test_a_service_logs_warnings_and_goes_on(tmp_path: Path) -> None:
    options = ("--appendonly", "no", "--maxmemory", "64mb")
    health, stop = Health("writer"), asyncio.Event()
    with ValkeyServer(tmp_path, options) as server, structlog.testing.capture_logs() as logs:
        client = connect(server.url)
        assert await wait_for_redis(client, stop, health, structlog.get_logger())
        await client.aclose()
    (warning,) = [line for line in logs if line["log_level"] == "warning"]
    assert warning["setting"] == "appendonly"
    assert "CONFIG SET appendonly yes" in warning["finding"]
