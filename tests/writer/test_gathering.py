"""Entries become rows of the right objects; what is not ours becomes a dead letter with its reason."""

import base64
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from daedalus_common.batches import RawEntry
from daedalus_common.entries import encode
from daedalus_common.events import Book, Gap, Heartbeat, Trade
from daedalus_common.markets import Market
from daedalus_common.plans import Destination, bronze_destination, gold_destination, silver_destination
from daedalus_common.rows import Column, RowSchema, pack_rows
from daedalus_writer import gathering, metrics
from daedalus_writer.gathering import Gathering
from support.gathered import ZSTD, encoded, gather, read

BTC = Market("binanceus", "BTC/USDT")
HOUR_14 = datetime(2026, 2, 3, 14, tzinfo=UTC)
HOUR_15 = datetime(2026, 2, 3, 15, tzinfo=UTC)
MIDNIGHT = datetime(2026, 2, 4, 0, tzinfo=UTC)
SECOND = 1_000_000_000

SILVER = RowSchema("silver", "orderbook", (Column("mid_price"), Column("count", "int64")))
BARS = RowSchema("gold", "bars", (Column("close"), Column("bar_duration_sec", "int64")))
TICK_BARS = RowSchema("gold", "tick_bars", (Column("close"),))
SCHEMAS = {schema.id: schema for schema in (SILVER, BARS, TICK_BARS)}


def ns(hour: datetime, seconds: float = 0) -> int:
    return int(hour.timestamp()) * SECOND + int(seconds * SECOND)


def raw(number: int, ts: int, event: object = None) -> RawEntry:
    payload = encode(event or Heartbeat(ts))  # type: ignore[arg-type]
    return b"%d-0" % number, {b"g": b"0", b"s": b"%d" % number, b"t": b"%019d" % ts, b"e": payload}


def row(number: int, schema: RowSchema, ts: int, *values: float) -> RawEntry:
    [payload] = pack_rows(schema, np.array([ts]), np.array([values], dtype=np.float64))
    return b"%d-0" % number, {b"s": b"%d" % number, b"c": schema.table.encode(), b"p": payload}


def seqs(gathered: Gathering) -> dict[str, list[int]]:
    return {f"{place.table} {place.stamp}": found for place, found in seqs_by_place(gathered).items()}


def seqs_by_place(gathered: Gathering) -> dict[Destination, list[int]]:
    return {place: read(content)["seq"].to_pylist() for place, content in encoded(gathered, BTC, "raw").items()}


def test_each_table_and_hour_is_an_object_of_its_own() -> None:
    book = Book(1, None, None, ((1.0, 1.0),), ((2.0, 1.0),))
    run = [
        raw(1, ns(HOUR_14, 3599), book),
        raw(2, ns(HOUR_14, 3599), Trade(1, None, "7", 1.0, 1.0, None)),
        raw(3, ns(HOUR_14, 3599.999)),
        raw(4, ns(HOUR_15), book),
        raw(5, ns(HOUR_15), Gap(1, "trades", "resync")),
        raw(6, ns(HOUR_15, 1), book),
    ]
    gathered = gather(BTC, "raw", [run], {})
    assert seqs(gathered) == {
        "bronze/ccxt/orderbook 20260203T14": [1],
        "bronze/ccxt/orderbook 20260203T15": [4, 6],
        "bronze/ccxt/trades 20260203T14": [2],
        "bronze/ccxt/control 20260203T14": [3],
        "bronze/ccxt/control 20260203T15": [5],
    }
    assert gathered.row_counts[bronze_destination("ccxt", "orderbook", BTC, HOUR_15)] == 2
    assert gathered.dead == []


def test_rows_keep_the_order_of_the_stream_over_replies_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "CHUNK_ENTRIES", 7)
    run = [raw(number, ns(HOUR_14, number)) for number in range(1, 51)]
    replies = [run[:3], run[3:6], run[6:30], run[30:31], run[31:]]
    gathered = Gathering(BTC, "raw", ZSTD)
    gathered.take(replies, {})
    assert replies == [], "the entries' memory is free"
    gathered.take([[raw(51, ns(HOUR_14, 51))]], {})
    assert seqs(gathered) == {"bronze/ccxt/control 20260203T14": list(range(1, 52))}


