"""Each state-changing step happens once, by the lease's owner, all or nothing."""

import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from redis.asyncio import Redis

from daedalus_common.batches import Batch, decode_batch
from daedalus_common.broker import keys
from daedalus_common.broker.dead_letters import DeadLetter
from daedalus_common.broker.errors import Conflict, Fenced
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.broker.steps import Row, Step
from daedalus_common.entries import encode
from daedalus_common.events import Gap, Genesis, Heartbeat
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.plans import Plan, Segment
from daedalus_common.rows import Column, RowSchema, pack_rows

BTC = Market("binanceus", "BTC/USDT")
SCHEMA = RowSchema("silver", "orderbook", (Column("mid_price"),))
LeaseOf = Callable[..., Awaitable[Lease]]


def events(*capture_ts: int) -> list[tuple[int, bytes]]:
    return [(ts, encode(Heartbeat(ts))) for ts in capture_ts]


async def all_of(market_log: MarketLog) -> Batch:
    return decode_batch(await market_log.read(BTC, keys.RAW, BEGINNING, 10_000))


async def ids_of(market_log: MarketLog, stream: str = keys.RAW) -> list[str]:
    return [id_.decode() for id_, _ in await market_log.read(BTC, stream, BEGINNING, 10_000)]


# publishing


async def test_events_get_a_contiguous_seq_and_a_time_that_never_goes_back(
    market_log: MarketLog, lease_of: LeaseOf
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await market_log.publish(lease, 1, events(100, 300, 200))
    await market_log.publish(lease, 4, events(250, 400))
    batch = await all_of(market_log)
    assert batch.seq.tolist() == [1, 2, 3, 4, 5]
    assert batch.capture_ts.tolist() == [100, 300, 200, 250, 400]
    assert batch.ts.tolist() == [100, 300, 300, 300, 400]
    assert await market_log.sequence(BTC) == (5, 400)


async def test_a_repeated_batch_is_applied_once(market_log: MarketLog, lease_of: LeaseOf) -> None:
    lease = await lease_of(Role.INGESTOR)
    await market_log.publish(lease, 1, events(1, 2, 3))
    again = await market_log.publish(lease, 1, events(1, 2, 3))
    assert (again.added, again.skipped) == (0, 3)
    overlapping = await market_log.publish(lease, 3, events(3, 4))
    assert (overlapping.added, overlapping.skipped) == (1, 1)
    assert (await all_of(market_log)).capture_ts.tolist() == [1, 2, 3, 4]


async def test_a_loss_on_the_server_shows_as_a_jump_of_seq_and_a_gap_before_the_next_event(
    market_log: MarketLog, lease_of: LeaseOf
) -> None:
    lease = await lease_of(Role.INGESTOR)
    await market_log.publish(lease, 1, events(1))
    published = await market_log.publish(lease, 4, events(4))
    assert (published.added, published.lost) == (1, 2)
    batch = await all_of(market_log)
    assert batch.seq.tolist() == [1, 4, 5]
    assert [event for _, event in batch.packed] == [
        Heartbeat(1), Gap(4, "control", "server_lost", lost=2), Heartbeat(4)
    ]  # fmt: skip
    assert batch.generation[0] < batch.generation[1] == batch.generation[2]


async def test_a_clock_far_ahead_is_replaced_by_the_servers_and_counted(
    market_log: MarketLog, lease_of: LeaseOf
) -> None:
    lease = await lease_of(Role.INGESTOR)
    now = time.time_ns()
    published = await market_log.publish(lease, 1, events(now + 3_000_000_000, now + 3_600_000_000_000))
    batch = await all_of(market_log)
    assert published.clamped == 1
    assert batch.capture_ts[1] == now + 3_600_000_000_000, "what was captured is kept"
    assert batch.ts[0] == batch.ts[1] == now + 3_000_000_000, "the sequence goes on"


async def test_a_new_epoch_counts_from_one_and_the_old_owner_is_fenced(
    market_log: MarketLog, lease_of: LeaseOf
) -> None:
    old = await lease_of(Role.INGESTOR, "a")
    await market_log.publish(old, 1, events(1, 2))
    new = await lease_of(Role.INGESTOR, "a")
    assert new.epoch > old.epoch
    with pytest.raises(Fenced):
        await market_log.publish(old, 3, events(3))
    await market_log.publish(new, 1, events(5))
    batch = await all_of(market_log)
    assert batch.seq.tolist() == [1, 2, 3]
    assert batch.capture_ts.tolist() == [1, 2, 5]


async def test_a_genesis_is_written_once_and_does_not_disturb_the_publishers_count(
    market_log: MarketLog, lease_of: LeaseOf
) -> None:
    publisher, featurizer = await lease_of(Role.INGESTOR), await lease_of(Role.FEATURIZER)
    await market_log.publish(publisher, 1, events(1, 2))
    payload = encode(Genesis(5, "g-1", b"{}"))
    for _ in range(2):
        await market_log.add_genesis(featurizer, "g-1", 5, payload, [SCHEMA])
    await market_log.publish(publisher, 3, events(6))
    batch = await all_of(market_log)
    assert batch.seq.tolist() == [1, 2, 3, 4]
    assert batch.kind.tolist() == [4, 4, 5, 4]
    assert (await market_log.stored_state(BTC)).genesis == "g-1"
    assert await market_log.schemas(BTC) == {SCHEMA.id: SCHEMA}


# the featurizer's step


def step(from_id: str, to_id: str, n: int, hot: bytes = b"hot", keep: int = 3) -> Step:
    row = pack_rows(SCHEMA, np.array([n]), np.array([[float(n)]]))[0]
    rows = [Row("silver", "orderbook", row), Row("gold", "bars", row)]
    return Step(from_id, to_id, n, hot, [b"h%d" % n], keep, rows)


async def test_a_step_adds_rows_state_and_cursor_together_and_once(market_log: MarketLog, lease_of: LeaseOf) -> None:
    publisher, lease = await lease_of(Role.INGESTOR), await lease_of(Role.FEATURIZER)
    await market_log.publish(publisher, 1, events(*range(1, 11)))
    ids = await ids_of(market_log)
    for _ in range(2):
        await market_log.commit_step(lease, step(BEGINNING, ids[3], 4))
    cursor = await market_log.cursor(BTC, keys.RAW, "featurizer")
    assert cursor.id == ids[3]
    assert cursor.lag == 6
    state = await market_log.stored_state(BTC)
    assert (state.hot, state.history) == (b"hot", (b"h4",))
    silver = await market_log.read(BTC, keys.SILVER, BEGINNING, 10)
    gold = await market_log.read(BTC, keys.GOLD, BEGINNING, 10)
    assert [(fields[b"s"], fields[b"c"]) for _, fields in silver] == [(b"1", b"orderbook")]
    assert [(fields[b"s"], fields[b"c"]) for _, fields in gold] == [(b"1", b"bars")]


async def test_the_history_keeps_only_its_newest_rows(market_log: MarketLog, lease_of: LeaseOf) -> None:
    publisher, lease = await lease_of(Role.INGESTOR), await lease_of(Role.FEATURIZER)
    await market_log.publish(publisher, 1, events(*range(1, 11)))
    ids = [BEGINNING, *await ids_of(market_log)]
    for n in range(1, 6):
        await market_log.commit_step(lease, step(ids[n - 1], ids[n], n))
    assert (await market_log.stored_state(BTC)).history == (b"h3", b"h4", b"h5")
    await market_log.commit_step(lease, step(ids[5], ids[6], 6, keep=0))
    assert (await market_log.stored_state(BTC)).history == ()


async def test_a_step_from_another_cursor_or_owner_changes_nothing(market_log: MarketLog, lease_of: LeaseOf) -> None:
    publisher, lease = await lease_of(Role.INGESTOR), await lease_of(Role.FEATURIZER, "a")
    await market_log.publish(publisher, 1, events(*range(1, 11)))
    ids = await ids_of(market_log)
    with pytest.raises(Conflict):
        await market_log.commit_step(lease, step(ids[0], ids[3], 3))
    await lease_of(Role.FEATURIZER, "a")
    with pytest.raises(Fenced):
        await market_log.commit_step(lease, step(BEGINNING, ids[3], 4))
    assert (await market_log.cursor(BTC, keys.RAW, "featurizer")).id == BEGINNING
    assert (await market_log.stored_state(BTC)).hot is None
    assert await ids_of(market_log, keys.SILVER) == []


# the writer's plan


def plan(first: str, last: str, entries: int, cursor: str = BEGINNING) -> Plan:
    segment = Segment("bronze/ccxt/control", "exchange=binanceus/symbol=BTC-USDT/year=1970", "19700101T00", 1, entries)
    return Plan(keys.RAW, cursor, first, last, entries, (segment,))


async def test_a_plan_is_committed_before_and_removed_after_and_both_can_be_repeated(
    market_log: MarketLog, lease_of: LeaseOf
) -> None:
    publisher, lease = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER)
    await market_log.publish(publisher, 1, events(*range(1, 11)))
    ids = await ids_of(market_log)
    mine = plan(ids[0], ids[4], 5)
    for _ in range(2):
        await market_log.commit_plan(lease, mine)
    assert await market_log.pending_plan(BTC, keys.RAW) == mine
    with pytest.raises(Conflict):
        await market_log.commit_plan(lease, plan(ids[0], ids[5], 6))
    assert len(await market_log.read_run(BTC, keys.RAW, mine.first_id, mine.last_id)) == 5
    for _ in range(2):
        await market_log.advance(lease, mine, mine, [DeadLetter(ids[2], "not ours", {"x": "y"})])
    assert await market_log.pending_plan(BTC, keys.RAW) is None
    cursor = await market_log.cursor(BTC, keys.RAW, "writer")
    assert (cursor.id, cursor.lag) == (ids[4], 5)
    assert await market_log.counters(BTC) == {"bronze/ccxt/control": "19700101T00 1"}


