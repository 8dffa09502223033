"""What is merged, what is deleted and since when it waits: by tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daedalus_common.markets import Market
from daedalus_common.parquet.covers import Covers, covers_said, read_covers
from daedalus_common.stores import ObjectInfo
from daedalus_compactor.footers import Facts
from daedalus_compactor.policy import (
    Member,
    Rules,
    deletable,
    due,
    is_foreign,
    is_ready,
    next_counter,
    rivals,
    runs_of,
    units,
)

RULES = Rules(timedelta(hours=2), timedelta(hours=1), min_objects=3, target_size_bytes=100)
HOUR = "bronze/ccxt/trades/exchange=x/symbol=A-B/year=2026/month=2/day=3/hour=14/segment_20260203T14_"
DAY = "silver/trades/exchange=x/symbol=A-B/year=2026/month=2/day=3/part_20260203T"
MONTH = "gold/bars/duration=60/exchange=x/symbol=A-B/year=2026/month=2/part_202602"
NOW = datetime(2026, 2, 5, tzinfo=UTC)
EARLY = datetime(2026, 2, 3, 15, tzinfo=UTC)


def info(key: str, size: int = 10, modified: datetime = EARLY) -> ObjectInfo:
    return ObjectInfo(key, size, modified)


def facts(number: int, **other: object) -> Facts:
    usual = Facts(
        market=Market("x", "A/B"), layer="bronze", table="trades", schema="", stream="raw", columns="c",
        tables_version="2", first_id=f"{number}000-0", last_id=f"{number}999-0", first_seq=number * 10,
        last_seq=number * 10 + 9, rows=10, key_hash=f"{number:064x}", writer_version="1", is_live=True,
        covers=Covers(), merged_rows=(10,),
    )  # fmt: skip
    return replace(usual, **other)  # type: ignore[arg-type]


def segments(text: str) -> list[Member]:
    """`a` an object of ten bytes, `A` of sixty, `!` a damaged one, `s` of another schema, `<` older than the one before
    it, `~` a number that comes again, `e` of etl; in the order of their rows."""
    members = []
    for number, letter in enumerate(text, start=1):
        key = info(f"{HOUR}{number:05d}.parquet", 60 if letter == "A" else 10)
        match letter:
            case "!":
                members.append(Member(key, None))
            case "s":
                members.append(Member(key, facts(number, schema="other")))
            case "<":
                members.append(Member(key, facts(number, first_id="1-0")))
            case "~":
                members.append(Member(key, facts(number, first_seq=1)))
            case "e":
                members.append(Member(key, facts(number, is_live=False, stream="")))
            case _:
                members.append(Member(key, facts(number)))
    return members


@pytest.mark.parametrize(
    ("objects", "runs"),
    [
        ("", []),
        ("aa", []),
        ("aaa", ["1-3"]),
        ("aaaaaaaaaaaaa", ["1-10", "11-13"]),
        ("aaaaaaaaaaaa", ["1-10"]),
        ("AAA", []),
        ("Aaaaa", ["1-5"]),
        ("AAaaa", ["2-5"]),
        ("aaa!aaa", ["1-3", "5-7"]),
        ("aa!aaaa", ["4-7"]),
        ("!!!", []),
        ("aaasss", ["1-3", "4-6"]),
        ("aaasaaa", ["1-3", "5-7"]),
        ("aaa<aa", ["1-3", "4-6"]),
        ("aaa~aa", ["1-3", "4-6"]),
    ],
)
def test_neighbours_of_one_kind_are_merged_up_to_the_target_size(objects: str, runs: list[str]) -> None:
    found = [[int(key[-13:-8]) for key in run.keys] for run in runs_of(segments(objects), RULES)]
    assert [f"{run[0]}-{run[-1]}" for run in found] == runs
    assert all(run == list(range(run[0], run[-1] + 1)) for run in found)


def test_rows_of_other_layers_may_begin_their_numbers_again() -> None:
    members = [Member(member.info, replace(member.facts, layer="silver")) for member in segments("aa~") if member.facts]
    assert len(runs_of(members, RULES)) == 1


def test_a_partition_with_rows_of_etl_is_foreign() -> None:
    assert is_foreign(segments("aae"))
    assert not is_foreign(segments("aa!"))


@pytest.mark.parametrize(
    ("key", "closed"),
    [
        (f"{HOUR}00001.parquet", "2026-02-03T17:00"),
        (f"{DAY}05_00001.parquet", "2026-02-04T02:00"),
        (f"{MONTH}28T05_00001.parquet", "2026-03-01T02:00"),
        (f"{MONTH}99T05_00001.parquet", None),
        ("silver/trades/other.parquet", None),
    ],
)
def test_an_hour_of_bronze_and_a_day_of_the_others_is_closed_some_time_after_its_end(
    key: str, closed: str | None
) -> None:
    [(at, _)] = units([info(key)], RULES)
    assert (None if at is None else at.isoformat()[:16]) == closed


def test_a_month_of_gold_is_merged_day_by_day() -> None:
    keys = [f"{MONTH}{day:02d}T{hour:02d}_00001.parquet" for day in (1, 2, 3) for hour in (1, 2, 3)]
    found = units([info(key) for key in keys], RULES)
    assert [[item.key for item in infos] for _, infos in found] == [keys[0:3], keys[3:6], keys[6:9]]


CLOSED = datetime(2026, 2, 3, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "now", "youngest", "ready"),
    [
        (3, CLOSED, EARLY, True),
        (2, CLOSED, EARLY, False),
        (3, CLOSED - timedelta(seconds=1), EARLY, False),
        (3, CLOSED, CLOSED - timedelta(minutes=9), False),
        (3, CLOSED, CLOSED - timedelta(minutes=10), True),
    ],
)
def test_a_partition_waits_until_it_is_closed_and_quiet(
    count: int, now: datetime, youngest: datetime, ready: bool
) -> None:
    infos = [info(f"{HOUR}{number:05d}.parquet", modified=EARLY) for number in range(1, count)]
    assert is_ready(CLOSED, [*infos, info(f"{HOUR}00009.parquet", modified=youngest)], RULES, now) is ready


def test_it_is_due_since_it_was_closed_or_the_last_object_came() -> None:
    found = due(CLOSED, segments("aaa"), RULES)
    assert found is not None
    assert (found.since, found.objects) == (CLOSED, 3)
    late = [replace(member, info=replace(member.info, modified=NOW)) for member in segments("aaa")]
    again = due(CLOSED, late, RULES)
    assert again is not None
    assert again.since == NOW + timedelta(minutes=10)
    assert due(CLOSED, segments("a!a"), RULES) is None


def covering(*numbers: int) -> Covers:
    pairs = [(f"{HOUR}{number:05d}.parquet", f"{number:064x}") for number in numbers]
    return read_covers({f"daedalus.{name}".encode(): text.encode() for name, text in covers_said(pairs).items()})


def test_a_name_is_given_once_even_if_what_had_it_is_gone() -> None:
    infos = [info(f"{HOUR}00003.parquet"), info(f"{DAY}05_00009.parquet")]
    assert next_counter(infos, {}, "20260203T14") == 4
    assert next_counter(infos, {f"{HOUR}00003.parquet": covering(1, 2, 7)}, "20260203T14") == 8
    assert next_counter(infos, {}, "20260203T05") == 10
    assert next_counter([], {}, "20260203T14") == 1


@pytest.mark.parametrize(
    ("made_before", "verified", "deleted"),
    [
        (timedelta(hours=1), True, [1, 2]),
        (timedelta(minutes=59), True, []),
        (timedelta(hours=9), False, []),
    ],
)
def test_covered_objects_go_when_the_merged_one_was_verified_and_its_grace_has_passed(
    made_before: timedelta, verified: bool, deleted: list[int]
) -> None:
    merged = info(f"{HOUR}00009.parquet", modified=NOW - made_before)
    there = [info(f"{HOUR}{number:05d}.parquet") for number in (1, 2, 5)]
    known = {merged.key: (merged, covering(1, 2, 3))}
    found = deletable(there, known, {merged.key} if verified else set(), RULES, NOW)
    assert [int(each.key[-13:-8]) for each in found] == deleted


@pytest.mark.parametrize(
    ("merged", "foreign", "pairs"),
    [
        ({11: [1, 2, 3], 12: [3, 4], 13: [5, 6]}, {}, [(11, 12)]),
        ({11: [1, 2], 12: [1, 2]}, {}, [(11, 12)]),
        ({11: [1, 2], 12: [1, 2, 3]}, {}, [(12, 11)]),
        ({11: [1, 2, 3], 12: [1, 2]}, {}, [(11, 12)]),
        ({11: [1, 2]}, {21: [2, 3], 22: [1]}, [(21, 11)]),
        ({11: [1, 2]}, {21: [3]}, []),
    ],
)
def test_two_that_stand_for_the_same_rows_are_rivals_and_the_one_with_less_should_go(
    merged: dict[int, list[int]], foreign: dict[int, list[int]], pairs: list[tuple[int, int]]
) -> None:
    def named(objects: dict[int, list[int]]) -> dict[str, Covers]:
        return {f"{HOUR}{number:05d}.parquet": covering(*of) for number, of in objects.items()}

    found = [(int(one[-13:-8]), int(two[-13:-8])) for one, two in rivals(named(merged), named(foreign))]
    assert found == pairs