def test_a_foreign_entry_becomes_a_dead_letter_with_its_reason_and_fields() -> None:
    odd = (b"2-0", {b"name": "naïve".encode(), b"e": b"\xff\x00"})
    gathered = gather(BTC, "raw", [[raw(1, ns(HOUR_14)), odd, raw(3, ns(HOUR_14))]], {})
    assert seqs(gathered) == {"bronze/ccxt/control 20260203T14": [1, 3], "quality/rejected 19700101T00": [None]}
    [letter] = gathered.dead
    assert (letter.id, letter.reason) == ("2-0", "field b'g' is missing")
    assert letter.fields == {"name": "naïve", "e": "base64:" + base64.b64encode(b"\xff\x00").decode()}


def test_a_run_of_foreign_entries_alone_has_dead_letters_and_no_rows() -> None:
    gathered = gather(BTC, "raw", [[(b"1-0", {b"x": b"y"}), (b"2-0", {b"x": b"z"})]], {})
    assert seqs(gathered) == {"quality/rejected 19700101T00": [None, None]}
    assert [letter.id for letter in gathered.dead] == ["1-0", "2-0"]


def test_what_a_plan_counts_as_dead_stays_dead_though_it_looks_like_ours_now() -> None:
    run = [raw(number, ns(HOUR_14)) for number in (1, 2, 3)]
    gathered = gather(BTC, "raw", [[*run, (b"4-0", {b"x": b"y"})]], {}, frozenset({"2-0", "4-0"}))
    assert seqs(gathered) == {"bronze/ccxt/control 20260203T14": [1, 3], "quality/rejected 19700101T00": [2, None]}
    assert {letter.id: letter.reason for letter in gathered.dead} == {
        "2-0": "not known when its run was planned",
        "4-0": "field b'e' is missing",
    }


def test_silver_goes_by_day_and_its_names_by_hour() -> None:
    run = [
        row(1, SILVER, ns(HOUR_15, -1), 1.0, 1),
        row(2, SILVER, ns(HOUR_15), 2.0, 2),
        row(3, SILVER, ns(MIDNIGHT), 3.0, 3),
    ]
    gathered = gather(BTC, "silver", [run], SCHEMAS)
    places = sorted(gathered.drafts)
    assert [place.stamp for place in places] == ["20260203T14", "20260203T15", "20260204T00"]
    assert places[0].partition == places[1].partition == silver_destination("orderbook", BTC, HOUR_14).partition
    assert {place.schema for place in places} == {SILVER.id.hex()}


def test_gold_bars_go_by_duration_and_month_and_other_bars_by_month() -> None:
    run = [row(1, BARS, ns(HOUR_14), 1.0, 60), row(2, BARS, ns(HOUR_14), 1.0, 300), row(3, BARS, ns(HOUR_14), 1.0, 60)]
    gathered = gather(BTC, "gold", [[*run, row(4, TICK_BARS, ns(HOUR_14), 1.0)]], SCHEMAS)
    places = {(place.table, place.partition): found for place, found in seqs_by_place(gathered).items()}
    assert places == {
        ("gold/bars", gold_destination("bars", 60, BTC, HOUR_14).partition): [1, 3],
        ("gold/bars", gold_destination("bars", 300, BTC, HOUR_14).partition): [2],
        ("gold/tick_bars", gold_destination("tick_bars", None, BTC, HOUR_14).partition): [4],
    }


def test_rows_of_two_schemas_never_share_an_object() -> None:
    newer = RowSchema("silver", "orderbook", (Column("mid_price"), Column("spread")))
    run = [
        row(1, SILVER, ns(HOUR_14), 1.0, 1),
        row(2, newer, ns(HOUR_14), 1.0, 0.5),
        row(3, SILVER, ns(HOUR_14), 1.0, 1),
    ]
    gathered = gather(BTC, "silver", [run], SCHEMAS | {newer.id: newer})
    tables = {place.schema: read(content) for place, content in encoded(gathered, BTC, "silver").items()}
    assert tables[SILVER.id.hex()].to_pylist()[1] == row_of(3, mid_price=1.0, count=1)
    assert tables[newer.id.hex()].to_pylist() == [row_of(2, mid_price=1.0, spread=0.5)]


