"""Whatever Redis suffers from, nothing captured is lost within the spool's bound; past it, drops are declared.

Real processes: an ingestor on a simulated exchange, its server, and disks that can be full.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from daedalus_common.events import Book, Gap, Trade
from faults.tools.disk import FaultyDisk
from ingestor.pipeline import (
    Ingestor,
    check_books,
    check_trades,
    configuration,
    gaps,
    ingestor,
    reasons,
    sent_to_the_end,
    stream,
    until,
)
from simulator.harness import Simulator, simulator_process
from support.valkey import ValkeyServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

BTC = "BTC/USDT"
CHANNELS = {"watchOrderBook": [BTC], "watchTrades": [BTC]}


@dataclass
class Server:
    """A server and what it can suffer from; its append-only file is on a disk of its own where that is possible."""

    valkey: ValkeyServer
    disk: FaultyDisk | None

    @property
    def url(self) -> str:
        return self.valkey.url

    def suffer(self, trouble: str) -> None:
        if trouble == "down":
            self.valkey.kill()
        elif trouble == "stopped":
            self.valkey.pause()
        elif trouble == "maxmemory":
            self._set("maxmemory", "1mb")
        elif self.disk is None:
            pytest.skip(FaultyDisk.missing() or "no disk")
        else:
            self.disk.full()

    def recover(self, trouble: str) -> None:
        if trouble == "down":
            self.valkey.start()
        elif trouble == "stopped":
            self.valkey.resume()
        elif trouble == "maxmemory":
            self._set("maxmemory", "0")
        elif self.disk is not None:
            self.disk.heal()

    def _set(self, name: str, value: str) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.config_set(name, value)


TROUBLES = ["down", "stopped", "maxmemory", "disk full"]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with simulator_process("--symbols", BTC, "--depth-rate", "100", "--trade-rate", "50") as running:
        yield running


@pytest.fixture
async def busy_sim() -> AsyncIterator[Simulator]:
    async with simulator_process("--symbols", BTC, "--depth-rate", "300", "--trade-rate", "300") as running:
        yield running


@contextmanager
def disk_at(folder: Path, size_mb: int) -> Iterator[FaultyDisk | None]:
    if FaultyDisk.missing() is not None:
        yield None
        return
    with FaultyDisk(folder, size_mb) as disk:
        yield disk


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with disk_at(tmp_path / "aof", 64) as disk:
        options = () if disk is None else ("--dir", str(disk.folder))
        with ValkeyServer(tmp_path / "valkey", options) as valkey:
            yield Server(valkey, disk)


@pytest.fixture
def spool_disk(tmp_path: Path) -> Iterator[FaultyDisk]:
    missing = FaultyDisk.missing()
    if missing is not None:
        pytest.skip(missing)
    with FaultyDisk(tmp_path / "spool", 16) as disk:
        yield disk


def spooling(server: Server, sim: Simulator, **ingestion: Any) -> dict[str, Any]:
    # Patient: a machine under load must not lose its connection to the exchange, which is another fault.
    config = configuration(server.url, sim.url, CHANNELS, ingestion={"queue_maxsize": 100, **ingestion})
    config["redis"]["socket_timeout_seconds"] = 1.0
    return config


def recorded(server: Server, kind: type) -> int:
    return sum(isinstance(event, kind) for event in stream(server.url))


async def goes_on(server: Server, books: int = 10, trades: int = 10) -> None:
    had_books, had_trades = recorded(server, Book), recorded(server, Trade)
    await until(lambda: recorded(server, Book) >= had_books + books and recorded(server, Trade) >= had_trades + trades)


async def metric_reaches(running: Ingestor, name: str, value: float) -> None:
    async with asyncio.timeout(40):
        while await running.metric(f"daedalus_ingestor_{name}") < value:  # noqa: ASYNC110  it is another process's
            await asyncio.sleep(0.1)


async def test_a_full_disk_of_the_server_loses_nothing(server, tmp_path, sim):
    async with ingestor(tmp_path, spooling(server, sim)) as running:
        await goes_on(server)
        server.suffer("disk full")
        await metric_reaches(running, "spool_events", 200)
        assert running.logged("Redis did not take a batch, trying again")
        server.recover("disk full")
        await goes_on(server, 20, 50)
        ledger = await sent_to_the_end(sim, server.url)
        assert await running.metric("daedalus_ingestor_dropped_events_total") == 0
        assert await running.stop() == 0
    events = stream(server.url)
    assert check_trades(events, ledger["trade"]["ids"]) == len(ledger["trade"]["ids"])
    check_books(events, [last for _, last in ledger["depth"]["ids"]])
    assert {*reasons(events, "trades"), *reasons(events, "orderbook")} == {"start"}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_kill_during_the_trouble_loses_no_more_than_memory_had(server, tmp_path, sim, trouble):
    config = spooling(server, sim)
    async with ingestor(tmp_path, config, "one") as first:
        await goes_on(server)
        server.suffer(trouble)
        await metric_reaches(first, "spool_events", 200)
        first.process.kill()
        await first.process.wait()
    server.recover(trouble)
    async with ingestor(tmp_path, config, "two") as second:
        await until(lambda: "takeover" in reasons(stream(server.url), "trades"))
        await goes_on(server)
        assert await second.stop() == 0
    events = stream(server.url)
    # The server of the fault "down" was killed too: it may have lost its last second, and says so.
    allowed = {"spool_lost", "server_lost"} if trouble == "down" else {"spool_lost"}
    declared = gaps(events, "control")
    assert {gap.reason for gap in declared} <= allowed
    assert sum(gap.lost or 0 for gap in declared if gap.reason == "spool_lost") <= 150, "the queue holds 100"
    assert reasons(events, "trades") == reasons(events, "orderbook") == ["start", "takeover"]
    for ids in (trade_ids(events), book_ids(events)):
        assert ids == sorted(set(ids))
    assert list((tmp_path / "spool").rglob("*.spool")) == []


def trade_ids(events: list[Any]) -> list[int]:
    return [int(event.id) for event in events if isinstance(event, Trade)]


def book_ids(events: list[Any]) -> list[int]:
    return [event.nonce or 0 for event in events if isinstance(event, Book)]


def stops(server: Server) -> tuple[Callable[[], None], Callable[[], None]]:
    return server.valkey.pause, server.valkey.resume


def pauses(server: Server) -> tuple[Callable[[], None], Callable[[], None]]:
    def pause() -> None:
        with redis.Redis.from_url(server.url) as client:
            client.client_pause(900, all=False)

    return pause, lambda: None


@pytest.mark.parametrize("bursts", [stops, pauses])
async def test_a_server_that_is_slow_in_bursts_loses_nothing(server, tmp_path, busy_sim, bursts):
    """Half of the time it answers nobody, or no writes."""
    begin, end = bursts(server)
    async with ingestor(tmp_path, spooling(server, busy_sim)) as running:
        await goes_on(server)
        for _ in range(4):
            begin()
            await asyncio.sleep(0.9)
            end()
            await asyncio.sleep(0.3)
        await goes_on(server)
        ledger = await sent_to_the_end(busy_sim, server.url)
        assert await running.metric("daedalus_ingestor_spooled_events_total") > 0
        assert await running.metric("daedalus_ingestor_dropped_events_total") == 0
        assert await running.stop() == 0
    events = stream(server.url)
    assert check_trades(events, ledger["trade"]["ids"]) == len(ledger["trade"]["ids"])
    check_books(events, [last for _, last in ledger["depth"]["ids"]])
    assert {*reasons(events, "trades"), *reasons(events, "orderbook")} == {"start"}


@pytest.mark.parametrize("trouble", ["stopped", "maxmemory"])
async def test_past_the_bound_of_the_spool_drops_are_counted_and_declared(server, tmp_path, busy_sim, trouble):
    """An hour's backlog in seconds: the spool is small."""
    async with ingestor(tmp_path, spooling(server, busy_sim, spool_max_mb=1)) as running:
        await goes_on(server)
        server.suffer(trouble)
        await metric_reaches(running, "dropped_events_total", 20)
        assert await running.metric("daedalus_ingestor_spool_bytes") < 1.2 * 2**20
        server.recover(trouble)
        await until(lambda: "overflow" in reasons(stream(server.url), "trades"))
        await goes_on(server)
        ledger = await sent_to_the_end(busy_sim, server.url)
        dropped = await running.metric("daedalus_ingestor_dropped_events_total")
        assert await running.stop() == 0
    events = stream(server.url)
    overflows = [event for event in events if isinstance(event, Gap) and event.reason == "overflow"]
    assert sum(gap.lost or 0 for gap in overflows) == dropped
    trades = check_trades(events, ledger["trade"]["ids"])
    assert trades + sum(gap.lost or 0 for gap in gaps(events, "trades")) == len(ledger["trade"]["ids"])
    check_books(events, [last for _, last in ledger["depth"]["ids"]])


