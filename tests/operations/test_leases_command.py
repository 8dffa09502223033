"""`daedalus leases`: who owns what, since when, for how long still, how far behind, by the server's clock."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
from redis.asyncio import Redis
from typer.testing import Result

from daedalus.operations.leases import read_leases
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.broker.steps import Step
from daedalus_common.entries import encode
from daedalus_common.events import Heartbeat
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from support.ports import free_port
from support.valkey import ValkeyServer

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("kraken", "ETH/USD")
LeaseOf = Callable[..., Awaitable[Lease]]


def by_role(views: list[Any], market: str = "binanceus:BTC-USDT") -> dict[str, Any]:
    return {view["role"]: view for view in views if view["market"] == market}


async def test_each_market_and_role_has_its_owner_and_lag(
    daedalus: Any, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    publisher = await lease_of(Role.INGESTOR, "ingestor-a")
    featurizer = await lease_of(Role.FEATURIZER, "featurizer-a")
    await market_log.publish(publisher, 1, [(ts, encode(Heartbeat(ts))) for ts in range(1, 11)])
    ids = [id_.decode() for id_, _ in await market_log.read(BTC, "raw", BEGINNING, 100)]
    await market_log.commit_step(featurizer, Step(BEGINNING, ids[3], 4, b"hot", [], 0, []))
    views = by_role(await asyncio.to_thread(daedalus.json, "leases"))
    assert {role: view["owner"] for role, view in views.items()} == {
        "ingestor": "ingestor-a",
        "writer": None,
        "featurizer": "featurizer-a",
    }
    assert {role: view["lag"] for role, view in views.items()} == {
        "ingestor": {},
        "writer": {"raw": 10, "silver": 0, "gold": 0, "late": 0},
        "featurizer": {"raw": 6},
    }
    assert views["ingestor"]["newest_age_seconds"] > 50 * 365 * 86400, "its newest event is of 1970"
    assert views["writer"]["newest_age_seconds"] is None
    held = views["featurizer"]
    assert held["epoch"] == featurizer.epoch
    assert 0 <= held["held_seconds"] < 30
    assert 30 < held["left_seconds"] <= 60


async def test_a_lease_that_ran_out_or_was_given_back_is_free_and_keeps_its_epoch(
    client: Redis, market_log: MarketLog
) -> None:
    keeper = LeaseKeeper(client, Role.WRITER, "a", [BTC], timedelta(milliseconds=50), lambda: "token")
    await keeper.renew()
    first = keeper.held[BTC].epoch

    async def writers() -> tuple[str | None, int]:
        (view,) = [view for view in await read_leases(client, [BTC]) if view.role is Role.WRITER]
        return view.owner, view.epoch

    await asyncio.sleep(0.1)
    assert await writers() == (None, first)
    again = LeaseKeeper(client, Role.WRITER, "a", [BTC], timedelta(seconds=60), lambda: "another token")
    await again.renew()
    second = again.held[BTC].epoch
    assert second > first
    assert await writers() == ("a", second)
    await again.leave()
    assert await writers() == (None, second)


async def test_the_load_is_shown_as_it_was_last_told_also_where_nobody_owns_the_market(
    client: Redis, daedalus: Any, market_log: MarketLog
) -> None:
    seconds = 0.0
    keeper = LeaseKeeper(client, Role.WRITER, "a", [BTC], timedelta(minutes=1), lambda: "token", lambda: seconds)
    await keeper.renew()
    assert by_role(await asyncio.to_thread(daedalus.json, "leases"))["writer"]["load"] is None
    keeper.load.count(BTC, 1250)
    seconds = 10.0
    await keeper.renew()
    assert by_role(await asyncio.to_thread(daedalus.json, "leases"))["writer"]["load"] == 125.0
    await keeper.leave()
    view = by_role(await asyncio.to_thread(daedalus.json, "leases"))["writer"]
    assert (view["owner"], view["load"]) == (None, 125.0)
    lines = (await asyncio.to_thread(daedalus, "leases")).stdout.splitlines()
    assert "load (events/s)" in lines[0]
    assert "125.0" in lines[2].split()


async def test_the_table_names_owners_and_free_leases_and_never_a_token(
    daedalus: Any, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    lease = await lease_of(Role.WRITER, "writer-7")
    text = (await asyncio.to_thread(daedalus, "leases")).stdout
    lines = [line.split() for line in text.splitlines()]
    assert lines[2][:4] == ["binanceus:BTC-USDT", "writer", "writer-7", str(lease.epoch)]
    assert lines[1][:3] == ["binanceus:BTC-USDT", "ingestor", "free"]
    assert "raw 0, silver 0, gold 0" in text
    assert lease.token not in text


async def test_configured_markets_are_shown_before_anything_ran_and_others_that_the_server_has_too(
    daedalus: Any, market_log: MarketLog, tmp_path: Path
) -> None:
    config = tmp_path / "daedalus.yaml"
    config.write_text("ccxt: {exchanges: {kraken: {channels: {watchTrades: [ETH/USD]}}}}\n")
    views = await asyncio.to_thread(daedalus.json, "leases", "--config", str(config))
    assert {view["market"] for view in views} == {"binanceus:BTC-USDT", "kraken:ETH-USD"}
    eth = by_role(views, "kraken:ETH-USD")
    assert all(view["owner"] is None and view["lag"] == {} for view in eth.values())
    assert all(view["newest_age_seconds"] is None for view in eth.values())


async def test_how_old_the_newest_event_is_tells_how_far_an_ingestor_is_behind(
    daedalus: Any, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    publisher = await lease_of(Role.INGESTOR, "ingestor-a")
    ts = time.time_ns() - 90_000_000_000
    await market_log.publish(publisher, 1, [(ts, encode(Heartbeat(ts)))])
    assert 90 <= by_role(await asyncio.to_thread(daedalus.json, "leases"))["ingestor"]["newest_age_seconds"] < 150
    assert "newest event 1m" in (await asyncio.to_thread(daedalus, "leases")).stdout


def test_a_server_that_is_away_is_one_clear_line_and_1(run_without_server: Callable[..., Result]) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    result = run_without_server("leases", "--redis", url)
    assert result.exit_code == 1
    assert result.stderr.startswith("daedalus leases: no answer of redis://:***@127.0.0.1:")
    assert "hunter2" not in result.output
    assert len(result.stderr.splitlines()) == 1


def test_a_server_that_wants_a_password_is_told_with_where_it_is(
    run_without_server: Callable[..., Result], tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "hunter2")
        result = run_without_server("leases", "--redis", server.url)
    assert result.exit_code == 1
    assert "Authentication required" in result.stderr
    assert "--config DATA_DIR/run/daedalus.yaml" in result.stderr


def test_a_url_that_is_none_is_2(run_without_server: Callable[..., Result]) -> None:
    result = run_without_server("leases", "--redis", "http://cache")
    assert result.exit_code == 2
    assert "redis.url" in result.stderr
