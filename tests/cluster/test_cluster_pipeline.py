"""The whole pipeline on a cluster of three masters: as on one server, and while a slot or a master moves."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from daedalus.cli.main import app
from daedalus.summary.ledger import Balance
from daedalus.summary.reconcile import reconcile
from daedalus.summary.recording import objects_since, read_recording
from daedalus.summary.sent import parse_sent
from daedalus_common.config import parse_config
from daedalus_common.markets import Market
from daedalus_common.stores import StoreSettings, open_store
from support.cluster_stack import ClusterStack
from support.offline import assert_silver_and_gold_follow_from_bronze, bronze
from support.stack import Simulator

SYMBOLS = ["BTC/USDT", "ETH/USDT", "XRP/USDT", "ADA/USDT"]
MARKETS = [Market("binanceus", symbol) for symbol in SYMBOLS]
BTC, *_, ADA = MARKETS
CONFIG = {
    "ccxt": {
        "exchanges": {
            "binanceus": {"channels": {"watchOrderBook": SYMBOLS, "watchTrades": SYMBOLS, "watchTicker": SYMBOLS}}
        }
    },
    "ingestion": {"flush_interval_seconds": 0.5, "reconnect_delay": 0.2},
    "features": {"bar_durations": [5, 60], "emit_interval": 0.5},
    "leases": {"ttl_seconds": 4.0, "renew_seconds": 0.5},
}
SUBSCRIPTIONS = 3 * len(SYMBOLS)


def partition(market: Market) -> str:
    return f"exchange=binanceus/symbol={market.symbol.replace('/', '-')}"


def start_all(stack: ClusterStack, seed: int) -> Simulator:
    """Every service, and a simulated exchange that sends to each market; returns when all is subscribed."""
    for name in ("writer", "featurizer"):
        stack.start(name)
    stack.wait_for_featurizer([market.name for market in MARKETS])
    simulator = stack.simulate(
        "--symbols", *SYMBOLS, "--seed", str(seed),
        "--depth-rate", "50", "--depth-interval-ms", "0", "--trade-rate", "10",
    )  # fmt: skip
    stack.start("ingestor")
    stack.wait_until(lambda: len(simulator.status()["subscriptions"]) == SUBSCRIPTIONS, "the ingestor subscribes")
    return simulator


def published(stack: ClusterStack, market: Market) -> int:
    with stack.client() as client:
        return int(client.hget(f"{{{market.name}}}:sequence", "seq") or 0)


def wait_for_events(stack: ClusterStack, market: Market, count: int, seconds: float = 60) -> None:
    """Until the market has that many events more than now."""
    wanted = published(stack, market) + count
    stack.wait_until(lambda: published(stack, market) >= wanted, f"{count} more events of {market.name}", seconds)


def balances_of(stack: ClusterStack, simulator: Simulator, started: datetime) -> list[Balance]:
    markets = parse_config(stack.config).markets()
    sent = parse_sent(json.dumps(simulator.ledger()).encode(), markets)
    store = open_store(StoreSettings(backend="local", base_dir=stack.data))
    since = started - timedelta(minutes=1)
    recording = read_recording(store, objects_since(store, ["bronze"], since), [each.market for each in markets], since)
    return list(reconcile(sent.feeds, recording.events, recording.gaps))


def seqs(data: Path, market: Market) -> list[int]:
    tables = [bronze(data, name, partition(market))["seq"] for name in ("orderbook", "trades", "ticker", "control")]
    return pl.concat(tables).sort().to_list()


def daedalus(stack: ClusterStack, *arguments: str) -> Any:
    config = stack.folder / "operator.yaml"
    config.write_text(yaml.safe_dump(stack.config))
    result = CliRunner().invoke(app, [*arguments, "--config", str(config), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def assert_commands_see_every_market(stack: ClusterStack) -> None:
    leases = daedalus(stack, "leases")
    assert {(each["market"], each["role"]) for each in leases if each["owner"]} == {
        (market.name, role) for market in MARKETS for role in ("ingestor", "featurizer", "writer")
    }
    streams = daedalus(stack, "streams")
    assert {each["market"] for each in streams if each["stream"] == "raw"} == {market.name for market in MARKETS}
    assert all(each["length"] > 0 for each in streams if each["stream"] == "raw")
    assert daedalus(stack, "dlq", "list")["counts"] == []


def run(folder: Path, meanwhile: Callable[[ClusterStack], None], *, replicas: bool = False) -> list[Balance]:
    """A recording during which something happens; checks that Silver and Gold are what Bronze gives."""
    started = datetime.now(UTC)
    with ClusterStack(folder, CONFIG, replicas=replicas) as stack:
        assert {stack.cluster.master_of(market) for market in MARKETS} == set(stack.cluster.masters)
        simulator = start_all(stack, seed=1)
        meanwhile(stack)
        stack.stop_in_order()
        balances = balances_of(stack, simulator, started)
    for market in MARKETS:
        rows = assert_silver_and_gold_follow_from_bronze(folder / "data", partition(market))
        assert rows["silver/orderbook"] > 5
        assert rows["silver/trades"] > 20
    return balances


def assert_nothing_lost_or_double(data: Path, balances: list[Balance]) -> None:
    for market in MARKETS:
        numbers = seqs(data, market)
        assert len(numbers) > 250
        assert numbers == list(range(1, len(numbers) + 1))
    for balance in balances:
        assert balance.reconciled, balance
        assert balance.recorded > balance.sent / 2, "the rest is before the first snapshots"
    assert gaps_after_the_start(data) == []


def gaps_after_the_start(data: Path) -> list[tuple[str, str]]:
    """(market, reason)"""
    control = bronze(data, "control").filter(pl.col("kind").cast(pl.String) == "gap")
    later = control.filter(~pl.col("reason").is_in(["start", "subscribe"]))
    return later.select("symbol", "reason").rows()


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_four_markets_on_three_masters_are_recorded_and_computed_as_on_one_server(tmp_path: Path) -> None:
    def look(stack: ClusterStack) -> None:
        for market in MARKETS:
            wait_for_events(stack, market, 250)
        assert_commands_see_every_market(stack)

    balances = run(tmp_path, look)
    assert_nothing_lost_or_double(tmp_path / "data", balances)


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_a_slot_that_moves_to_another_master_and_back_loses_and_doubles_nothing(tmp_path: Path) -> None:
    def move(stack: ClusterStack) -> None:
        wait_for_events(stack, BTC, 100)
        home = stack.cluster.master_of(BTC)
        for target in (stack.cluster.master_of(ADA), home):
            assert stack.cluster.migrate(BTC, target, pause_seconds=0.1) >= 8
            assert stack.cluster.master_of(BTC) is target
            wait_for_events(stack, BTC, 200)
        assert_commands_see_every_market(stack)

    balances = run(tmp_path, move)
    assert_nothing_lost_or_double(tmp_path / "data", balances)


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_a_master_that_dies_stalls_its_own_markets_until_its_replica_takes_over(tmp_path: Path) -> None:
    def kill(stack: ClusterStack) -> None:
        for market in MARKETS:
            wait_for_events(stack, market, 50)
        dead = stack.cluster.master_of(BTC)
        replica = stack.cluster.replicas[stack.cluster.masters.index(dead)]
        healthy = next(market for market in MARKETS if stack.cluster.master_of(market) is not dead)
        stack.cluster.ask(replica, "CONFIG", "SET", "cluster-replica-no-failover", "yes")
        dead.kill()
        wait_for_events(stack, healthy, 20, seconds=15)
        stack.cluster.ask(replica, "CONFIG", "SET", "cluster-replica-no-failover", "no")
        stack.wait_until(lambda: stack.cluster.slots_of(replica) != set(), "the replica takes over")
        for market in MARKETS:
            wait_for_events(stack, market, 150)
        assert_commands_see_every_market(stack)

    balances = run(tmp_path, kill, replicas=True)
    for balance in balances:
        assert balance.reconciled, balance
    for market in MARKETS:
        numbers = seqs(tmp_path / "data", market)
        assert len(numbers) > 200
        assert len(set(numbers)) == len(numbers)
