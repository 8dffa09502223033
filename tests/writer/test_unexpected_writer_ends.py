"""What nobody expected ends the writer, for its supervisor to start it again: it never goes on half."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from daedalus_writer.group_watch import GroupWatch
from support.writers import build_writer

BTC = Market("binanceus", "BTC/USDT")


async def test_a_writer_that_looks_at_no_group_any_more_ends(
    client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(GroupWatch, "look", look)
    writer = build_writer(client, LocalDisk(tmp_path, fsync=False), [BTC])
    with pytest.raises(ValueError, match="a bug"):
        async with asyncio.timeout(20):
            await writer.run(asyncio.Event())
