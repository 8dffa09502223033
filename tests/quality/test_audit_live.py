"""The audit beside a pipeline: what Redis holds is no loss, what it says was stored must be there."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from daedalus.etl.filters import FilterSpec
from daedalus.quality.audit import Stores, audit_market
from daedalus.quality.waiting import read_waiting
from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.events import Gap
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.stores import CreateResult, LocalDisk
from support.lake import objects
from support.market_events import market_events, payloads
from support.writers import build_writer, publish, running, until, until_written

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]
Audit = Callable[..., Awaitable[Any]]


class Crash(Exception):
    """The process ends here."""


class DyingDisk(LocalDisk):
    """The real disk, until the process dies after the first create."""

    def create(self, key: str, data: bytes | memoryview, metadata: Mapping[str, str]) -> CreateResult:
        super().create(key, data, metadata)
        raise Crash


async def written(client: Redis, disk: LocalDisk, market_log: MarketLog) -> None:
    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC)


async def test_what_waits_in_redis_is_no_loss(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, audit: Audit
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, payloads(market_events(1, 600)))
    await written(client, disk, market_log)
    await publish(market_log, lease, payloads(market_events(2, 50)), 601)
    market, report = await audit()
    assert (market["published"], market["stored"], market["waiting"]) == (650, 600, 50)
    assert report["reconciled"]
    assert market["redis"]
    market, _ = await audit("--offline")
    assert (market["published"], market["waiting"], market["redis"]) == (600, 0, False)


async def test_a_plan_that_is_half_carried_out_is_no_loss(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path, audit: Audit
) -> None:
    async def is_done() -> bool:
        return task.done()

    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, payloads(market_events(1, 300)))
    await written(client, disk, market_log)
    await publish(market_log, lease, payloads(market_events(2, 300)), 301)
    with pytest.raises(Crash):
        async with running(build_writer(client, DyingDisk(folder, fsync=False), [BTC])) as task:
            await until(is_done)
    market, report = await audit()
    assert report["problems"] == []
    assert 300 < market["stored"] < 600
    assert (market["published"], market["stored"] + market["waiting"]) == (600, 600)


async def test_what_comes_after_redis_was_asked_is_no_loss(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path
) -> None:
    """Where nothing waited then, too."""

    async def is_done() -> bool:
        return task.done()

    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, payloads(market_events(1, 300)))
    await written(client, disk, market_log)
    asked, _ = await read_waiting(client, [BTC])
    assert asked[BTC].first is None
    await publish(market_log, lease, payloads(market_events(2, 300)), 301)
    with pytest.raises(Crash):
        async with running(build_writer(client, DyingDisk(folder, fsync=False), [BTC])) as task:
            await until(is_done)
    with ThreadPoolExecutor(2) as pool:
        found = audit_market(Stores(disk, disk), BTC, FilterSpec(), asked[BTC], datetime.now(UTC), pool)
    assert found.problems == []
    assert 300 < found.total("stored") < 600


async def test_a_pipeline_at_work_raises_no_alarm(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, audit: Audit
) -> None:
    lease = await lease_of(Role.INGESTOR)
    events = payloads(market_events(3, 4_000, levels=5))
    await publish(market_log, lease, events[:100])
    looks: list[tuple[int, int]] = []

    async def look() -> None:
        while not published.done():
            market, report = await audit()
            assert report["problems"] == []
            looks.append((market["stored"], market["published"]))

    async def feed() -> None:
        for start in range(100, 4_000, 50):
            await publish(market_log, lease, events[start : start + 50], start + 1)
            await asyncio.sleep(0.02)

    async with running(build_writer(client, disk, [BTC])) as task:
        await until_written(task, market_log, BTC)
        published = asyncio.create_task(feed())
        await look()
        await published
        await until_written(task, market_log, BTC)
    market, _ = await audit()
    assert (market["published"], market["stored"]) == (4_000, 4_000)
    assert len(looks) >= 2, "at least two audits while it was at work"
    assert any(0 < stored < 4_000 for stored, _ in looks)


async def test_the_newest_objects_deleted_behind_the_cursor_are_missed(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path, audit: Audit
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, payloads(market_events(1, 300)))
    await written(client, disk, market_log)
    before = set(objects(folder))
    await publish(market_log, lease, payloads(market_events(2, 200)), 301)
    await written(client, disk, market_log)
    for key in set(objects(folder)) - before:
        (folder / key).unlink()
    market, report = await audit(code=1)
    assert (market["published"], market["stored"], market["unexplained"]) == (500, 300, 200)
    assert "301-500" in report["problems"][0]
    await audit("--offline")


async def test_a_market_of_which_everything_was_deleted_is_missed(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path, audit: Audit
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, payloads(market_events(1, 300)))
    market, report = await audit()
    assert (report["problems"], market["market"]) == ([], BTC.name), "nothing had to be stored yet"
    await written(client, disk, market_log)
    for key in objects(folder):
        (folder / key).unlink()
    _, report = await audit(code=1)
    [problem] = report["problems"]
    assert "300 at least should be stored, and no segment is there" in problem


async def test_dead_letters_are_accounted_for_from_parquet_alone(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, audit: Audit
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await publish(market_log, lease, payloads(market_events(1, 100)))
    await publish(market_log, lease, [(1, b"\x07\x01broken"), (2, b"")], 101)
    await client.xadd(keys.stream(BTC, keys.RAW), {"not": "ours"})
    await publish(market_log, lease, payloads(market_events(2, 100)), 103)
    await written(client, disk, market_log)
    await client.delete(keys.dead_letters(BTC))
    market, report = await audit("--offline")
    assert report["problems"] == []
    assert (market["published"], market["stored"], market["rejected"], market["strangers"]) == (202, 200, 2, 1)


async def two_runs(client: Redis, disk: LocalDisk, market_log: MarketLog, lease: Lease, folder: Path) -> list[str]:
    """Each with gaps, whose rows are in one part each; the keys of these."""
    for number in (1, 2):
        await publish(market_log, lease, payloads(market_events(number, 1_000)), number * 1_000 - 999)
        await written(client, disk, market_log)
    parts = [key for key in objects(folder) if key.startswith("quality/gaps")]
    assert len(parts) == 2
    return parts


async def test_every_gap_event_is_in_quality_gaps_and_one_that_is_not_is_missed(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path, audit: Audit
) -> None:
    _, newer = await two_runs(client, disk, market_log, await lease_of(Role.INGESTOR), folder)
    market, report = await audit()
    assert (report["problems"], report["notes"]) == ([], [])
    gaps = sum(isinstance(event, Gap) for number in (1, 2) for event in market_events(number, 1_000))
    [day] = market["days"]
    assert day["gaps"] == gaps
    second = sum(isinstance(event, Gap) for event in market_events(2, 1_000))
    (folder / newer).unlink()
    for arguments in ((), ("--offline",), ("--day", day["day"])):
        _, report = await audit(*arguments, code=1)
        [problem] = report["problems"]
        assert f"{second} of {gaps} gap events have no row in quality/gaps" in problem


async def test_gaps_of_before_the_table_are_no_fault(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path, audit: Audit
) -> None:
    older, newer = await two_runs(client, disk, market_log, await lease_of(Role.INGESTOR), folder)
    (folder / older).unlink()
    _, report = await audit()
    [note] = report["notes"]
    first = sum(isinstance(event, Gap) for event in market_events(1, 1_000))
    assert f"{first} of " in note
    assert "older than quality/gaps" in note
    (folder / newer).unlink()
    _, report = await audit()
    assert any("its gaps are those of Bronze" in note for note in report["notes"])


async def test_rows_of_gaps_that_are_there_twice_do_not_add_up(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, disk: LocalDisk, folder: Path, audit: Audit
) -> None:
    _, newer = await two_runs(client, disk, market_log, await lease_of(Role.INGESTOR), folder)
    shutil.copy(folder / newer, folder / newer.replace("_00002.", "_00003."))
    _, report = await audit(code=1)
    [problem] = report["problems"]
    assert "rows of quality/gaps are there more than once" in problem


async def test_a_server_that_is_away_is_told_and_the_rest_audited(
    client: Redis,
    market_log: MarketLog,
    lease_of: LeaseOf,
    disk: LocalDisk,
    audit: Audit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await publish(market_log, await lease_of(Role.INGESTOR), payloads(market_events(1, 100)))
    await written(client, disk, market_log)
    monkeypatch.setenv("DAEDALUS__REDIS__URL", "redis://127.0.0.1:9/0")
    market, report = await audit()
    assert market["stored"] == 100
    assert any("redis://127.0.0.1:9/0" in note for note in report["notes"])
