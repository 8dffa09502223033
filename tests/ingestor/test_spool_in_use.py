"""A market whose spool folder another process still has: it is fed without, until the folder is free."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from daedalus_common.broker import keys
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_ingestor.spool_files import MarketFiles
from daedalus_ingestor.spool_folders import lock
from daedalus_ingestor.spool_records import Record
from ingestor.pipeline import (
    Ingestor,
    check_books,
    check_trades,
    configuration,
    ingestor,
    length,
    reasons,
    sent_to_the_end,
    stream,
    until,
)
from simulator.harness import Simulator, simulator_process
from support.valkey import ValkeyServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

BTC = Market("binanceus", "BTC/USDT")
CHANNELS = {"watchOrderBook": [BTC.symbol], "watchTrades": [BTC.symbol]}
LOG_ID = "the-log"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with simulator_process("--symbols", BTC.symbol, "--depth-rate", "100", "--trade-rate", "50") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        with redis.Redis.from_url(server.url) as client:
            client.hset(keys.sequence(BTC), "log", LOG_ID)
        yield server


def configured(server: ValkeyServer, sim: Simulator) -> dict[str, Any]:
    config = configuration(server.url, sim.url, CHANNELS, ingestion={"queue_maxsize": 100})
    config["redis"]["socket_timeout_seconds"] = 1.0
    return config


@contextmanager
def former_owner(spool: Path) -> Iterator[Path]:
    """Has the market's folder, with an event in it that it has not published."""
    folder = spool / f"{BTC.name}@{LOG_ID}"
    folder.mkdir(parents=True)
    files = MarketFiles(folder, BTC.name, 10**6)
    files.write([Record(0, 0, 1, 0, b"an event of before")])
    files.close()
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder


async def spooled(running: Ingestor, count: int) -> None:
    while await running.metric("daedalus_ingestor_spool_events") < count:  # noqa: ASYNC110  it is another process's
        await asyncio.sleep(0.1)


async def test_it_gets_its_spool_as_soon_as_the_former_owner_lets_go(server, tmp_path, sim):
    with ExitStack() as former:
        folder = former.enter_context(former_owner(tmp_path / "spool"))
        async with ingestor(tmp_path, configured(server, sim)) as running:
            await until(lambda: bool(running.logged("feeding market")))
            assert running.logged("market has no spool for now")
            await until(lambda: length(server.url) > 50)
            assert not running.logged("market has a spool now")
            former.close()
            await until(lambda: bool(running.logged("market has a spool now")))
            assert list(folder.parent.glob("*.late-*")), "what the former owner left is recorded as late"
            server.pause()
            await spooled(running, 200)
            server.resume()
            recorded = length(server.url)
            await until(lambda: length(server.url) > recorded + 300)
            ledger = await sent_to_the_end(sim, server.url)
            assert await running.stop() == 0
    events = stream(server.url)
    assert check_trades(events, ledger["trade"]["ids"]) == len(ledger["trade"]["ids"])
    check_books(events, [last for _, last in ledger["depth"]["ids"]])
    assert {*reasons(events, "trades"), *reasons(events, "orderbook")} == {"start"}


async def test_a_market_that_could_not_be_opened_leaves_its_folder_to_others(server, tmp_path, sim):
    folder = tmp_path / "spool" / f"{BTC.name}@{LOG_ID}"

    def is_free() -> bool:
        try:
            os.close(lock(folder))
        except BlockingIOError:
            return False
        return True

    with redis.Redis.from_url(server.url) as client:
        client.acl_setuser("default", enabled=True, nopass=True, commands=["-xrevrange"])  # what was published last
        async with ingestor(tmp_path, configured(server, sim)) as running:
            await until(lambda: bool(running.logged("market not opened, trying again")))
            await until(is_free)
            client.acl_setuser("default", enabled=True, nopass=True, commands=["+xrevrange"])
            await until(lambda: bool(running.logged("feeding market")))
            assert await running.stop() == 0


async def test_a_lease_that_goes_while_the_market_is_opened_leaves_it_unfed(server, tmp_path, sim):
    lease, config = keys.lease(BTC, Role.INGESTOR), configured(server, sim)
    config["leases"]["renew_seconds"] = 0.1
    with former_owner(tmp_path / "spool"), redis.Redis.from_url(server.url) as client:
        async with ingestor(tmp_path, config) as running:
            await until(lambda: bool(running.logged("lease taken")))
            # Opening takes two seconds, as the folder is another's; a lease is renewed ten times a second.
            client.hset(lease, mapping={"owner": "ingestor-2", "token": "another", "expires_ms": 2**52})
            client.hincrby(lease, "epoch", 1)
            await until(lambda: bool(running.logged("lease gone before the market was fed")))
            assert not running.logged("feeding market")
            assert await running.stop() == 0
    assert length(server.url) == 0
