"""Replicas come, go and die under load: markets move by their load, and no row is lost or double."""

import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from daedalus_common.broker import keys
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from support.offline import assert_silver_and_gold_follow_from_bronze, bronze
from support.stack import Stack

HEAVY = Market("binanceus", "BTC/USDT")
LIGHT = [Market("binanceus", f"{name}/USDT") for name in ("ETH", "SOL", "ADA", "XRP", "LTC")]
MARKETS = [HEAVY, *LIGHT]
CONFIG: dict[str, Any] = {
    "ccxt": {
        "exchanges": {
            "binanceus": {
                "channels": {
                    "watchOrderBook": [HEAVY.symbol],
                    "watchTrades": [market.symbol for market in MARKETS],
                }
            }
        }
    },
    "ingestion": {"flush_interval_seconds": 0.5, "reconnect_delay": 0.2},
    "features": {"bar_durations": [5, 60], "emit_interval": 0.5},
    "leases": {"ttl_seconds": 2.0, "renew_seconds": 0.5},
}


def owners(stack: Stack, role: Role) -> dict[str, set[Market]]:
    """The markets of each living owner."""
    found: dict[str, set[Market]] = {}
    with stack.client() as client:
        now_ms = client.time()[0] * 1000
        for market in MARKETS:
            owner, expires_ms = client.hmget(keys.lease(market, role), "owner", "expires_ms")
            if owner and int(expires_ms or 0) > now_ms:
                found.setdefault(owner.decode(), set()).add(market)
    return found


def runs_out_ms(stack: Stack, role: Role, name: str) -> int:
    """When the last of its leases ends; 0: it has none."""
    with stack.client() as client:
        found = [client.hmget(keys.lease(market, role), "owner", "expires_ms") for market in MARKETS]
    return max((int(expires or 0) for owner, expires in found if (owner or b"").decode() == name), default=0)


def server_ms(stack: Stack) -> int:
    with stack.client() as client:
        seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def load(stack: Stack, role: Role, market: Market) -> float:
    with stack.client() as client:
        return float(client.hget(keys.lease(market, role), "load") or 0)


def has_caught_up(stack: Stack, market: Market) -> bool:
    """All but what came in the last moment: a step waits for a row, and the heavy market has 120 events a second."""
    lag = stack.lag(market.name, "raw", "featurizer")
    return lag is not None and lag < 400


def seconds_until(stack: Stack, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> float:
    began = time.monotonic()
    stack.wait_until(condition, what, seconds)
    return time.monotonic() - began


def all_owned_by(stack: Stack, role: Role, *names: str) -> bool:
    found = owners(stack, role)
    return set(found) == set(names) and sum(map(len, found.values())) == len(MARKETS)


def check_everything_once(data: Path) -> dict[str, int]:
    """Every market's sequence is in Bronze without a hole, Silver and Gold are what follows from it; Silver rows."""
    rows: dict[str, int] = {}
    for market in MARKETS:
        tables = [name for name in ("orderbook", "trades", "control") if (data / "bronze" / "ccxt" / name).exists()]
        of_market = [t for t in tables if list((data / "bronze" / "ccxt" / t).glob(f"{market.partition}/**/*.parquet"))]
        seqs = pl.concat([bronze(data, name, market.partition)["seq"] for name in of_market]).sort()
        assert seqs.to_list() == list(range(1, len(seqs) + 1)), market.name
        found = assert_silver_and_gold_follow_from_bronze(data, market.partition)
        rows[market.name] = sum(number for table, number in found.items() if table.startswith("silver/"))
    return rows


def heavy_alone_and_the_light_ones_shared(shares: Collection[set[Market]]) -> bool:
    return {HEAVY} in shares and sorted(map(len, shares)) == [1, 2, 3]


def simulate(stack: Stack) -> None:
    """The light ones weigh enough to be shared again, should the third replica come after the second has its part."""
    stack.simulate(
        "--symbols", *(market.symbol for market in MARKETS), "--seed", "1",
        "--depth-rate", "100", "--depth-interval-ms", "0", "--trade-rate", "20",
    )  # fmt: skip


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_featurizers_grow_from_one_to_three_and_shrink_to_two_under_load(tmp_path: Path) -> None:
    with Stack(tmp_path, CONFIG | {"leases": {"ttl_seconds": 20.0, "renew_seconds": 0.5}}) as stack:
        simulate(stack)
        stack.start("writer")
        stack.start("featurizer", "1")
        stack.start("ingestor")
        stack.wait_until(lambda: load(stack, Role.FEATURIZER, HEAVY) > 60, "the heavy market's load is known")
        second, _ = stack.start("featurizer", "2"), stack.start("featurizer", "3")
        stack.wait_until(
            lambda: heavy_alone_and_the_light_ones_shared(owners(stack, Role.FEATURIZER).values()), "three share", 60.0
        )
        shares = owners(stack, Role.FEATURIZER)
        time.sleep(3.0)
        assert owners(stack, Role.FEATURIZER) == shares, "they stay where they are"
        assert second.stop() == 0
        two = ("featurizer-1", "featurizer-3")
        took = seconds_until(stack, lambda: all_owned_by(stack, Role.FEATURIZER, *two), "the other two have all")
        assert took < 10.0, "without waiting for the ttl"
        stack.wait_until(lambda: all(has_caught_up(stack, market) for market in MARKETS), "the lag recovers")
        time.sleep(2.0)
        stack.stop_in_order()
    rows = check_everything_once(stack.data)
    assert rows[HEAVY.name] > 20
    assert all(rows[market.name] > 5 for market in LIGHT)


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_two_writers_share_one_dies_one_sleeps_past_the_ttl_and_every_row_is_written_once(tmp_path: Path) -> None:
    with Stack(tmp_path, CONFIG) as stack:
        simulate(stack)
        stack.start("featurizer")
        first, second = stack.start("writer", "1"), stack.start("writer", "2")
        stack.start("ingestor")
        stack.wait_until(lambda: all_owned_by(stack, Role.WRITER, "writer-1", "writer-2"), "two share")
        time.sleep(2.0)
        first.kill()
        runs_out = runs_out_ms(stack, Role.WRITER, "writer-1")
        stack.wait_until(lambda: all_owned_by(stack, Role.WRITER, "writer-2"), "the other has all")
        assert server_ms(stack) >= runs_out, "after the ttl of 2 s"
        third = stack.start("writer", "3")
        stack.wait_until(lambda: all_owned_by(stack, Role.WRITER, "writer-2", "writer-3"), "two share again")
        second.usage.send_signal(signal.SIGSTOP)
        stack.wait_until(lambda: all_owned_by(stack, Role.WRITER, "writer-3"), "the sleeper's markets are taken")
        second.usage.send_signal(signal.SIGCONT)
        stack.wait_until(lambda: all_owned_by(stack, Role.WRITER, "writer-2", "writer-3"), "it shares again")
        assert third.running
        time.sleep(2.0)
        stack.stop_in_order()
    assert check_everything_once(stack.data)[HEAVY.name] > 20
