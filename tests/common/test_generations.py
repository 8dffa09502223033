"""A generation begins wherever the server may have lost the end of a sequence, and with every sequence."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from daedalus_common.batches import Batch, decode_batch
from daedalus_common.broker import keys
from daedalus_common.broker.client import connect
from daedalus_common.broker.errors import Conflict
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.broker.settlements import Settlement
from daedalus_common.broker.steps import Step
from daedalus_common.entries import encode
from daedalus_common.events import Gap, Genesis, Heartbeat
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.plans import Plan
from support.valkey import ValkeyServer

BTC = Market("binanceus", "BTC/USDT")
LeaseOf = Callable[..., Awaitable[Lease]]


def events(*capture_ts: int) -> list[tuple[int, bytes]]:
    return [(ts, encode(Heartbeat(ts))) for ts in capture_ts]


async def all_of(log: MarketLog) -> Batch:
    return decode_batch(await log.read(BTC, keys.RAW, BEGINNING, 10_000))


@pytest.fixture
async def another_server(client: Redis) -> Callable[[], Awaitable[object]]:
    """`await another_server()`: as if another process had appended last."""
    return lambda: client.hset(keys.sequence(BTC), "server", "f" * 40)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[ValkeyServer, Redis]]:
    """A server that may be restarted."""
    with ValkeyServer(tmp_path / "valkey") as server:
        client = connect(server.url)
        yield server, client
        await client.aclose()


async def test_a_restarted_server_begins_a_generation_and_numbers_go_on(own: tuple[ValkeyServer, Redis]) -> None:
    server, client = own
    log = MarketLog(client)
    keeper = LeaseKeeper(client, Role.INGESTOR, "a", [BTC], timedelta(minutes=1), lambda: "token")
    await log.open_market(BTC)
    await keeper.renew()
    lease = keeper.held[BTC]
    await log.publish(lease, 1, events(1, 2))
    first = await log.open_market(BTC)
    await asyncio.to_thread(server.restart)
    await log.publish(lease, 3, events(3))
    await log.publish(lease, 4, events(4))
    batch = await all_of(log)
    assert batch.seq.tolist() == [1, 2, 3, 4]
    assert batch.generation[0] == batch.generation[1] < batch.generation[2] == batch.generation[3]
    assert await log.open_market(BTC) not in ("", first)


async def test_a_genesis_begins_a_generation_too(market_log: MarketLog, lease_of: LeaseOf, another_server) -> None:
    publisher, lease = await lease_of(Role.INGESTOR), await lease_of(Role.FEATURIZER)
    await market_log.publish(publisher, 1, events(1))
    await another_server()
    await market_log.add_genesis(lease, "g", 2, encode(Genesis(2, "g", b"{}")), ())
    await market_log.publish(publisher, 2, events(3))
    batch = await all_of(market_log)
    assert batch.generation[0] < batch.generation[1] == batch.generation[2]


async def test_a_sequence_that_begins_again_does_not_take_up_an_old_generation(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await market_log.publish(lease, 1, events(1))
    before = (await all_of(market_log)).generation[0]
    await asyncio.sleep(0.26)  # a generation is told by the quarter of a second in which it begins
    await client.delete(keys.sequence(BTC), keys.stream(BTC, keys.RAW))
    await market_log.publish(lease, 1, events(1))
    assert (await all_of(market_log)).generation[0] > before > 0


async def test_a_sequence_of_an_older_build_goes_on_in_its_generation(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, another_server
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await client.hset(keys.sequence(BTC), mapping={"seq": "7", "ts": f"{5:019d}"})
    await market_log.publish(lease, 1, events(6))
    assert (await all_of(market_log)).generation.tolist() == [0]
    await another_server()
    await market_log.publish(lease, 2, events(7))
    assert (await all_of(market_log)).generation[1] > 0


async def test_where_info_is_forbidden_only_a_jump_begins_a_generation(
    client: Redis, redis_url: str, market_log: MarketLog, lease_of: LeaseOf, another_server
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await client.execute_command("ACL", "SETUSER", "plain", "on", ">secret", "~*", "+@all", "-info")
    plain = connect(redis_url, "plain", "secret")
    try:
        log = MarketLog(plain)
        assert await log.open_market(BTC) == ""
        await log.publish(lease, 1, events(1))
        await another_server()
        await log.publish(lease, 2, events(2))
        await log.publish(lease, 5, events(5))
    finally:
        await plain.aclose()
        await client.execute_command("ACL", "DELUSER", "plain")
    generation = (await all_of(market_log)).generation.tolist()
    assert generation[0] == generation[1] < generation[2] == generation[3]


async def test_a_loss_on_another_server_begins_one_generation(
    market_log: MarketLog, lease_of: LeaseOf, another_server
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await market_log.publish(lease, 1, events(1, 2))
    await another_server()
    await market_log.publish(lease, 6, events(8, 7))
    await market_log.publish(lease, 8, events(9))
    batch = await all_of(market_log)
    assert batch.seq.tolist() == [1, 2, 6, 7, 8, 9], "three are lost; the gap event itself has a number"
    assert len(set(batch.generation.tolist())) == 2
    gaps = [(at, event) for at, event in batch.packed if isinstance(event, Gap)]
    assert gaps == [(2, Gap(8, "control", "server_lost", lost=3))]


async def test_a_plan_or_a_step_of_entries_from_another_process_is_refused(
    market_log: MarketLog, lease_of: LeaseOf
) -> None:
    writer, featurizer = await lease_of(Role.WRITER), await lease_of(Role.FEATURIZER)
    server = await market_log.open_market(BTC)
    plan = Plan(keys.RAW, BEGINNING, "1-0", "2-0", 2, ())
    step = Step(BEGINNING, "2-0", 2, b"", (), 0, ())
    with pytest.raises(Conflict, match="another process"):
        await market_log.commit_plan(writer, plan, "f" * 40)
    with pytest.raises(Conflict, match="another process"):
        await market_log.commit_step(featurizer, Step(BEGINNING, "2-0", 2, b"", (), 0, (), "f" * 40))
    await market_log.commit_plan(writer, plan, server)
    await market_log.commit_step(featurizer, step)


class TestSettling:
    """`settle` raises a market behind what is durable."""

    @pytest.fixture
    async def lost(self, market_log: MarketLog) -> Settlement:
        return Settlement(
            keys.RAW, await market_log.open_market(BTC), b"{}", {"bronze/ccxt/trades": "20260203T14 12"}, lost=True,
            last_ids=("4000000000000-5", "4000000000000-1", ""), seqs=(70, 50, 0), generation=2_000_000_000, ts=900,
        )  # fmt: skip

    async def test_everything_goes_on_behind_what_is_durable(
        self, client: Redis, market_log: MarketLog, lease_of: LeaseOf, lost: Settlement, another_server
    ) -> None:
        publisher, writer = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER)
        await market_log.publish(publisher, 1, events(1))
        await another_server()
        await client.hset(keys.state(BTC), mapping={"genesis": "g", "hot": "h", "silver_seq": "7", "gold_seq": "9"})
        assert await market_log.settle(writer, lost)
        await market_log.publish(publisher, 2, events(2))
        batch = await all_of(market_log)
        assert batch.seq.tolist() == [1, 71, 72]
        assert batch.ts.tolist() == [1, 900, 900]
        assert batch.generation.tolist()[1:] == [2_000_000_001, 2_000_000_001]
        assert [event for at, event in batch.packed if at == 1] == [Gap(900, "control", "server_lost")]
        assert (batch.stream_ms[1], batch.stream_seq[1]) == (4000000000000, 6)
        assert await client.hgetall(keys.state(BTC)) == {b"silver_seq": b"50", b"gold_seq": b"9"}
        assert await market_log.counters(BTC) == {"bronze/ccxt/trades": "20260203T14 12"}
        cursor = await market_log.cursor(BTC, keys.RAW, "featurizer")
        assert cursor.lag == 1, "what comes before the next genesis has no features"

    async def test_it_is_done_once_for_a_server_process(
        self, market_log: MarketLog, lease_of: LeaseOf, lost: Settlement
    ) -> None:
        writer = await lease_of(Role.WRITER)
        assert await market_log.settle(writer, lost)
        assert not await market_log.settle(writer, lost)
        assert len(await all_of(market_log)) == 1

    async def test_no_gap_is_declared_where_a_publisher_has_begun(
        self, market_log: MarketLog, lease_of: LeaseOf, lost: Settlement
    ) -> None:
        publisher, writer = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER)
        await market_log.publish(publisher, 1, events(1))
        [(first, _)] = await market_log.read(BTC, keys.RAW, BEGINNING, 10)
        assert await market_log.settle(writer, lost)
        assert len(await all_of(market_log)) == 1
        assert await market_log.durable(BTC, keys.SILVER) == (None, f"{first.decode()} 0-0")

    async def test_a_loss_that_is_found_after_one_more_restart_mutes_what_came_before_it_too(
        self, market_log: MarketLog, lease_of: LeaseOf, lost: Settlement, another_server
    ) -> None:
        publisher, writer = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER)
        await market_log.publish(publisher, 1, events(1))
        await another_server()
        await market_log.publish(publisher, 2, events(2))
        assert await market_log.settle(writer, lost)
        [(first, _), *_] = await market_log.read(BTC, keys.RAW, BEGINNING, 10)
        assert await market_log.durable(BTC, keys.SILVER) == (None, f"{first.decode()} 0-0")

    async def test_what_was_settled_is_not_muted_by_a_later_loss(
        self, own: tuple[ValkeyServer, Redis], lost: Settlement
    ) -> None:
        server, client = own
        log, leases = MarketLog(client), dict[Role, Lease]()
        here = await log.open_market(BTC)
        for role in (Role.INGESTOR, Role.WRITER):
            keeper = LeaseKeeper(client, role, "a", [BTC], timedelta(minutes=1), lambda: "token")
            await keeper.renew()
            leases[role] = keeper.held[BTC]
        await log.publish(leases[Role.INGESTOR], 1, events(1))
        for stream in (keys.RAW, keys.SILVER, keys.GOLD):
            assert not await log.settle(leases[Role.WRITER], Settlement(stream, here, b"{}"))
        await log.publish(leases[Role.INGESTOR], 2, events(2))
        await asyncio.to_thread(server.restart)
        here = await log.open_market(BTC)
        await log.publish(leases[Role.INGESTOR], 3, events(3))
        [*_, (newest, _)] = await log.read(BTC, keys.RAW, BEGINNING, 10)
        assert await log.settle(leases[Role.WRITER], msgspec.structs.replace(lost, server=here))
        assert (await log.durable(BTC, keys.SILVER))[1] == f"{newest.decode()} 0-0"

    @pytest.mark.parametrize(("passed", "expected"), [(False, "7-0 0-0"), (True, "+ 0-0")])
    async def test_what_an_earlier_loss_muted_stays_muted_until_the_writer_has_passed_it(
        self, client: Redis, market_log: MarketLog, lease_of: LeaseOf, lost: Settlement, passed: bool, expected: str
    ) -> None:
        writer = await lease_of(Role.WRITER)
        await client.hset(keys.durable(BTC), "muted silver", "7-0 9-0")
        await client.xgroup_setid(keys.stream(BTC, keys.SILVER), "writer", "9-0" if passed else "8-0")
        await market_log.settle(writer, lost)
        assert (await market_log.durable(BTC, keys.SILVER))[1] == expected

    async def test_entries_read_before_rows_were_muted_are_refused(
        self, market_log: MarketLog, lease_of: LeaseOf, lost: Settlement
    ) -> None:
        writer = await lease_of(Role.WRITER)
        await market_log.settle(writer, lost)
        plan = Plan(keys.SILVER, BEGINNING, "1-0", "2-0", 2, ())
        _, muted = await market_log.durable(BTC, keys.SILVER)
        assert muted == "+ 0-0"
        with pytest.raises(Conflict, match="muted"):
            await market_log.commit_plan(writer, plan, lost.server)
        await market_log.commit_plan(writer, plan, lost.server, muted)

    async def test_counters_only_grow(self, client: Redis, market_log: MarketLog, lease_of: LeaseOf) -> None:
        writer = await lease_of(Role.WRITER)
        stored: Any = {"a": "20260203T14 9", "b": "20260203T14 12", "c": "20260203T15 1"}
        await client.hset(keys.counters(BTC), mapping=stored)
        found = {"a": "20260203T14 10", "b": "20260203T14 3", "c": "20260203T14 99", "d": "20260203T14 1"}
        await market_log.settle(writer, Settlement(keys.RAW, await market_log.open_market(BTC), b"{}", found))
        assert await market_log.counters(BTC) == {
            "a": "20260203T14 10", "b": "20260203T14 12", "c": "20260203T15 1", "d": "20260203T14 1"
        }  # fmt: skip

    async def test_who_looked_under_another_process_looks_again(self, market_log: MarketLog, lease_of: LeaseOf) -> None:
        writer = await lease_of(Role.WRITER)
        with pytest.raises(Conflict, match="another process"):
            await market_log.settle(writer, Settlement(keys.RAW, "f" * 40, b"{}"))