async def test_a_spool_whose_disk_is_full_is_named_by_readiness_until_it_has_room(server, tmp_path, sim, spool_disk):
    async with ingestor(tmp_path, spooling(server, sim)) as running:
        await goes_on(server)
        spool_disk.full()
        server.suffer("stopped")
        await metric_reaches(running, "spool_failures_total", 1)
        body = await running.answers("/readyz", 503, "cannot be written (No space left on device)")
        assert "set ingestion.spool_dir" in body
        await metric_reaches(running, "dropped_events_total", 1)
        spool_disk.heal()
        server.recover("stopped")
        await until(lambda: bool(running.logged("the spool can be written again")))
        await goes_on(server)
        ledger = await sent_to_the_end(sim, server.url)
        await running.answers("/readyz", 200)
        assert await running.stop() == 0
    events = stream(server.url)
    trades = check_trades(events, ledger["trade"]["ids"])
    assert trades + sum(gap.lost or 0 for gap in gaps(events, "trades")) == len(ledger["trade"]["ids"])


@pytest.mark.parametrize(
    ("fault", "reason"), [("full", "No space left on device"), ("read_only", "Read-only file system")]
)
async def test_a_disk_that_takes_nothing_at_start_is_told_and_does_not_keep_from_recording(
    server, tmp_path, sim, spool_disk, fault, reason
):
    getattr(spool_disk, fault)()
    async with ingestor(tmp_path, spooling(server, sim)) as running:
        await running.answers("/readyz", 503, reason)
        await goes_on(server)
        assert await running.stop() == 0


