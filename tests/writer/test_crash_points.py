"""A writer that dies between any two of its steps: its successor makes the same objects, and nothing twice."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.dead_letters import DeadLetter
from daedalus_common.broker.market_log import MAX_DEAD_LETTERS, MarketLog
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.plans import Plan, object_key
from daedalus_common.stores import CreateResult, LocalDisk
from daedalus_writer import metrics
from support.lake import all_seqs, objects
from support.market_events import market_events, payloads
from support.writers import build_writer, entries_in, running, until, until_written

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]


class Crash(Exception):
    """The process ends here."""


class DyingDisk(LocalDisk):
    """The real disk, until the process dies around the `last`-th create."""

    def __init__(self, folder: Path, last: int, *, before: bool) -> None:
        super().__init__(folder, fsync=False)
        self._left = last
        self._before = before

    def create(self, key: str, data: bytes | memoryview, metadata: dict[str, str]) -> CreateResult:  # type: ignore[override]
        self._left -= 1
        if self._left == 0 and self._before:
            raise Crash
        result = super().create(key, data, metadata)
        if self._left == 0:
            raise Crash
        return result


class DyingLog(MarketLog):
    """The real log, until the process dies before or after one commit."""

    def __init__(self, client: Redis, point: str) -> None:
        super().__init__(client)
        self._point = point

    async def commit_plan(self, lease: Lease, plan: Plan, server: str = "", muted: str = "") -> None:
        if self._point == "before the plan":
            raise Crash
        await super().commit_plan(lease, plan, server, muted)
        if self._point == "after the plan":
            raise Crash

    async def advance(
        self,
        lease: Lease,
        plan: Plan,
        done: Plan,
        dead: Iterable[DeadLetter] = (),
        keep_ms: int = 0,
        max_dead: int = MAX_DEAD_LETTERS,
    ) -> int:
        if self._point == "before the cursor moves":
            raise Crash
        dropped = await super().advance(lease, plan, done, dead, keep_ms, max_dead)
        if self._point == "after the cursor moved":
            raise Crash
        return dropped


POINTS = ("before the plan", "after the plan", "before the cursor moves", "after the cursor moved")
UPLOADS = [(number, before) for number in (1, 2, 3) for before in (True, False)]


async def publish(market_log: MarketLog, lease_of: LeaseOf, count: int = 500) -> Lease:
    lease = await lease_of(Role.INGESTOR)
    await market_log.publish(lease, 1, payloads(market_events(1, count)))
    return lease


async def die(client: Redis, disk: LocalDisk, market_log: MarketLog) -> None:
    """Runs a writer to its death; its lease stays behind."""
    with pytest.raises(Crash):
        async with running(build_writer(client, disk, [BTC], market_log=market_log)) as task:
            await until(lambda: is_done(task))


async def is_done(task: object) -> bool:
    return task.done()  # type: ignore[attr-defined]


def anomalies() -> float:
    return sum(sample.value for metric in metrics.ANOMALIES.collect() for sample in metric.samples)


async def check_after_restart(client: Redis, market_log: MarketLog, folder: Path, lease: Lease) -> None:
    """A successor writes the rest: every row once, and under names without a hole."""
    before = anomalies()
    pending = await market_log.pending_plan(BTC, keys.RAW)
    planned = {object_key(segment) for segment in pending.segments} if pending else set()
    async with running(build_writer(client, LocalDisk(folder, fsync=False), [BTC])) as task:
        await until_written(task, market_log, BTC)
        assert planned <= set(objects(folder)), "the same names"
        await market_log.publish(lease, 501, payloads(market_events(2, 100)))
        await until_written(task, market_log, BTC)
    assert all_seqs(folder, "bronze") == list(range(1, 601))
    assert await market_log.pending_plan(BTC, keys.RAW) is None
    assert anomalies() == before
    numbers = {key.rsplit("/", 1)[0]: [] for key in objects(folder)}
    for key in objects(folder):
        numbers[key.rsplit("/", 1)[0]].append(int(key[-13:-8]))
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


@pytest.mark.parametrize("point", POINTS)
async def test_death_around_a_commit(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, folder: Path, point: str
) -> None:
    lease = await publish(market_log, lease_of)
    await die(client, LocalDisk(folder, fsync=False), DyingLog(client, point))
    assert (await market_log.pending_plan(BTC, keys.RAW) is not None) == (
        point in ("after the plan", "before the cursor moves")
    )
    await check_after_restart(client, market_log, folder, lease)


@pytest.mark.parametrize(("number", "before"), UPLOADS)
async def test_death_around_an_upload(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, folder: Path, number: int, before: bool
) -> None:
    lease = await publish(market_log, lease_of)
    await die(client, DyingDisk(folder, number, before=before), market_log)
    assert len(objects(folder)) == number - before
    await check_after_restart(client, market_log, folder, lease)


async def test_deaths_one_after_the_other_at_every_point(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, folder: Path
) -> None:
    lease = await publish(market_log, lease_of)
    for point in POINTS[:3]:
        await die(client, LocalDisk(folder, fsync=False), DyingLog(client, point))
    await check_after_restart(client, market_log, folder, lease)


async def test_a_plan_is_carried_out_with_its_entries_alone_though_more_have_come(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, folder: Path
) -> None:
    lease = await publish(market_log, lease_of, 100)
    await die(client, LocalDisk(folder, fsync=False), DyingLog(client, "after the plan"))
    plan = await market_log.pending_plan(BTC, keys.RAW)
    assert plan is not None
    await market_log.publish(lease, 101, payloads(market_events(2, 400)))
    await check_after_restart(client, market_log, folder, lease)
    assert {s.counter for s in plan.segments} == {1}


async def test_dead_letters_of_a_resumed_plan_are_kept_once(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, folder: Path
) -> None:
    lease = await publish(market_log, lease_of)
    await client.xadd(keys.stream(BTC, keys.RAW), {"not": "ours"})
    for point in ("after the plan", "before the cursor moves", "after the cursor moved"):
        await die(client, LocalDisk(folder, fsync=False), DyingLog(client, point))
    await check_after_restart(client, market_log, folder, lease)
    [(_, letter)] = await entries_in(client, keys.dead_letters(BTC))
    assert letter[b"reason"] == b"field b'e' is missing"


async def test_entries_that_somebody_deleted_from_a_planned_run_are_told_and_stop_nothing(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, folder: Path
) -> None:
    await publish(market_log, lease_of, 100)
    raw = keys.stream(BTC, keys.RAW)
    await die(client, LocalDisk(folder, fsync=False), DyingLog(client, "after the plan"))
    await client.xdel(raw, (await entries_in(client, raw))[10][0])
    changed = metrics.ANOMALIES.labels(exchange="binanceus", symbol="BTC/USDT", stream="raw", kind="run_changed")
    before = changed._value.get()
    async with running(build_writer(client, LocalDisk(folder, fsync=False), [BTC])) as task:
        await until(lambda: has_no_plan(market_log), task)
    assert all_seqs(folder, "bronze") == [seq for seq in range(1, 101) if seq != 11]
    assert changed._value.get() == before + 1


async def test_a_planned_run_that_is_gone_altogether_stops_nothing(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, folder: Path
) -> None:
    lease = await publish(market_log, lease_of, 100)
    await die(client, LocalDisk(folder, fsync=False), DyingLog(client, "after the plan"))
    await client.xtrim(keys.stream(BTC, keys.RAW), maxlen=0)
    await market_log.publish(lease, 101, payloads(market_events(2, 10)))
    async with running(build_writer(client, LocalDisk(folder, fsync=False), [BTC])) as task:
        await until(lambda: has_no_plan(market_log), task)
        await until(lambda: is_stored(folder, 10), task)
    assert all_seqs(folder, "bronze") == list(range(101, 111))


async def has_no_plan(market_log: MarketLog) -> bool:
    return await market_log.pending_plan(BTC, keys.RAW) is None


async def is_stored(folder: Path, rows: int) -> bool:
    return len(all_seqs(folder, "bronze")) == rows