async def test_a_long_run_is_read_whole_and_in_order(market_log: MarketLog, lease_of: LeaseOf) -> None:
    publisher = await lease_of(Role.INGESTOR)
    for first in range(1, 2501, 500):
        await market_log.publish(publisher, first, events(*range(first, first + 500)))
    ids = await ids_of(market_log)
    for start, end in ((0, 2499), (1, 1000), (0, 999), (700, 700)):
        run = await market_log.read_run(BTC, keys.RAW, ids[start], ids[end])
        assert [id_.decode() for id_, _ in run] == ids[start : end + 1]


async def test_a_dead_letter_is_kept_once_with_its_reason(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    lease = await lease_of(Role.WRITER)
    await client.xadd(keys.stream(BTC, keys.RAW), {"x": "y"})
    [id_] = await ids_of(market_log)
    mine = Plan(keys.RAW, BEGINNING, id_, id_, 1, ())
    await market_log.commit_plan(lease, mine)
    for _ in range(2):
        await market_log.advance(lease, mine, mine, [DeadLetter(id_, "not ours", {"x": "y"})])
    letters = await client.xrange(keys.dead_letters(BTC))
    assert letters is not None
    [(_, letter)] = letters
    assert letter == {b"stream": b"raw", b"id": id_.encode(), b"reason": b"not ours", b"fields": b'{"x":"y"}'}


async def test_a_fenced_writer_can_neither_plan_nor_advance(market_log: MarketLog, lease_of: LeaseOf) -> None:
    publisher, old = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER, "a")
    await market_log.publish(publisher, 1, events(1, 2))
    ids = await ids_of(market_log)
    mine = plan(ids[0], ids[1], 2)
    await market_log.commit_plan(old, mine)
    new = await lease_of(Role.WRITER, "a")
    with pytest.raises(Fenced):
        await market_log.commit_plan(old, mine)
    with pytest.raises(Fenced):
        await market_log.advance(old, mine, mine)
    assert await market_log.pending_plan(BTC, keys.RAW) == mine, "the new owner finds the plan"
    await market_log.advance(new, mine, mine)


