"""`redis.cluster`: its configuration, the check of every master, and what is told the wrong kind of server."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
import yaml
from typer.testing import CliRunner

from daedalus.cli.main import app
from daedalus_common.broker.client import connect, connect_to
from daedalus_common.broker.cluster import ClusterClient
from daedalus_common.broker.server_check import Level, check_server, findings
from daedalus_common.config import ConfigError, parse_config
from daedalus_common.service import wait_for_redis
from daedalus_common.telemetry import Health
from support.valkey_cluster import ValkeyCluster


def test_without_the_key_one_server_is_meant() -> None:
    assert not parse_config({}).redis.cluster
    assert not isinstance(connect_to(parse_config({}).redis), ClusterClient)
    assert isinstance(connect_to(parse_config({"redis": {"cluster": True}}).redis), ClusterClient)


@pytest.mark.parametrize(
    ("url", "found"), [("redis://10.0.0.1:6379/3", "database 3"), ("unix:///run/redis.sock", "a socket")]
)
def test_a_cluster_has_neither_databases_nor_sockets(url: str, found: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({"redis": {"url": url, "cluster": True}})
    assert f"redis.url: no node of a cluster; found {found}; allowed: redis://HOST:PORT" in str(error.value)
    assert "or redis.cluster: false" in str(error.value)


def test_a_cluster_that_stops_as_a_whole_is_a_finding_with_its_fix() -> None:
    info = {"redis_version": "7.4.2", "cluster_enabled": 1}
    (finding,) = findings(info, {"cluster-require-full-coverage": "yes"})
    assert finding.level is Level.WARNING
    assert "run CONFIG SET cluster-require-full-coverage no on every node" in finding.text
    assert findings(info, {"cluster-require-full-coverage": "no"}) == ()
    assert findings(info | {"cluster_enabled": 0}, {"cluster-require-full-coverage": "yes"}) == ()


@pytest.mark.timeout(120)
async def test_every_master_is_checked_and_named_and_one_that_is_away_is_a_warning(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path, options=("--maxmemory", "64mb")) as cluster:
        cluster.ask(cluster.masters[1], "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        cluster.ask(cluster.masters[2], "CONFIG", "SET", "cluster-require-full-coverage", "yes")
        names = [f"127.0.0.1:{node.port}" for node in cluster.masters]
        client = connect(cluster.url, cluster=True)
        found = await check_server(client)
        assert [(each.level, each.setting, each.node) for each in found] == [
            (Level.ERROR, "maxmemory-policy", names[1]),
            (Level.WARNING, "cluster-require-full-coverage", names[2]),
        ]
        assert found[0].text.startswith(f"{names[1]}: maxmemory-policy is allkeys-lru")
        cluster.masters[1].pause()
        found = await check_server(client)
        cluster.masters[1].resume()
        assert [(each.level, each.setting, each.node) for each in found] == [
            (Level.WARNING, "cluster-require-full-coverage", names[2]),
            (Level.WARNING, "node", names[1]),
        ] or [each.setting for each in found] == ["node", "cluster-require-full-coverage"]
        cluster.masters[1].kill()
        with structlog.testing.capture_logs() as logs:
            assert await wait_for_redis(client, asyncio.Event(), Health("writer"), structlog.get_logger())
        assert any("does not answer" in line.get("finding", "") for line in logs)
        await client.aclose()


def write_config(folder: Path, url: str, *, cluster: bool) -> Path:
    path = folder / "daedalus.yaml"
    exchange = {"channels": {"watchTrades": ["BTC/USDT"]}}
    config = {"redis": {"url": url, "cluster": cluster}, "ccxt": {"exchanges": {"binanceus": exchange}}}
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize("is_cluster", [True, False])
def test_a_service_and_a_command_that_are_told_the_wrong_kind_of_server_name_the_key(
    is_cluster: bool, cluster: ValkeyCluster, redis_url: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path, cluster.url if is_cluster else redis_url, cluster=not is_cluster)
    command = [sys.executable, "-m", "daedalus_featurizer", "--config", str(config), "--telemetry-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    wanted = f"set redis.cluster: {str(is_cluster).lower()}"
    assert done.returncode == 1
    assert wanted in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    result = CliRunner().invoke(app, ["streams", "--config", str(config)])
    assert result.exit_code == 2
    assert wanted in result.output
