"""kill -9 at random moments: no row is missing or double, and what nobody could see is a declared gap."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from redis.asyncio import Redis

from daedalus.summary.reconcile import reconcile
from daedalus.summary.recording import objects_since, read_recording
from daedalus.summary.sent import parse_sent
from daedalus_common.broker.client import connect
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.config import parse_config
from daedalus_common.entries import encode
from daedalus_common.events import Genesis
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_common.stores import StoreSettings, open_store
from daedalus_features import FeatureConfig
from daedalus_featurizer.row_schemas import row_schemas
from daedalus_featurizer.settings import params_for
from support.batch import assert_same_tables, run_all
from support.market_events import START, market_events, payloads
from support.offline import assert_silver_and_gold_follow_from_bronze, bars, bronze, silver
from support.stack import Service, Stack

SYMBOLS = ["BTC/USDT", "ETH/USDT"]
BTC = Market("binanceus", "BTC/USDT")
PARTITIONS = [f"exchange=binanceus/symbol={symbol.replace('/', '-')}" for symbol in SYMBOLS]
NAMES = [f"binanceus:{symbol.replace('/', '-')}" for symbol in SYMBOLS]
CONFIG = {
    "ccxt": {
        "exchanges": {
            "binanceus": {
                "channels": {"watchOrderBook": SYMBOLS, "watchTrades": SYMBOLS, "watchTicker": SYMBOLS},
            }
        }
    },
    "ingestion": {"flush_interval_seconds": 0.5, "reconnect_delay": 0.2},
    "features": {"bar_durations": [5, 60], "emit_interval": 0.5},
    "leases": {"ttl_seconds": 2.0, "renew_seconds": 0.5},
}


def published(stack: Stack, market: str) -> int:
    """How many events the market's sequence has."""
    with stack.client() as client:
        return int(client.hget(f"{{{market}}}:sequence", "seq") or 0)


def kill_at_random(stack: Stack, services: dict[str, Service], rng: random.Random, seconds: float) -> int:
    """Kills and restarts services until the time is over; how often."""
    kills = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(rng.uniform(0.3, 1.5))
        name = rng.choice(list(services))
        services[name].kill()
        time.sleep(rng.uniform(0.0, 0.3))
        services[name] = stack.start(name)
        kills += 1
    return kills


def check_sequence(data: Path, partition: str) -> int:
    """Every seq of the market is in exactly one row of one Bronze table; how many there are."""
    seqs = pl.concat(
        [bronze(data, name, partition)["seq"] for name in ("orderbook", "trades", "ticker", "control")]
    ).sort()
    assert seqs.to_list() == list(range(1, len(seqs) + 1))
    return len(seqs)