async def test_a_stream_is_trimmed_only_to_what_every_group_has_read(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    publisher, writer = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER)
    featurizer = await lease_of(Role.FEATURIZER)
    raw = keys.stream(BTC, keys.RAW)
    await client.xgroup_create(raw, "a-users-own", id="0")
    await market_log.publish(publisher, 1, events(*range(1, 1001)))
    ids = await ids_of(market_log)
    mine = plan(ids[0], ids[899], 900)
    await market_log.commit_plan(writer, mine)
    await market_log.advance(writer, mine, mine)
    assert await client.xlen(raw) == 1000
    await market_log.commit_step(featurizer, step(BEGINNING, ids[799], 800))
    await client.xgroup_setid(raw, "a-users-own", ids[499])
    rest = plan(ids[900], ids[949], 50, cursor=ids[899])
    await market_log.commit_plan(writer, rest)
    await market_log.advance(writer, rest, rest)
    left = await ids_of(market_log)
    assert ids.index(left[0]) <= 499, "nothing unread went"
    assert len(left) < 700, "what all have read did go"


async def test_a_live_reader_keeps_recent_entries(client: Redis, market_log: MarketLog, lease_of: LeaseOf) -> None:
    publisher, writer = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER)
    featurizer = await lease_of(Role.FEATURIZER)
    await market_log.publish(publisher, 1, events(*range(1, 1001)))
    ids = await ids_of(market_log)
    await market_log.commit_step(featurizer, step(BEGINNING, ids[-1], 1000))
    mine = plan(ids[0], ids[-1], 1000)
    await market_log.commit_plan(writer, mine)
    await market_log.advance(writer, mine, mine, keep_ms=600_000)
    assert await client.xlen(keys.stream(BTC, keys.RAW)) == 1000


async def test_a_consumer_that_is_not_enabled_has_no_group_and_holds_nothing_back(
    client: Redis, lease_of: LeaseOf
) -> None:
    market_log = MarketLog(client, keys.groups(features=False))
    await market_log.open_market(BTC)
    publisher, writer = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER)
    await market_log.publish(publisher, 1, events(*range(1, 1001)))
    ids = await ids_of(market_log)
    mine = plan(ids[0], ids[-1], 1000)
    await market_log.commit_plan(writer, mine)
    await market_log.advance(writer, mine, mine)
    assert await client.xlen(keys.stream(BTC, keys.RAW)) < 200
    with pytest.raises(Conflict):
        await market_log.cursor(BTC, keys.RAW, "featurizer")
