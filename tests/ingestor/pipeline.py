"""The ingestor as a process of its own, and what is in the streams afterwards."""

import asyncio
import contextlib
import signal
import sys
import urllib.error
import urllib.request
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import redis
import yaml

from daedalus_common.entries import decode
from daedalus_common.events import Book, Event, Gap, Trade
from simulator.harness import Simulator

Numbered = tuple[int, Event]
"""(seq, event)"""


def configuration(redis_url: str, api_url: str, channels: dict[str, list[str]], **sections: Any) -> dict[str, Any]:
    """One exchange, quick to try again. A third of the time that a connection may stand still is what a pong may take:
    much less of it, and on a busy machine a connection ends that nobody has touched."""
    ingestion = {"reconnect_delay": 0.2, "max_reconnect_delay": 1.0, "stale_after_seconds": 15.0}
    exchange = {"api_url": api_url, "channels": channels, **sections.pop("exchange", {})}
    return {
        "redis": {"url": redis_url},
        "log_format": "json",
        "ccxt": {"exchanges": {"binanceus": exchange}},
        "ingestion": {**ingestion, **sections.pop("ingestion", {})},
        "leases": {"ttl_seconds": 4.0, "renew_seconds": 0.5},
        **sections,
    }


@dataclass
class Ingestor:
    """A running one. `log` is its standard error, one JSON object a line."""

    process: asyncio.subprocess.Process
    log_file: Path

    def log(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_bytes().splitlines()
        return [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event and fields.items() <= line.items()]

    @property
    def url(self) -> str:
        return str(self.logged("started")[0]["telemetry"])

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(_get, self.url + path)

    async def answers(self, path: str, status: int, text: str = "", seconds: float = 30) -> str:
        """The body, once it has this text and this status: readiness is told once a second."""
        async with asyncio.timeout(seconds):
            while True:
                found, body = await self.get(path)
                if found == status and text in body:
                    return body
                await asyncio.sleep(0.1)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        _, text = await self.get("/metrics")
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(text in line for text in wanted))

    async def stop(self, seconds: float = 20) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), seconds)


@contextlib.asynccontextmanager
async def ingestor(folder: Path, config: dict[str, Any], name: str = "ingestor-1") -> AsyncIterator[Ingestor]:
    """Started, its telemetry served; killed at the end where the test has not stopped it."""
    config_file, log_file = _files(folder, config, name)
    command = (sys.executable, "-m", "daedalus_ingestor", "--config", str(config_file), "--name", name)
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, "--telemetry-port", "0", stderr=log)
    running = Ingestor(process, log_file)
    try:
        await until(lambda: bool(running.logged("started")) or process.returncode is not None)
        assert running.logged("started"), log_file.read_text()
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _files(folder: Path, config: dict[str, Any], name: str) -> tuple[Path, Path]:
    """The configuration, written, and the log to be."""
    folder.mkdir(exist_ok=True)
    config_file = folder / f"{name}.yaml"
    spool = {"spool_dir": str(folder / "spool"), **config["ingestion"]}
    config_file.write_text(yaml.safe_dump({**config, "ingestion": spool}))
    return config_file, folder / f"{name}.log"


async def until(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the condition is another process's
            await asyncio.sleep(0.02)


def stream(redis_url: str, market: str = "binanceus:BTC-USDT") -> list[Event]:
    """Everything in the market's raw stream; its seq counts from 1 without a hole, its ts never falls."""
    with redis.Redis.from_url(redis_url) as client:
        entries = client.xrange(f"{{{market}}}:raw")
    assert [int(fields[b"s"]) for _, fields in entries] == list(range(1, len(entries) + 1))
    times = [int(fields[b"t"]) for _, fields in entries]
    assert times == sorted(times)
    return [decode(fields[b"e"]) for _, fields in entries]


def ends_are_in(events: Sequence[Event], sent: dict[str, Any]) -> bool:
    """Whether the last trade and the last depth update of the ledger's channels are among the events."""
    (*_, trade), (*_, (_, update)) = sent["trade"]["ids"], sent["depth"]["ids"]
    trades = any(isinstance(event, Trade) and event.id == str(trade) for event in reversed(events))
    return trades and any(isinstance(event, Book) and (event.nonce or 0) >= update for event in reversed(events))


async def sent_to_the_end(sim: Simulator, redis_url: str, symbol: str = "BTC/USDT") -> dict[str, Any]:
    """The ledger's channels of a market, of which nothing more is sent, once the last of it is in the stream.

    Should it never come, the checks of what is recorded tell what is missing.
    """
    await sim.control("pause")
    sent: dict[str, Any] = (await sim.get("/control/ledger"))["symbols"][symbol]["channels"]
    with contextlib.suppress(TimeoutError):
        await until(lambda: ends_are_in(stream(redis_url, f"binanceus:{symbol.replace('/', '-')}"), sent), 30)
    return sent


def length(redis_url: str, market: str = "binanceus:BTC-USDT") -> int:
    with redis.Redis.from_url(redis_url) as client:
        return int(client.xlen(f"{{{market}}}:raw"))


def gaps(events: Sequence[Event], channel: str) -> list[Gap]:
    return [event for event in events if isinstance(event, Gap) and event.channel == channel]


def reasons(events: Sequence[Event], channel: str) -> list[str]:
    return [gap.reason for gap in gaps(events, channel)]


def check_books(events: Sequence[Event], sent: Sequence[int], *, to_the_end: bool = True) -> int:
    """Every depth update that was sent is recorded once and in order, but for what gaps declare; returns how many.

    `sent` are the last update ids of the frames. The first book after a gap is the snapshot with what came while it
    was fetched: it stands for every update up to its nonce.
    """
    place: int | None = None
    recorded = 0
    for event in events:
        if isinstance(event, Gap) and event.channel == "orderbook":
            place = None
        elif isinstance(event, Book):
            assert event.nonce is not None
            if place is None:
                place = bisect_right(sent, event.nonce) - 1
            else:
                place += 1
                assert event.nonce == sent[place], f"after {sent[place - 1]} came {event.nonce}, not {sent[place]}"
            recorded += 1
    if to_the_end:
        assert place == len(sent) - 1, f"recorded to {place}, sent {len(sent)}"
    return recorded


def check_trades(events: Sequence[Event], sent: Sequence[int], *, to_the_end: bool = True) -> int:
    """Every trade that was sent is recorded once and in order, but for what gaps declare; returns how many."""
    index = {str(id_): number for number, id_ in enumerate(sent)}
    place, gap_open, recorded = -1, False, 0
    for event in events:
        if isinstance(event, Gap) and event.channel == "trades":
            gap_open = True
        elif isinstance(event, Trade):
            found = index[event.id]
            assert found == place + 1 or (gap_open and found > place), f"trade {event.id} after number {place}"
            place, gap_open = found, False
            recorded += 1
    if to_the_end:
        assert place == len(sent) - 1, f"recorded to {place}, sent {len(sent)}"
    return recorded


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