@pytest.mark.e2e
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_services_lose_and_double_nothing(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    started = datetime.now(UTC)
    with Stack(tmp_path, CONFIG) as stack:
        services = {name: stack.start(name) for name in ("writer", "featurizer")}
        stack.wait_until(lambda: stack.lag("binanceus:ETH-USDT", "raw", "featurizer") == 0, "featurizer is there")
        simulator = stack.simulate(
            "--symbols", *SYMBOLS, "--seed", str(seed),
            "--depth-rate", "100", "--depth-interval-ms", "0", "--trade-rate", "20",
        )  # fmt: skip
        services["ingestor"] = stack.start("ingestor")
        stack.wait_until(lambda: bool(simulator.status()["subscriptions"]), "the ingestor subscribes")
        kills = kill_at_random(stack, services, rng, 15.0)
        assert kills >= 8
        stack.wait_until(lambda: len(simulator.status()["subscriptions"]) == 6, "the ingestor subscribes again")
        # On a busy machine most of the 15 s go into starts.
        stack.wait_until(lambda: all(published(stack, market) > 600 for market in NAMES), "enough to judge by")
        stack.stop_in_order()
        markets = parse_config(stack.config).markets()
        sent = parse_sent(json.dumps(simulator.ledger()).encode(), markets)
    store = open_store(StoreSettings(backend="local", base_dir=stack.data))
    objects = objects_since(store, ["bronze"], started - timedelta(minutes=1))
    recording = read_recording(store, objects, [each.market for each in markets], started - timedelta(minutes=1))
    balances = reconcile(sent.feeds, recording.events, recording.gaps)
    for balance in balances:
        assert balance.reconciled, balance
        assert balance.recorded > balance.sent / 4, "most of it was recorded"
    for partition in PARTITIONS:
        assert check_sequence(stack.data, partition) > 500
        assert assert_silver_and_gold_follow_from_bronze(stack.data, partition)["silver/orderbook"] > 10
    run_all(stack.data, tmp_path / "batch", tmp_path / "state")
    rows = assert_same_tables(stack.data, tmp_path / "batch")
    assert rows["silver/trades"] > 100
    assert rows["gold/bars"] > 2


@asynccontextmanager
async def publisher(stack: Stack, params: FeatureConfig) -> AsyncIterator[tuple[MarketLog, LeaseKeeper]]:
    """Someone who publishes for BTC/USDT; the market's genesis is written, at the time of the made-up events."""
    client: Redis = connect(stack.valkey.url)
    log = MarketLog(client)
    await log.open_market(BTC)
    keepers = {
        role: LeaseKeeper(client, role, f"test-{role}", [BTC], timedelta(minutes=5), lambda: "token")
        for role in (Role.INGESTOR, Role.FEATURIZER)
    }
    for keeper in keepers.values():
        await keeper.renew()
    genesis = Genesis(START, f"{params.hash}-test", params.to_json())
    lease = keepers[Role.FEATURIZER].held[BTC]
    await log.add_genesis(lease, genesis.id, START, encode(genesis), row_schemas(params))
    await keepers[Role.FEATURIZER].leave()
    yield log, keepers[Role.INGESTOR]
    await client.aclose()


async def run_fixed_events(stack: Stack, events: list[tuple[int, bytes]], kills: random.Random | None) -> int:
    """Publishes the events over some seconds while writer and featurizer work, or are killed; how often they were."""
    params = params_for(parse_config(stack.config), BTC)
    async with publisher(stack, params) as (log, keeper):
        services = {name: stack.start(name) for name in ("writer", "featurizer")}
        work = asyncio.to_thread(kill_at_random, stack, services, kills, 8.0) if kills else _no_kills()
        killing = asyncio.create_task(work)
        for start in range(0, len(events), 50):
            await log.publish(keeper.held[BTC], start + 1, events[start : start + 50])
            await asyncio.sleep(0.08)
        count = await killing
    stack.wait_for_featurizer([BTC.name])
    stack.stop_in_order()
    return count


async def _no_kills() -> int:
    return 0


@pytest.mark.e2e
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [11, 12])
async def test_silver_and_gold_equal_the_run_without_kills(seed: int, tmp_path: Path) -> None:
    events = payloads(market_events(seed, 5000, rate_per_second=40))
    config = CONFIG | {"ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": ["BTC/USDT"]}}}}}
    with Stack(tmp_path / "calm", config) as calm:
        await run_fixed_events(calm, events, None)
    with Stack(tmp_path / "killed", config) as killed:
        assert await run_fixed_events(killed, events, random.Random(seed)) >= 4
    [partition, _] = PARTITIONS
    left, right = silver(calm.data, "orderbook", partition), silver(killed.data, "orderbook", partition)
    assert left.height > 100
    assert_frame_equal(left, right, rel_tol=1e-9)
    assert_frame_equal(bars(calm.data, partition), bars(killed.data, partition), rel_tol=1e-9)
    for table in ("orderbook", "trades", "control"):
        timing = ["generation", "stream_ms", "stream_seq"]
        assert_frame_equal(
            bronze(calm.data, table, partition).drop(timing), bronze(killed.data, table, partition).drop(timing)
        )
