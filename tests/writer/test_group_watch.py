"""How far every consumer group is behind, ours and strangers'; a dead one is noticed before memory is full."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.broker.stream_looks import estimated_lag, look_at
from daedalus_common.leases import Role
from daedalus_common.markets import Market
from daedalus_writer import group_watch
from daedalus_writer.group_watch import GroupWatch
from support.market_events import market_events, payloads
from support.writers import build_writer, running, until

BTC = Market("binanceus", "BTC/USDT")
RAW = keys.stream(BTC, keys.RAW)
Sample = Callable[..., float | None]


def sample(name: str, stream: str = keys.RAW, **labels: str) -> float | None:
    place = {"exchange": "binanceus", "symbol": "BTC/USDT", "stream": stream, **labels}
    return REGISTRY.get_sample_value(f"daedalus_stream_{name}", place)


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def watch(market_log: MarketLog, now: list[float]) -> Any:
    watch = GroupWatch(market_log, lambda: now[0], lambda: 2_000_000_000.0)
    yield watch
    watch.forget()


async def publish(market_log: MarketLog, lease_of: Any, count: int, first: int = 1) -> None:
    lease = await lease_of(Role.INGESTOR, "me")
    await market_log.publish(lease, 1, payloads(market_events(first, count)))


async def test_lag_age_length_and_memory_are_told_per_group(client: Redis, market_log, lease_of, watch):
    await publish(market_log, lease_of, 300)
    await client.xgroup_create(RAW, "bot", "0")
    await client.xgroup_setid(RAW, "writer", "$", entries_read=300)
    await watch.look([BTC])
    assert sample("length_entries") == 300
    assert 10_000 < (sample("memory_bytes") or 0) < 10_000_000
    assert sample("group_lag_entries", group="bot") == 300
    assert sample("group_lag_entries", group="featurizer") == 300
    assert sample("group_lag_entries", group="writer") == 0
    assert sample("group_oldest_unread_seconds", group="writer") == 0
    assert (sample("group_oldest_unread_seconds", group="bot") or 0) > 1000
    assert sample("length_entries", stream="late") == 0


async def test_what_is_gone_is_told_no_more(client: Redis, market_log, lease_of, watch):
    await publish(market_log, lease_of, 3)
    await client.xgroup_create(RAW, "bot", "0")
    await watch.look([BTC])
    assert sample("group_lag_entries", group="bot") == 3
    await client.xgroup_destroy(RAW, "bot")
    await watch.look([BTC])
    assert sample("group_lag_entries", group="bot") is None
    assert sample("group_lag_entries", group="writer") == 3
    await watch.look([])
    assert sample("group_lag_entries", group="writer") is None
    assert sample("length_entries") is None


async def test_where_the_server_cannot_tell_the_lag_is_estimated(client: Redis, market_log):
    for number in range(100):
        await client.xadd(RAW, {"s": number}, id=f"{1000 + number}-0")
    await client.xgroup_create(RAW, "bot", "1049-0")
    await client.xdel(RAW, "1080-0")
    [info] = [info for info in await client.xinfo_groups(RAW) if info["name"] == b"bot"]
    assert info["lag"] is None
    [bot] = [group for group in (await look_at(client, "raw", RAW)).groups if group.name == "bot"]
    assert bot.oldest_unread_ms == 1050
    assert bot.lag == pytest.approx(50, abs=2)


def test_an_estimate_is_at_least_one_and_at_most_all():
    assert estimated_lag(100, 1000, 2000, 2000) == 1
    assert estimated_lag(100, 1000, 2000, 900) == 100
    assert estimated_lag(100, 1000, 1000, 1000) == 100


async def test_a_dead_group_is_told_with_the_command_that_removes_it(
    client: Redis, market_log, lease_of, watch, now, capsys
):
    def warnings() -> list[str]:
        told = capsys.readouterr().out
        return [line for line in told.splitlines() if "does not move" in line]

    lease = await lease_of(Role.INGESTOR)
    await market_log.publish(lease, 1, payloads(market_events(1, 10)))
    await client.xgroup_create(RAW, "bot", "0")
    await watch.look([BTC])
    now[0] += 400
    await watch.look([BTC])
    assert warnings() == [], "nothing has come since"
    await market_log.publish(lease, 11, payloads(market_events(2, 10)))
    await client.xgroup_setid(RAW, "featurizer", "$", entries_read=20)
    await watch.look([BTC])
    [line] = warnings()
    assert "group=bot" in line
    assert "daedalus streams remove-group binanceus:BTC-USDT raw bot" in line
    await watch.look([BTC])
    assert warnings() == [], "once an hour"
    now[0] += 3601
    await market_log.publish(lease, 21, payloads(market_events(3, 10)))
    await client.xgroup_setid(RAW, "bot", "$", entries_read=30)
    await watch.look([BTC])
    assert not any("group=bot" in line for line in warnings()), "it has moved"


async def test_the_owner_of_a_market_tells(client: Redis, market_log, lease_of, disk, monkeypatch):
    monkeypatch.setattr("daedalus_writer.writer.LAG_EVERY_SECONDS", 0.05)
    await publish(market_log, lease_of, 200)
    await client.xgroup_create(RAW, "bot", "0")

    async def told() -> bool:
        return sample("group_lag_entries", group="writer") == 0 and sample("group_lag_entries", group="bot") == 200

    async with running(build_writer(client, disk, [BTC])) as task:
        await until(told, task)
    assert sample("group_lag_entries", group="bot") is None, "after the stop another tells"


async def test_no_entry_goes_before_every_group_has_passed_it(client: Redis, market_log, lease_of, disk):
    await publish(market_log, lease_of, 1000)
    await client.xgroup_setid(RAW, "featurizer", "$", entries_read=1000)
    await client.xgroup_create(RAW, "bot", "0")

    async def written() -> bool:
        return (await market_log.cursor(BTC, keys.RAW, "writer")).lag == 0

    async with running(build_writer(client, disk, [BTC])) as task:
        await until(written, task)
        assert await client.xlen(RAW) == 1000
        await client.xgroup_destroy(RAW, "bot")
        await publish(market_log, lease_of, 10, first=2)
        await until(lambda: is_shorter(client, 200), task)


async def is_shorter(client: Redis, length: int) -> bool:
    return int(await client.xlen(RAW)) < length


async def test_a_group_of_ours_that_stands_still_is_named_too(client: Redis, market_log, lease_of, watch, now, capsys):
    lease = await lease_of(Role.INGESTOR)
    for round_ in range(2):
        await market_log.publish(lease, 10 * round_ + 1, payloads(market_events(round_, 10)))
        await watch.look([BTC])
        now[0] += group_watch.DEAD_AFTER.total_seconds()
    told = capsys.readouterr().out
    assert "remove-group binanceus:BTC-USDT raw featurizer" in told
    assert "raw writer" not in told
