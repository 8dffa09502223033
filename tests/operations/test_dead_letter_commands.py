"""`daedalus dlq`: what was refused is counted and shown safely; rows go back once they are understood, each once."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from daedalus.operations.dead_letters import Result, drop, letters, newest, retry
from daedalus_common.broker import keys
from daedalus_common.broker.dead_letters import DeadLetter, StoredLetter, field_text, stored_letter
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.config import Config
from daedalus_common.entries import encode
from daedalus_common.events import Genesis, Heartbeat, Trade
from daedalus_common.leases import Lease, Role
from daedalus_common.markets import Market
from daedalus_common.plans import Plan
from daedalus_common.rows import Column, RowSchema, pack_rows
from daedalus_common.stores import LocalDisk
from daedalus_writer.settings import settings_from
from support.lake import all_seqs, objects
from support.writers import build_writer, running, until, until_written

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("kraken", "ETH/USD")
SILVER = RowSchema("silver", "orderbook", (Column("mid_price"),))
WIDER = RowSchema("silver", "orderbook", (Column("mid_price"), Column("spread")))
HOUR_NS = 3_600_000_000_000
NOON = 1_770_120_000_000_000_000
LeaseOf = Callable[..., Awaitable[Lease]]


def row(schema: RowSchema, seq: int, ts: int) -> dict[bytes, bytes]:
    (payload,) = pack_rows(schema, np.array([ts]), np.ones((1, len(schema.columns))))
    return {b"s": b"%d" % seq, b"c": schema.table.encode(), b"p": payload}


async def bury(
    client: Redis, fields: Mapping[bytes, bytes], stream: str = "silver", reason: str = "odd", market: Market = BTC
) -> str:
    """Stores a dead letter as the writer does."""
    texts = {field_text(name): field_text(value) for name, value in fields.items()}
    letter = {"stream": stream, "id": "1770120000000-0", "reason": reason, "fields": json.dumps(texts)}
    id_ = await client.xadd(keys.dead_letters(market), letter)  # type: ignore[arg-type]
    assert isinstance(id_, bytes)
    return id_.decode()


async def letter_of(client: Redis, id_: str) -> StoredLetter:
    (found,) = [letter async for letter in letters(client, BTC) if letter.id == id_]
    return found


async def silver_of(market_log: MarketLog) -> list[Mapping[bytes, bytes]]:
    return [fields for _, fields in await market_log.read(BTC, keys.SILVER, "0-0", 100)]


async def declare(market_log: MarketLog, lease: Lease, genesis: str, schema: RowSchema) -> None:
    await market_log.add_genesis(lease, genesis, 5, encode(Genesis(5, genesis, b"{}")), [schema])


# as they are stored


@pytest.mark.parametrize(
    "value", [b"", b"text", "naïve".encode(), b"\xff\x00", b"base64:AAAA", b"base64:?", b"\x1b[2J"]
)
def test_fields_come_back_byte_for_byte(value: bytes) -> None:
    fields = json.dumps({field_text(b"e"): field_text(value)}).encode()
    assert stored_letter(b"1-0", {b"fields": fields}).fields == {b"e": value}


@pytest.mark.parametrize("fields", [{}, {b"fields": b"no json"}, {b"fields": b"[1]"}, {b"reason": b"\xff"}])
def test_a_letter_that_somebody_else_wrote_is_read_all_the_same(fields: dict[bytes, bytes]) -> None:
    assert stored_letter(b"1-0", fields).fields == {}


# list and show


async def test_letters_are_counted_by_market_stream_and_reason_and_the_newest_listed(
    client: Redis, market_log: MarketLog, daedalus: Any
) -> None:
    await MarketLog(client).open_market(ETH)
    for _ in range(3):
        await bury(client, {b"x": b"y"}, "raw", "field b'e' is missing")
    last = await bury(client, {b"p": b"123"}, "silver", "unknown schema 00")
    await bury(client, {b"x": b"y"}, "raw", "unknown kind 9", ETH)
    found = await asyncio.to_thread(daedalus.json, "dlq", "list", "--limit", "2")
    assert [(c["market"], c["stream"], c["letters"]) for c in found["counts"]] == [
        ("binanceus:BTC-USDT", "raw", 3),
        ("binanceus:BTC-USDT", "silver", 1),
        ("kraken:ETH-USD", "raw", 1),
    ]
    assert [each["market"] for each in found["newest"]] == ["binanceus:BTC-USDT"] * 2 + ["kraken:ETH-USD"]
    assert (found["newest"][0]["id"], found["newest"][0]["size_bytes"]) == (last, 3)
    text = (await asyncio.to_thread(daedalus, "dlq", "list", "kraken:ETH/USD")).stdout
    assert "unknown kind 9" in text
    assert "binanceus" not in text


async def test_more_letters_than_a_page_are_all_counted(client: Redis, market_log: MarketLog, daedalus: Any) -> None:
    for _ in range(450):
        await bury(client, {b"x": b"y"})
    found = await asyncio.to_thread(daedalus.json, "dlq", "list")
    assert [c["letters"] for c in found["counts"]] == [450]
    assert len(found["newest"]) == 20


async def test_no_letters_is_said(market_log: MarketLog, daedalus: Any) -> None:
    assert (await asyncio.to_thread(daedalus, "dlq", "list")).stdout == "no dead letters\n"
    assert await asyncio.to_thread(daedalus.json, "dlq", "list") == {"counts": [], "newest": []}


async def test_a_letter_is_shown_without_anything_a_terminal_obeys_and_bounded(
    client: Redis, market_log: MarketLog, daedalus: Any
) -> None:
    fields = {b"plain": b"text", b"evil": b"\x1b[2Jx", b"bytes": b"\xff" * 1000, b"long": "é".encode() * 500}
    id_ = await bury(client, fields, "raw", "bad \x1b[31m reason")
    shown = await asyncio.to_thread(daedalus, "dlq", "show", "--id", id_, "--bytes", "15")
    assert "\x1b" not in shown.output
    assert "bad \\x1b[31m reason" in shown.stdout
    found = await asyncio.to_thread(daedalus.json, "dlq", "show", "--id", id_, "--bytes", "15")
    assert (found["market"], found["stream"], found["entry_id"]) == ("binanceus:BTC-USDT", "raw", "1770120000000-0")
    assert found["fields"] == [
        {"name": "plain", "size_bytes": 4, "text": "text", "cut": False},
        {"name": "evil", "size_bytes": 5, "hex": "1b5b324a78", "cut": False},
        {"name": "bytes", "size_bytes": 1000, "hex": "ff" * 15, "cut": True},
        {"name": "long", "size_bytes": 1000, "text": "é" * 7, "cut": True},
    ]


# retry


async def test_a_row_goes_back_only_once_it_is_understood_and_then_once(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, daedalus: Any
) -> None:
    featurizer = await lease_of(Role.FEATURIZER)
    fields = row(SILVER, 7, NOON)
    id_ = await bury(client, fields)
    stale = await letter_of(client, id_)
    (refused,) = await asyncio.to_thread(daedalus.json, "dlq", "retry", "--id", id_, code=1)
    assert (refused["result"], refused["text"]) == (
        "refused",
        f"still not understood: unknown schema {SILVER.id.hex()}",
    )
    assert await silver_of(market_log) == []
    await declare(market_log, featurizer, "g-1", SILVER)
    (done,) = await asyncio.to_thread(daedalus.json, "dlq", "retry", "binanceus:BTC-USDT", "--all")
    ((entry_id, found),) = await market_log.read(BTC, keys.SILVER, "0-0", 100)
    assert (done["result"], done["text"], found) == ("put back", entry_id.decode(), fields)
    assert await newest(client, BTC, 10) == []
    (again,) = await retry(client, BTC, [stale])
    assert again.result is Result.GONE
    assert len(await silver_of(market_log)) == 1


async def test_two_who_retry_at_the_same_time_put_a_row_back_once(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    await declare(market_log, await lease_of(Role.FEATURIZER), "g-1", SILVER)
    for seq in range(1, 21):
        await bury(client, row(SILVER, seq, NOON))
    found = [letter async for letter in letters(client, BTC)]
    outcomes = await asyncio.gather(*(retry(client, BTC, found) for _ in range(4)))
    results = [outcome.result for own in outcomes for outcome in own]
    assert (results.count(Result.PUT_BACK), results.count(Result.GONE)) == (20, 60)
    assert sorted(int(fields[b"s"]) for fields in await silver_of(market_log)) == list(range(1, 21))


@pytest.mark.parametrize(
    ("stream", "fields", "why"),
    [
        ("silver", {b"x": b"y"}, "still not understood: field b'p' is missing"),
        ("silver", row(SILVER, 1, NOON) | {b"c": b"trades"}, "is of silver orderbook, not of this table"),
        ("gold", row(SILVER, 1, NOON), "is of silver orderbook, not of this table"),
        ("raw", {b"x": b"y"}, "still not understood: field b'e' is missing"),
        (
            "raw",
            {b"g": b"0", b"s": b"1", b"t": b"5", b"e": encode(Trade(5, None, "7", 1.0, 1.0, None))},
            "its place in the market's sequence has passed",
        ),
        ("copper", row(SILVER, 1, NOON), "its stream is not one of ours: copper"),
        ("silver", {}, "its id or its fields were not kept"),
    ],
)
async def test_what_cannot_go_back_says_why_and_stays(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, stream: str, fields: dict[bytes, bytes], why: str
) -> None:
    await declare(market_log, await lease_of(Role.FEATURIZER), "g-1", SILVER)
    lengths = [await client.xlen(keys.stream(BTC, name)) for name in keys.STREAMS]
    id_ = await bury(client, fields, stream)
    (outcome,) = await retry(client, BTC, [await letter_of(client, id_)])
    assert outcome.result is Result.REFUSED
    assert why in outcome.text
    assert [await client.xlen(keys.stream(BTC, name)) for name in keys.STREAMS] == lengths
    assert [letter.id for letter in await newest(client, BTC, 10)] == [id_]


async def test_a_row_whose_stream_is_gone_stays_a_dead_letter(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    await declare(market_log, await lease_of(Role.FEATURIZER), "g-1", SILVER)
    id_ = await bury(client, row(SILVER, 1, NOON))
    await client.delete(keys.stream(BTC, keys.SILVER))
    (outcome,) = await retry(client, BTC, [await letter_of(client, id_)])
    assert (outcome.result, outcome.text) == (Result.REFUSED, "the market has no stream silver any more")
    assert await client.exists(keys.stream(BTC, keys.SILVER)) == 0
    assert len(await newest(client, BTC, 10)) == 1


def total(name: str) -> float:
    """A counter over all its labels."""
    samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name == name)


async def test_the_writer_stores_a_retried_row_in_the_part_of_its_hour_and_goes_on_where_it_was(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf, tmp_path: Path
) -> None:
    featurizer = await lease_of(Role.FEATURIZER)
    silver = keys.stream(BTC, keys.SILVER)
    await declare(market_log, featurizer, "g-1", SILVER)
    seq = 0

    async def add(schema: RowSchema, ts: int) -> None:
        nonlocal seq
        seq += 1
        await client.xadd(silver, row(schema, seq, ts))  # type: ignore[arg-type]
        await until_written(task, market_log, BTC, (keys.SILVER,))

    before = total("daedalus_writer_anomalies_total")
    async with running(build_writer(client, LocalDisk(tmp_path, fsync=False), [BTC])) as task:
        await add(WIDER, NOON)
        await add(SILVER, NOON + HOUR_NS)
        await add(SILVER, NOON + HOUR_NS + 1)
        (letter,) = await newest(client, BTC, 10)
        assert letter.reason == f"unknown schema {WIDER.id.hex()}"
        await declare(market_log, featurizer, "g-2", WIDER)
        (outcome,) = await retry(client, BTC, [letter])
        assert outcome.result is Result.PUT_BACK
        await until_written(task, market_log, BTC, (keys.SILVER,))
        await until(lambda: is_stored(1, tmp_path), task)
        await add(SILVER, NOON + HOUR_NS + 2)
    assert all_seqs(tmp_path, "silver") == [1, 2, 3, 4]
    names = [key.rpartition("/")[2] for key in objects(tmp_path) if key.startswith("silver")]
    assert names == [
        "part_20260203T12_00001.parquet",
        "part_20260203T13_00001.parquet",
        "part_20260203T13_00002.parquet",
        "part_20260203T13_00003.parquet",
    ]
    assert total("daedalus_writer_anomalies_total") == before, "no name was taken twice"


async def is_stored(seq: int, folder: Path) -> bool:
    return seq in all_seqs(folder, "silver")


# drop


async def test_dropping_asks_first_and_deletes_what_was_asked_for(
    client: Redis, market_log: MarketLog, daedalus: Any
) -> None:
    ids = [await bury(client, {b"x": b"y"}) for _ in range(4)]
    result = await asyncio.to_thread(daedalus, "dlq", "drop", "--all", stdin="n\n", code=1)
    assert "Delete 4 dead letters of binanceus:BTC-USDT for good?" in result.stderr
    assert len(await newest(client, BTC, 10)) == 4
    assert await asyncio.to_thread(daedalus.json, "dlq", "drop", "--id", ids[1], "--yes") == {"deleted": 1}
    assert {letter.id for letter in await newest(client, BTC, 10)} == {ids[0], ids[2], ids[3]}
    await asyncio.to_thread(daedalus, "dlq", "drop", "--all", stdin="y\n")
    assert await newest(client, BTC, 10) == []


async def test_a_letter_that_comes_after_the_question_is_not_dropped(client: Redis, market_log: MarketLog) -> None:
    for _ in range(300):
        await bury(client, {b"x": b"y"})
    seen = [letter.id async for letter in letters(client, BTC)]
    late = await bury(client, {b"x": b"z"})
    assert await drop(client, BTC, seen) == 300
    assert [letter.id for letter in await newest(client, BTC, 10)] == [late]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("retry",), "retry needs either --id ID or --all"),
        (("drop", "--all", "--id", "1-1"), "drop needs either --id ID or --all"),
        (("show", "--id", "1-1"), "no dead letter 1-1 in binanceus:BTC-USDT"),
        (("show", "--id", "newest"), "newest is no id such as 1700000000000-0"),
        (("list", "binanceus:BTC-USD"), "no market binanceus:BTC-USD; did you mean binanceus:BTC-USDT?"),
    ],
)
async def test_wrong_usage_is_2_and_says_what_to_give(
    market_log: MarketLog, daedalus: Any, arguments: tuple[str, ...], told: str
) -> None:
    result = await asyncio.to_thread(daedalus, "dlq", *arguments, code=2)
    assert told in result.stderr


async def test_an_id_that_two_markets_have_needs_the_market(
    client: Redis, market_log: MarketLog, daedalus: Any
) -> None:
    await MarketLog(client).open_market(ETH)
    for market in (BTC, ETH):
        await client.xadd(keys.dead_letters(market), {"reason": "r"}, id="5-5")
    result = await asyncio.to_thread(daedalus, "dlq", "drop", "--id", "5-5", "--yes", code=2)
    assert "5-5 is in binanceus:BTC-USDT, kraken:ETH-USD; name the market" in result.stderr
    await asyncio.to_thread(daedalus, "dlq", "drop", "kraken:ETH-USD", "--id", "5-5", "--yes")
    assert [await client.xlen(keys.dead_letters(market)) for market in (BTC, ETH)] == [1, 0]


# how many are kept


async def test_the_oldest_make_room_and_how_many_is_told(
    client: Redis, market_log: MarketLog, lease_of: LeaseOf
) -> None:
    publisher, writer = await lease_of(Role.INGESTOR), await lease_of(Role.WRITER)
    await market_log.publish(publisher, 1, [(1, encode(Heartbeat(1)))])
    ((id_, _),) = await market_log.read(BTC, keys.RAW, "0-0", 1)
    plan = Plan(keys.RAW, "0-0", id_.decode(), id_.decode(), 1, ())
    await market_log.commit_plan(writer, plan)
    dead = [DeadLetter(f"{number}-0", "odd", {}) for number in range(1, 1001)]
    dropped = await market_log.advance(writer, plan, plan, dead, max_dead=300)
    kept = [letter async for letter in letters(client, BTC)]
    assert dropped + len(kept) == 1000
    assert 300 <= len(kept) < 500, "about 300: whole nodes of the stream go"
    assert kept[-1].entry_id == "1000-0"
    assert await market_log.advance(writer, plan, plan, dead, max_dead=300) == 0, "a repeated call changes nothing"
    assert await client.xlen(keys.dead_letters(BTC)) == len(kept)


async def test_the_writer_keeps_as_many_as_configured_and_counts_what_it_dropped(
    client: Redis, market_log: MarketLog, tmp_path: Path
) -> None:
    async with client.pipeline(transaction=False) as pipe:
        for _ in range(1000):
            pipe.xadd(keys.stream(BTC, keys.RAW), {"x": "y"})  # type: ignore[unused-awaitable]
        await pipe.execute()
    before = total("daedalus_writer_dead_letters_dropped_total")
    store = LocalDisk(tmp_path, fsync=False)
    async with running(build_writer(client, store, [BTC], max_dead_letters=200)) as task:
        await until_written(task, market_log, BTC, (keys.RAW,))
    kept = await client.xlen(keys.dead_letters(BTC))
    assert 200 <= kept < 400
    assert total("daedalus_writer_dead_letters_dropped_total") - before == 1000 - kept


def test_how_many_are_kept_is_configured() -> None:
    config = Config.model_validate({"writer": {"max_dead_letters": 500}})
    assert settings_from(config).max_dead_letters == 500
    assert settings_from(Config()).max_dead_letters == 10_000
