"""`daedalus streams`: what lies in the streams, who holds them back, and how a dead group goes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import Result

from daedalus.operations import streams
from daedalus.operations.server import markets_of
from daedalus.operations.streams import GroupInUse, NoSuchGroup, StreamView, read_streams, remove_group
from daedalus_common.broker import keys
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.config import Config
from daedalus_common.entries import encode
from daedalus_common.events import Heartbeat
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.plans import Plan

BTC = Market("binanceus", "BTC/USDT")
RAW = keys.stream(BTC, keys.RAW)
LeaseOf = Callable[..., Awaitable[Lease]]


async def publish(market_log: MarketLog, lease_of: LeaseOf, count: int) -> list[str]:
    publisher = await lease_of(Role.INGESTOR, "publisher")
    await market_log.publish(publisher, 1, [(ts, encode(Heartbeat(ts))) for ts in range(1, count + 1)])
    return [id_.decode() for id_, _ in await market_log.read(BTC, keys.RAW, BEGINNING, count)]


async def raw_of(client: Redis) -> StreamView:
    return (await read_streams(client, [BTC]))[0]


async def test_each_group_has_its_lag_and_the_age_of_its_oldest_unread_entry(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    old = int(time.time() * 1000) - 7_200_000
    for i in range(3):
        await client.xadd(RAW, {"x": "y"}, id=f"{old + i * 1_800_000}-0")
    await client.xgroup_setid(RAW, "featurizer", f"{old}-0", entries_read=1)
    await client.xgroup_setid(RAW, "writer", f"{old + 3_600_000}-0", entries_read=3)
    view = await raw_of(client)
    assert (view.market, view.stream, view.length) == ("binanceus:BTC-USDT", "raw", 3)
    assert view.first_age_seconds == pytest.approx(7200, abs=30)
    assert view.last_age_seconds == pytest.approx(3600, abs=30)
    groups = {group.name: group for group in view.groups}
    assert (groups["featurizer"].lag, groups["writer"].lag) == (2, 0)
    assert groups["featurizer"].oldest_unread_id == f"{old + 1_800_000}-0"
    assert groups["featurizer"].oldest_unread_age_seconds == pytest.approx(5400, abs=30)
    assert groups["writer"].oldest_unread_age_seconds is None


async def test_a_group_says_who_moves_it(client: Redis, market_log: MarketLog, lease_of: LeaseOf) -> None:
    await client.xgroup_create(RAW, "old-bot", "0")
    await client.xgroup_create(keys.stream(BTC, keys.SILVER), "featurizer", "0")
    await lease_of(Role.WRITER, "writer-1")
    raw, silver, *_ = await read_streams(client, [BTC])
    assert {group.name: (group.moved, group.owner) for group in raw.groups} == {
        "writer": ("owner", "writer-1"),
        "featurizer": ("nobody", None),
        "old-bot": ("stranger", None),
    }
    assert {group.name: group.moved for group in silver.groups} == {"writer": "owner", "featurizer": "stranger"}


async def test_an_empty_stream_and_one_that_does_not_exist(client: Redis, market_log: MarketLog, daedalus: Any) -> None:
    view = await raw_of(client)
    assert (view.length, view.first_id, view.last_age_seconds) == (0, None, None)
    assert [group.lag for group in view.groups] == [0, 0]
    assert await read_streams(client, [Market("kraken", "ETH/USD")]) == []


async def test_markets_are_found_by_their_streams_whatever_else_the_server_holds(client: Redis) -> None:
    odd = Market("okx", "BTC/USDT:USDT-260925")
    strange = Market("okx", "A|B/USD")
    for market in (BTC, odd, strange):
        await MarketLog(client).open_market(market)
    await client.xadd("{no market}:raw", {"x": "y"})
    await client.xadd("raw", {"x": "y"})
    await client.set("{binanceus:LTC-USDT}:raw", "no stream")
    await client.xadd(keys.dead_letters(Market("kraken", "ETH/USD")), {"x": "y"})
    found = await markets_of(client, Config())
    assert {market.name for market in found} == {BTC.name, odd.name, strange.name}


async def test_the_table_marks_groups_that_nobody_of_ours_moves(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, daedalus: Any
) -> None:
    await publish(market_log, lease_of, 5)
    await client.xgroup_create(RAW, "old\x1b[31mbot", "0")
    text = (await asyncio.to_thread(daedalus, "streams")).stdout
    line = next(line for line in text.splitlines() if "bot" in line)
    assert "old\\x1b[31mbot" in line
    assert "NOBODY OF OURS" in line
    assert "\x1b" not in text
    assert "NOBODY: no live lease" in text
    views = await asyncio.to_thread(daedalus.json, "streams")
    assert [view["stream"] for view in views] == ["raw", "silver", "gold", "late"]
    assert views[0]["length"] == 5


async def test_a_dead_group_goes_after_saying_what_it_means_and_then_the_stream_is_trimmed(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, daedalus: Any
) -> None:
    ids = await publish(market_log, lease_of, 1000)
    await client.xgroup_create(RAW, "old-bot", "0")
    await client.xgroup_setid(RAW, "featurizer", ids[-1], entries_read=1000)
    remove = ("streams", "remove-group", "binanceus:BTC-USDT", "raw", "old-bot")
    result = await asyncio.to_thread(partial(daedalus, *remove, stdin="n\n", code=1))
    assert "group old-bot of raw has not read 1,000 entries." in result.stderr
    assert "the writer trims them" in result.stderr
    assert {group.name for group in (await raw_of(client)).groups} >= {"old-bot"}
    result = await asyncio.to_thread(partial(daedalus, *remove, stdin="y\n"))
    assert result.stdout.endswith("binanceus:BTC-USDT: group old-bot of raw is removed\n")
    writer = await lease_of(Role.WRITER)
    plan = Plan(keys.RAW, BEGINNING, ids[0], ids[-1], 1000, ())
    await market_log.commit_plan(writer, plan)
    await market_log.advance(writer, plan, plan)
    assert (await raw_of(client)).length < 200


async def test_a_group_of_ours_stays_while_its_owner_is_at_work_unless_forced(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, daedalus: Any
) -> None:
    await lease_of(Role.FEATURIZER, "featurizer-1")
    remove = ("streams", "remove-group", "binanceus:BTC/USDT", "raw", "featurizer", "--yes")
    result = await asyncio.to_thread(partial(daedalus, *remove, code=1))
    assert "featurizer-1 works with group featurizer of raw now" in result.stderr
    with pytest.raises(GroupInUse):
        await remove_group(client, BTC, keys.RAW, "featurizer")
    result = await asyncio.to_thread(partial(daedalus, *remove, "--force"))
    assert "features begin anew behind the newest entry" in result.stderr
    assert [group.name for group in (await raw_of(client)).groups] == ["writer"]


async def test_a_group_of_ours_goes_when_nobody_owns_the_market(client: Redis, market_log: MarketLog) -> None:
    await remove_group(client, BTC, keys.RAW, "featurizer")
    assert [group.name for group in (await raw_of(client)).groups] == ["writer"]
    with pytest.raises(NoSuchGroup):
        await remove_group(client, BTC, keys.RAW, "featurizer")
    with pytest.raises(NoSuchGroup):
        await remove_group(client, Market("kraken", "ETH/USD"), keys.RAW, "writer")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("binanceus:BTC-USD", "raw", "writer"), "no market binanceus:BTC-USD; did you mean binanceus:BTC-USDT?"),
        (("binanceus:BTC-USDT", "raw", "writr"), "no consumer group writr; did you mean writer?"),
        (("binanceus:BTC-USDT", "raww", "writer"), "'raww' is not one of 'raw', 'silver', 'gold'"),
    ],
)
async def test_unknown_names_are_2_and_the_nearest_is_told(
    market_log: MarketLog, daedalus: Any, arguments: tuple[str, ...], told: str
) -> None:
    remove = partial(daedalus, "streams", "remove-group", *arguments, "--yes", code=2)
    result = await asyncio.to_thread(remove)
    assert told in " ".join(result.stderr.replace("│", " ").split())


async def test_options_before_the_command_are_refused_rather_than_ignored(
    market_log: MarketLog, run_without_server: Callable[..., Result]
) -> None:
    result = run_without_server("streams", "--json", "remove-group", BTC.name, "raw", "writer", "--yes")
    assert result.exit_code == 2
    assert result.stderr == "daedalus streams: give the options after remove-group\n"


def test_which_groups_are_ours_depends_on_the_stream() -> None:
    assert streams.role_of("raw", "featurizer") is Role.FEATURIZER
    assert streams.role_of("silver", "featurizer") is None
    assert streams.role_of("gold", "writer") is Role.WRITER
