"""Ingestors of one machine share the bound of their spool, and what leaves the disk makes room."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daedalus_ingestor.spool import Spool
from daedalus_ingestor.spool_files import MarketFiles
from daedalus_ingestor.spool_records import Record
from support.spooling import MARKET, OTHER

MAX_BYTES = 2_000_000
PAYLOAD = bytes(10_000)


@asynccontextmanager
async def running(spool: Spool) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(spool.run(stop))
    yield
    stop.set()
    await task


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the condition is another's
            await asyncio.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def test_two_ingestors_together_stay_within_the_bound(folder: Path) -> None:
    first, second = (Spool(folder, MAX_BYTES, fsync=False) for _ in range(2))
    ours, theirs = await first.open(MARKET, "log"), await second.open(OTHER, "log")
    async with running(first), running(second):
        while ours.has_room(PAYLOAD):
            ours.append(1, PAYLOAD)
        await until(lambda: not theirs.has_room(PAYLOAD))
        assert theirs.depth == 0
    await first.close(MARKET)
    await second.close(OTHER)
    assert 1_900_000 < Spool(folder, MAX_BYTES).size_bytes <= MAX_BYTES + 10_000


async def test_what_was_sent_as_late_makes_room(folder: Path) -> None:
    late = folder / f"{MARKET.name}@log.late-1"
    files = MarketFiles(late, MARKET.name, 10 * MAX_BYTES, fsync=False)
    files.write([Record(i, 1, i + 1, i + 1, PAYLOAD) for i in range(MAX_BYTES // len(PAYLOAD))])
    files.close()
    spool = Spool(folder, MAX_BYTES, fsync=False)
    market = await spool.open(MARKET, "log")
    assert not market.has_room(PAYLOAD)
    async with running(spool):
        shutil.rmtree(late)
        await until(lambda: market.has_room(PAYLOAD))