def row_of(seq: int, **values: float) -> dict[str, object]:
    return {"timestamp": pd.Timestamp(HOUR_14), "seq": seq, **values}


def broken(**changes: bytes) -> RawEntry:
    id_, fields = row(2, SILVER, ns(HOUR_14), 1.0, 1)
    return id_, dict(fields) | {name.encode(): value for name, value in changes.items()}


GOOD = row(2, SILVER, ns(HOUR_14), 1.0, 1)[1][b"p"]


@pytest.mark.parametrize(
    ("entry", "reason", "label"),
    [
        ((b"2-0", {b"x": b"y"}), "field b'p' is missing", "missing_field"),
        (broken(p=b"short"), "row of 5 bytes", "wrong_length"),
        (broken(p=bytes(8) + GOOD[8:]), "unknown schema 0000000000000000", "unknown_schema"),
        (broken(p=GOOD[:-1]), "does not have the length its bitmap says", "wrong_length"),
        (broken(p=GOOD + bytes(8)), "does not have the length its bitmap says", "wrong_length"),
        (broken(p=GOOD[:16]), "does not have the length its bitmap says", "wrong_length"),
        (broken(p=GOOD[:8] + b"\xff" * 8 + GOOD[16:]), "out of range", "out_of_range"),
        (broken(s=b"zero"), "no row: invalid literal", "undecodable"),
        (broken(s=b"0"), "out of range", "out_of_range"),
        (broken(c=b"trades"), "not of this table", "wrong_table"),
        (row(2, BARS, ns(HOUR_14), 1.0, 60), "is of gold bars, not of this table", "wrong_table"),
        (row(2, SILVER, ns(HOUR_14), 1.0, 0.5), "a value does not fit its column", "wrong_value"),
        (row(2, SILVER, ns(HOUR_14), 1.0, 1e300), "a value does not fit its column", "wrong_value"),
        (row(2, SILVER, ns(HOUR_14), 1.0, np.inf), "a value does not fit its column", "wrong_value"),
    ],
)
def test_a_row_that_is_none_of_ours_is_refused_and_its_neighbours_are_stored(
    entry: RawEntry, reason: str, label: str
) -> None:
    run = [row(1, SILVER, ns(HOUR_14), 1.0, 1), entry, row(3, SILVER, ns(HOUR_14), 1.0, 1)]
    gathered = gather(BTC, "silver", [run], SCHEMAS)
    assert seqs(gathered) == {"silver/orderbook 20260203T14": [1, 3]}
    [letter] = gathered.dead
    assert reason in letter.reason
    assert metrics.reason_label(letter.reason) == label


@pytest.mark.parametrize("duration", [np.nan, 0.0, -60.0])
def test_a_bar_without_a_duration_has_no_place(duration: float) -> None:
    gathered = gather(BTC, "gold", [[row(1, BARS, ns(HOUR_14), 1.0, duration)]], SCHEMAS)
    assert gathered.drafts == {}
    assert gathered.dead[0].reason == "a value does not fit its column"


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_in_a_silver_stream_never_stop_the_writer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payloads = [rng.bytes(int(n)) for n in rng.integers(0, 60, 100)]
    payloads += [SILVER.id + rng.bytes(int(n)) for n in rng.integers(0, 60, 200)]
    payloads += [GOOD[:17] + rng.bytes(16) for _ in range(100)]
    run: list[RawEntry] = [
        (b"%d-0" % number, {b"s": b"%d" % number, b"c": b"orderbook", b"p": payload})
        for number, payload in enumerate(payloads, start=1)
    ]
    gathered = gather(BTC, "silver", [run], SCHEMAS)
    assert sum(gathered.row_counts.values()) + len(gathered.dead) == len(payloads)
