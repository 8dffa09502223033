"""The writer's own consumer group was taken away and is made again, from the oldest entry on: no row is double."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.errors import Conflict
from daedalus_common.broker.market_log import BEGINNING, Cursor, MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from support.market_events import market_events, payloads
from support.offline import bronze
from support.writers import build_writer, publish, running, until, until_written

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]
KEPT = timedelta(minutes=10)
TABLES = ("orderbook", "trades", "control")


def seqs(folder: Path) -> list[int]:
    return sorted(seq for table in TABLES for seq in bronze(folder, table)["seq"].to_list())


async def is_written_anew(market_log: MarketLog) -> bool:
    """The server cannot tell the lag of a group that was made behind entries."""
    try:
        cursor = await market_log.cursor(BTC, keys.RAW, "writer")
    except Conflict:
        return False
    return cursor.id != BEGINNING and not await market_log.read(BTC, keys.RAW, cursor.id, 1)


@pytest.mark.parametrize("trimmed", [False, True], ids=["kept", "trimmed"])
async def test_entries_that_are_stored_are_not_stored_again_and_nothing_is_declared(
    trimmed: bool, client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    lease, events = await lease_of(Role.INGESTOR), payloads(market_events(21, 400))
    await publish(market_log, lease, events[:300])
    async with running(build_writer(client, disk, [BTC], keep_raw=KEPT)) as task:
        await until_written(task, market_log, BTC)
    assert await client.xgroup_destroy(keys.stream(BTC, keys.RAW), "writer")
    if trimmed:
        await client.xtrim(keys.stream(BTC, keys.RAW), maxlen=0, approximate=False)
    await publish(market_log, lease, events[300:], first=301)
    async with running(build_writer(client, disk, [BTC], keep_raw=KEPT)) as task:
        await until(partial(is_written_anew, market_log), task)
    assert seqs(folder) == list(range(1, 401))
    assert "server_lost" not in bronze(folder, "control")["reason"]


class Harmed(MarketLog):
    """Once, `harm` comes between the opening of the stream raw and the look at its cursor."""

    def __init__(self, client: Redis, harm: Callable[[], Awaitable[object]]) -> None:
        super().__init__(client)
        self._harm = harm
        self.is_harmed = False

    async def came(self) -> bool:
        return self.is_harmed

    async def cursor(self, market: Market, stream: str, group: str) -> Cursor:
        if stream == keys.RAW and not self.is_harmed:
            self.is_harmed = True
            await self._harm()
        return await super().cursor(market, stream, group)


@pytest.mark.parametrize("what", ["the stream", "the group"])
async def test_what_is_taken_away_while_it_is_opened_is_opened_again(
    what: str, client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    """Neither does the writer ask for ever for a cursor that nobody makes, nor does it end."""
    key = keys.stream(BTC, keys.RAW)
    harmed = Harmed(
        client, lambda: client.delete(key) if what == "the stream" else client.xgroup_destroy(key, "writer")
    )
    async with running(build_writer(client, disk, [BTC], market_log=harmed)) as task:
        await until(harmed.came, task)
        await market_log.publish(await lease_of(Role.INGESTOR), 1, payloads(market_events(22, 50)))
        await until(partial(is_written_anew, market_log), task)
    assert seqs(folder) == list(range(1, 51))