async def test_what_a_fenced_ingestor_had_captured_becomes_late(server, tmp_path, sim):
    """Frozen for longer than its lease, on a machine of its own, it wakes up with events that nobody takes."""
    config = spooling(server, sim)
    async with ingestor(tmp_path / "machine-a", config, "one") as one:
        await goes_on(server)
        async with ingestor(tmp_path / "machine-b", config, "two") as two:
            one.process.send_signal(signal.SIGSTOP)
            await until(lambda: "takeover" in reasons(stream(server.url), "trades"))
            await goes_on(server)
            one.process.send_signal(signal.SIGCONT)
            await until(lambda: bool(one.logged("late events sent, outside the sequence")), 60)
            assert await one.stop() == 0
            assert await two.stop() == 0
    events = stream(server.url)
    for ids in (trade_ids(events), book_ids(events)):
        assert ids == sorted(set(ids)), "nothing of it is in the sequence"
    with redis.Redis.from_url(server.url) as client:
        late = client.xrange("{binanceus:BTC-USDT}:late")
    sent = one.logged("late events sent, outside the sequence")
    assert len(late) == sum(each["events"] for each in sent) > 0
    assert {int(fields[b"g"]) for _, fields in late} == {one.logged("feeding market")[0]["epoch"]}
    numbers = sorted(int(fields[b"s"]) for _, fields in late)  # those that were in memory have a folder of their own
    assert numbers == list(range(numbers[0], numbers[0] + len(late))), "all that it had, each once"
    assert list((tmp_path / "machine-a" / "spool").rglob("*.spool")) == []
