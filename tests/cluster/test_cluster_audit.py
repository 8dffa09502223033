"""`daedalus audit` where one master of a cluster is away: the others still tell what waits."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from daedalus.cli.main import app
from daedalus_common.broker.client import connect_to
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.config import parse_config
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.market_events import market_events, payloads
from support.valkey_cluster import ValkeyCluster
from support.writers import build_writer, publish, running, until_written, writer_config

SYMBOLS = ("BTC/USDT", "ADA/USDT", "BTC/USDT:USDT", "1000PEPE/USDT")
MARKETS = [Market("binanceus", symbol) for symbol in SYMBOLS]


async def recorded(config: dict[str, Any], folder: Path) -> None:
    """300 events of each market stored, 20 more waiting."""
    client = connect_to(parse_config(config).redis)
    log, keeper = (
        MarketLog(client),
        LeaseKeeper(client, Role.INGESTOR, "me", MARKETS, timedelta(seconds=60), lambda: "token"),
    )
    await keeper.renew()
    for market in MARKETS:
        await log.open_market(market)
        await publish(log, keeper.held[market], payloads(market_events(1, 300)))
    async with running(build_writer(client, LocalDisk(folder, fsync=False), MARKETS)) as task:
        for market in MARKETS:
            await until_written(task, log, market)
    for market in MARKETS:
        await publish(log, keeper.held[market], payloads(market_events(2, 20)), 301)
    await client.aclose()


@pytest.mark.timeout(120)
async def test_markets_of_the_masters_that_answer_are_reconciled_with_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAEDALUS__REDIS__URL", raising=False)
    with ValkeyCluster(tmp_path / "cluster") as cluster:
        config = writer_config(cluster.masters[1].url, tmp_path / "lake")
        config["redis"]["cluster"] = True
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(config))
        await recorded(config, tmp_path / "lake")

        async def waiting() -> tuple[dict[str, int], list[str]]:
            result = await asyncio.to_thread(CliRunner().invoke, app, ["audit", "--config", str(file), "--json"])
            assert result.exit_code == 0, result.output
            report = json.loads(result.stdout)
            return {each["market"]: each["waiting"] for each in report["markets"]}, report["notes"]

        assert await waiting() == ({market.name: 20 for market in MARKETS}, [])
        cluster.masters[0].kill()
        found, notes = await waiting()
        assert set(found.values()) == {0, 20}, notes
        away = [name for name, count in found.items() if not count]
        assert sorted(note.split(": ")[0] for note in notes) == sorted(away)
