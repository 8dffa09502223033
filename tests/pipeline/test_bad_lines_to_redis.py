"""Every way in which a line to Redis can fail, under all services at work: none ends, and nothing is lost or double."""

import os
import random
import time
from pathlib import Path

import pytest

from daedalus_common.events import Book, Gap, Trade
from daedalus_common.markets import Market
from faults.tools.tcp_proxy import TcpProxy
from support.bronze import read_events
from support.stack import Stack

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("BAD_LINE_SECONDS", "3"))
BTC = Market("binanceus", "BTC/USDT")
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
    with Stack(tmp_path, CONFIG) as stack, TcpProxy(stack.valkey.port, seed=1) as proxy:
        env = {
            "DAEDALUS__REDIS__URL": f"redis://127.0.0.1:{proxy.port}/0",
            "DAEDALUS__REDIS__SOCKET_TIMEOUT_SECONDS": "0.5",
        }
        services = [stack.start(name, env=env) for name in ("writer", "featurizer")]
        simulator = stack.simulate("--symbols", "BTC/USDT", "--depth-rate", "100", "--trade-rate", "50")
        services.append(stack.start("ingestor", env=env))
        stack.wait_until(lambda: any((stack.data / "silver").rglob("*.parquet")), "Parquet", 60)
        for fault in FAULTS:
            harm(proxy, fault, random.Random(fault))
            ended = [service.name for service in services if not service.running]
            assert not ended, f"{fault} ended {ended}\n{stack.logs()}"
        stack.stop_in_order()
        sent = simulator.ledger()
        print(sent.keys() if isinstance(sent, dict) else sent)
        print(stack.logs(5))
