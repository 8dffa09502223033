"""Every way in which a line to Redis can fail, under all services at work: none ends, and nothing is lost or double."""

import json
import os
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from daedalus.summary.reconcile import reconcile
from daedalus.summary.recording import objects_since, read_recording
from daedalus.summary.sent import parse_sent
from daedalus_common.config import parse_config
from daedalus_common.stores import StoreSettings, open_store
from faults.tools.tcp_proxy import TcpProxy
from support.offline import assert_silver_and_gold_follow_from_bronze, bronze
from support.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SECONDS = float(os.environ.get("BAD_LINE_SECONDS", "3"))
"""Of each fault."""
PARTITION = "exchange=binanceus/symbol=BTC-USDT"
CONFIG = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": ["BTC/USDT"], "watchTrades": ["BTC/USDT"]}}}},
    "ingestion": {"flush_interval_seconds": 0.5},
    "leases": {"ttl_seconds": 30.0, "renew_seconds": 0.5},
}
FAULTS = ("reset", "truncate", "truncate_requests", "drop_replies", "half_open")


def harm(proxy: TcpProxy, fault: str, chance: random.Random) -> None:
    """One fault, and the end of it, again and again."""
    until = time.monotonic() + SECONDS
    hits = proxy.hits
    while time.monotonic() < until:
        if fault.startswith("truncate"):
            getattr(proxy, fault)(chance.randrange(1, 30_000))
        else:
            getattr(proxy, fault)()
        time.sleep(chance.uniform(0.0, 0.3))
        proxy.heal()
        time.sleep(chance.uniform(0.0, 0.5))
    assert proxy.hits > hits, f"{fault} touched nothing"


def test_no_service_ends_and_nothing_is_lost_or_double(tmp_path: Path) -> None:
    started = datetime.now(UTC) - timedelta(minutes=1)
    with Stack(tmp_path, CONFIG) as stack, TcpProxy(stack.valkey.port, seed=1) as proxy:
        line = {
            "DAEDALUS__REDIS__URL": f"redis://127.0.0.1:{proxy.port}/0",
            "DAEDALUS__REDIS__SOCKET_TIMEOUT_SECONDS": "0.5",
        }
        services = [stack.start(name, env=line) for name in ("writer", "featurizer")]
        rates = ("--depth-rate", "100", "--depth-interval-ms", "0", "--trade-rate", "50")
        simulator = stack.simulate("--symbols", "BTC/USDT", *rates)
        services.append(stack.start("ingestor", env=line))
        stack.wait_until(lambda: any((stack.data / "silver").rglob("*.parquet")), "Parquet", 60)
        for fault in FAULTS:
            harm(proxy, fault, random.Random(fault))
            ended = [service.name for service in services if not service.running]
            assert not ended, f"{fault} ended {ended}\n{stack.logs()}"
        stack.stop_in_order()
        markets = parse_config(stack.config).markets()
        sent = parse_sent(json.dumps(simulator.ledger()).encode(), markets)
    store = open_store(StoreSettings(backend="local", base_dir=stack.data))
    recording = read_recording(store, objects_since(store, ["bronze"], started), [m.market for m in markets], started)
    for balance in reconcile(sent.feeds, recording.events, recording.gaps):
        assert balance.reconciled, balance
        assert balance.recorded > balance.sent * 0.9, "the spool and the queue take what Redis does not"
    tables = [bronze(stack.data, name, PARTITION) for name in ("orderbook", "trades", "control")]
    seqs = pl.concat([table["seq"] for table in tables]).sort()
    assert seqs.to_list() == list(range(1, len(seqs) + 1))
    assert {gap.reason for gaps in recording.gaps.values() for gap in gaps} == {"start"}
    assert assert_silver_and_gold_follow_from_bronze(stack.data, PARTITION)["silver/orderbook"] > 5
