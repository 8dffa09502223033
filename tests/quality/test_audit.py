"""`daedalus audit` over Bronze on a disk: whole it adds up; whatever is done to it is named."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from daedalus_common.entries import encode
from daedalus_common.events import Gap, Heartbeat
from daedalus_common.markets import Market
from daedalus_common.plans import HOUR_NS
from support.bronze import BronzeBuilder, varied_events
from support.etl_runs import history, write_history
from support.live_parts import write_live
from support.market_events import START, payloads

ETH = Market("binanceus", "ETH/USDT")
Damage = Callable[[Path, list[str]], str]
"""Does something to the segments of trades; gives the key that must be named."""


class Auditor:
    """The part of the command that these tests use."""

    __call__: Callable[..., Result]
    json: Callable[..., Any]


@pytest.fixture
def recorded(bronze_of: Callable[..., BronzeBuilder]) -> BronzeBuilder:
    """Two minutes and more of all tables, in some segments each."""
    builder = bronze_of()
    builder.write(varied_events(1, 4_000))
    return builder


def segments(builder: BronzeBuilder, table: str = "trades") -> list[str]:
    return [key for key in builder.keys if f"/{table}/" in key]


def test_a_whole_recording_is_reconciled(daedalus: Auditor, recorded: BronzeBuilder) -> None:
    found = daedalus.json("audit")
    assert found["reconciled"]
    assert found["problems"] == []
    [market] = found["markets"]
    assert (market["published"], market["stored"]) == (4_000, 4_000)
    assert [market[name] for name in ("rejected", "lost", "waiting", "unexplained", "double", "disordered")] == [0] * 6
    assert market["objects"] == len(recorded.keys)
    [day] = market["days"]
    assert day["day"] == "2026-02-02"
    assert 0.9 < day["channels"]["orderbook"]["coverage"] < 1.0
    assert day["channels"]["trades"] == {"coverage": 1.0, "gap_seconds": 0.0}
    shown = daedalus("audit").stdout
    assert "reconciled: yes" in shown
    assert "binanceus:BTC-USDT" in shown


def deleted(folder: Path, keys: list[str]) -> str:
    (folder / keys[1]).unlink()
    return keys[1]


def doubled(folder: Path, keys: list[str]) -> str:
    head, _, _ = keys[-1].rpartition("_")
    twin = f"{head}_{len(keys) + 1:05d}.parquet"
    shutil.copy(folder / keys[-1], folder / twin)
    return twin


def damaged(folder: Path, keys: list[str]) -> str:
    content = bytearray((folder / keys[1]).read_bytes())
    content[4:200] = b"\xa5" * 196
    (folder / keys[1]).write_bytes(content)
    return keys[1]


def cut(folder: Path, keys: list[str]) -> str:
    content = (folder / keys[1]).read_bytes()
    (folder / keys[1]).write_bytes(content[: len(content) // 2])
    return keys[1]


def with_a_row_less(folder: Path, keys: list[str]) -> str:
    rewrite(folder / keys[1], lambda rows: rows.slice(1))
    return keys[1]


def turned(folder: Path, keys: list[str]) -> str:
    rewrite(folder / keys[1], lambda rows: rows.take(list(range(len(rows)))[::-1]))
    return keys[1]


def swapped(folder: Path, keys: list[str]) -> str:
    first, second = (folder / key for key in keys[:2])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    return keys[1]


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    file = pq.ParquetFile(path)
    rows = change(file.read())
    with pq.ParquetWriter(path, rows.schema, store_schema=False) as writer:
        writer.add_key_value_metadata({k.decode(): v.decode() for k, v in file.metadata.metadata.items()})
        writer.write_table(rows)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "deleted": (deleted, "in no row and in no gap"),
    "doubled": (doubled, "in more than one row"),
    "damaged": (damaged, "cannot be decoded"),
    "cut": (cut, "truncated"),
    "a row less": (with_a_row_less, "its footer says"),
    "turned": (turned, "not in the order of the sequence"),
    "swapped": (swapped, "begins before"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_recording_that_was_tampered_with_does_not_add_up_and_the_object_is_named(
    daedalus: Auditor, recorded: BronzeBuilder, folder: Path, name: str
) -> None:
    tamper, said = DAMAGES[name]
    key = tamper(folder, segments(recorded))
    found = daedalus.json("audit", code=1)
    assert not found["reconciled"]
    assert any(key in problem and said in problem for problem in found["problems"]), found["problems"]
    assert "reconciled: no" in daedalus("audit", code=1).stdout


def test_a_deleted_segment_is_counted_number_by_number(
    daedalus: Auditor, recorded: BronzeBuilder, folder: Path
) -> None:
    key = segments(recorded)[1]
    seqs = pq.ParquetFile(folder / key).read(columns=["seq"])["seq"].to_pylist()
    (folder / key).unlink()
    [market] = daedalus.json("audit", code=1)["markets"]
    assert (market["published"], market["stored"], market["unexplained"]) == (4_000, 4_000 - len(seqs), len(seqs))
    [problem] = daedalus.json("audit", code=1)["problems"]
    assert f"{len(seqs)} numbers" in problem
    assert str(seqs[0]) in problem


def test_the_last_segments_of_an_hour_are_missed_by_the_hour_after(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder], folder: Path
) -> None:
    builder = bronze_of()
    builder.write_payloads(heartbeats(0, 50))
    lost = builder.write_payloads(heartbeats(1, 50))
    builder.write_payloads(heartbeats(2, 50))
    for key in lost:
        (folder / key).unlink()
    [market] = daedalus.json("audit", code=1)["markets"]
    assert (market["published"], market["unexplained"]) == (150, 50)
    [problem] = daedalus.json("audit", code=1)["problems"]
    assert "51-100" in problem


def heartbeats(hour: int, count: int) -> list[tuple[int, bytes]]:
    begin = START // HOUR_NS * HOUR_NS + hour * HOUR_NS
    return payloads([Heartbeat(begin + i) for i in range(count)])


def test_a_loss_that_a_gap_declares_is_no_fault_and_a_greater_one_is(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder]
) -> None:
    builder = bronze_of()
    builder.write([Heartbeat(START)])
    builder.skip(7)
    builder.write([Heartbeat(START + 1), Gap(START + 2, "control", "server_lost", lost=7)])
    [market] = daedalus.json("audit")["markets"]
    assert (market["published"], market["stored"], market["lost"], market["unexplained"]) == (10, 3, 7, 0)
    builder.skip(5)
    builder.write([Gap(START + 3, "control", "server_lost", lost=2)])
    [market] = daedalus.json("audit", code=1)["markets"]
    assert (market["published"], market["stored"], market["lost"], market["unexplained"]) == (16, 4, 9, 3)


def test_a_gap_of_a_queue_that_was_full_explains_no_missing_number(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder]
) -> None:
    """What the queue dropped never had one."""
    builder = bronze_of()
    builder.write([Heartbeat(START)])
    builder.skip(7)
    builder.write([Gap(START + 2, "trades", "overflow", lost=7)])
    assert daedalus.json("audit", code=1)["markets"][0]["unexplained"] == 7


def test_a_generation_goes_on_with_the_numbers_or_takes_up_lost_ones_again(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder]
) -> None:
    builder = bronze_of()
    builder.write([Heartbeat(START + i) for i in range(10)])
    builder.generation += 5
    builder.write([Heartbeat(START + 100 + i) for i in range(10)])
    builder.generation += 7
    builder.seq -= 4
    builder.write([Heartbeat(START + 200 + i) for i in range(10)])
    builder.generation += 1
    builder.skip(3)
    builder.write([Gap(START + 300, "control", "server_lost", lost=3), Heartbeat(START + 301)])
    [market] = daedalus.json("audit")["markets"]
    assert (market["published"], market["stored"], market["lost"], market["double"]) == (35, 32, 3, 0)


def test_a_segment_missing_where_one_generation_follows_another_shows(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder], folder: Path
) -> None:
    builder = bronze_of()
    builder.write([Heartbeat(START + i) for i in range(10)])
    [last] = builder.write([Heartbeat(START + 60_000_000_000 + i) for i in range(5)])
    builder.generation += 5
    builder.write([Heartbeat(START + 120_000_000_000 + i) for i in range(10)])
    assert daedalus.json("audit")["markets"][0]["published"] == 25
    (folder / last).unlink()
    [problem] = daedalus.json("audit", code=1)["problems"]
    assert "11-15" in problem
    assert last in problem


def test_markets_and_days_are_chosen(daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder]) -> None:
    day = 24 * HOUR_NS
    for market in (Market("binanceus", "BTC/USDT"), ETH):
        builder = bronze_of(market)
        for number in range(3):
            builder.write([Heartbeat(START + number * day + i) for i in range(10)])
    every = daedalus.json("audit")["markets"]
    assert [(each["market"], each["published"], len(each["days"])) for each in every] == [
        ("binanceus:BTC-USDT", 30, 3),
        ("binanceus:ETH-USDT", 30, 3),
    ]
    [one] = daedalus.json("audit", "--market", "binanceus:ETH/USDT", "--day", "2026-02-03")["markets"]
    assert [(each["day"], each["published"]) for each in one["days"]] == [("2026-02-03", 10)]
    some = daedalus.json("audit", "--since", "2026-02-03", "--until", "2026-02-09")["markets"]
    assert [each["published"] for each in some] == [20, 20]


def test_days_without_anything_are_told(daedalus: Auditor, recorded: BronzeBuilder) -> None:
    assert recorded.keys
    found = daedalus.json("audit", "--day", "2020-01-01")
    assert found["notes"][0] == "binanceus:BTC-USDT: nothing is recorded in the time asked for"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--market", "binanceus:BTC-USD"), "did you mean binanceus:BTC-USDT"),
        (("--day", "yesterday"), "expected a day"),
        (("--day", "2026-02-03", "--since", "2026-02-03"), "either --day or --since"),
        (("--since", "2026-02-03", "--until", "2026-02-01"), "ends"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_do(
    daedalus: Auditor, recorded: BronzeBuilder, arguments: tuple[str, ...], said: str
) -> None:
    assert recorded.keys
    assert said in daedalus("audit", *arguments, code=2).stderr


def test_a_folder_without_bronze_is_refused(daedalus: Auditor, folder: Path) -> None:
    folder.mkdir()
    assert "there is no folder bronze" in daedalus("audit", code=2).stderr


def test_rows_of_silver_that_are_there_twice_are_found(daedalus: Auditor, folder: Path) -> None:
    recorded = history(days=0.02, count=500)
    write_history(folder, recorded)
    parts = write_live(folder, recorded)
    [market] = daedalus.json("audit")["markets"]
    assert market["features"]["parts"] == len(parts)
    rows = pq.read_metadata(folder / parts[0]).num_rows
    assert market["features"]["rows"] >= rows > 0
    twin = parts[0].replace("_00001.", "_00002.")
    shutil.copy(folder / parts[0], folder / twin)
    found = daedalus.json("audit", code=1)
    assert found["markets"][0]["features"]["double"] == rows
    [problem] = found["problems"]
    assert "more than once" in problem
    assert twin in problem


def test_late_events_are_outside_of_the_account(daedalus: Auditor, recorded: BronzeBuilder, folder: Path) -> None:
    key = segments(recorded)[0]
    copy = folder / key.replace("bronze/ccxt/", "bronze/ccxt/late/")
    copy.parent.mkdir(parents=True)
    shutil.copy(folder / key, copy)
    [market] = daedalus.json("audit")["markets"]
    assert market["late"] == pq.read_metadata(copy).num_rows
    assert market["published"] == 4_000


def test_young_numbers_that_lack_are_undecided_without_redis(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder]
) -> None:
    """A run at work is half stored for a while: its objects come one by one."""
    now = time.time_ns()
    builder = bronze_of()
    builder.write([Heartbeat(now - 1_000_000_000), Heartbeat(now - 900_000_000)])
    builder.skip(2)
    builder.write([Heartbeat(now)])
    found = daedalus.json("audit", "--offline")
    assert (found["markets"][0]["waiting"], found["markets"][0]["unexplained"]) == (2, 0)
    assert any("not stored; Redis" in note for note in found["notes"])


def test_a_hundred_thousand_events_are_audited_quickly(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder]
) -> None:
    builder = replace(bronze_of(), flush=None)
    event = encode(Heartbeat(START))
    builder.write_payloads([(START + i * 30_000_000, event) for i in range(100_000)])
    began = time.perf_counter()
    assert daedalus.json("audit")["markets"][0]["stored"] == 100_000
    assert time.perf_counter() - began < 5.0
