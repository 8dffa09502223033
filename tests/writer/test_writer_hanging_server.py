"""A server that hangs does not keep a writer from its stop."""

import asyncio
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.valkey import ValkeyServer
from support.writers import build_writer, is_owned, until

MARKETS = [Market("binanceus", f"C{i}/USDT") for i in range(4)]
TIMEOUT_SECONDS = 0.5


async def test_a_stop_does_not_wait_for_every_look_at_every_stream(
    tmp_path: Path, disk: LocalDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 16 streams, two looks or more at each, one after the other."""
    monkeypatch.setattr("daedalus_writer.writer.LAG_EVERY_SECONDS", 0.05)
    with ValkeyServer(tmp_path / "valkey") as server:
        client = Redis.from_url(server.url, socket_timeout=TIMEOUT_SECONDS)
        stop = asyncio.Event()
        task = asyncio.create_task(build_writer(client, disk, MARKETS).run(stop))
        for market in MARKETS:
            await until(lambda market=market: is_owned(client, market), task)  # type: ignore[misc]
        await asyncio.sleep(0.5)
        server.pause()
        began = time.monotonic()
        stop.set()
        await asyncio.wait_for(task, 60)
        assert time.monotonic() - began < 12 * TIMEOUT_SECONDS
        server.resume()
        await client.aclose()
