"""The audit where Redis came back without the end of a sequence: what that explains, and what it does not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from daedalus_common.events import Book, Event, Gap, Heartbeat, Ticker, Trade
from daedalus_common.plans import HOUR_NS
from support.bronze import BronzeBuilder
from support.compaction import write_quality
from support.market_events import START

MINUTE = 60_000_000_000


class Auditor:
    """The part of the command that these tests use."""

    __call__: Callable[..., Result]
    json: Callable[..., Any]


def run(builder: BronzeBuilder, minute: int, count: int = 10) -> list[str]:
    """A run of the writer: every other event is a ticker, so there are an object of tickers and one of control."""
    at = START + minute * MINUTE
    events: list[Event] = [Heartbeat(at + i) if i % 2 else ticker(at + i) for i in range(count)]
    return builder.write(events)


def ticker(capture_ts: int) -> Ticker:
    return Ticker(capture_ts, None, *[1.0] * 11)


def half_of(builder: BronzeBuilder, keys: list[str]) -> None:
    """The run's tickers were never stored."""
    [tickers] = [key for key in keys if "/ticker/" in key]
    builder.take_back(tickers)


def numbers(report: Any) -> tuple[int, ...]:
    [market] = report["markets"]
    return tuple(market[name] for name in ("published", "stored", "lost", "unexplained"))


def repeats_numbers(builder: BronzeBuilder) -> None:
    """Redis knew nothing of the last 14, and another publisher went on."""
    builder.seq -= 14
    run(builder, 4)


def declares_how_many(builder: BronzeBuilder) -> None:
    """The publisher went on: of the 18 that Redis had lost, 14 had come into a run."""
    builder.skip(4)
    builder.write([Gap(START + 4 * MINUTE, "control", "server_lost", lost=18)])


def is_raised(builder: BronzeBuilder) -> None:
    """Nobody published before the writer saw it."""
    builder.write([Gap(START + 4 * MINUTE, "control", "server_lost")])


@pytest.mark.parametrize(
    ("goes_on", "expected"),
    [(repeats_numbers, (40, 35, 5, 0)), (declares_how_many, (35, 26, 9, 0)), (is_raised, (31, 26, 5, 0))],
)
def test_a_run_stored_in_part_whose_plan_redis_has_lost_is_a_declared_loss(
    daedalus: Auditor,
    bronze_of: Callable[..., BronzeBuilder],
    goes_on: Callable[[BronzeBuilder], None],
    expected: tuple[int, ...],
) -> None:
    builder = bronze_of()
    run(builder, 0)
    run(builder, 1)
    half_of(builder, run(builder, 2))
    builder.generation += 5
    goes_on(builder)
    report = daedalus.json("audit")
    assert report["problems"] == []
    assert numbers(report) == expected


@pytest.mark.parametrize("goes_on", [repeats_numbers, declares_how_many, is_raised])
def test_objects_of_runs_before_are_missed_though_redis_has_lost_its_tail(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder], goes_on: Callable[[BronzeBuilder], None]
) -> None:
    builder = bronze_of()
    run(builder, 0)
    half_of(builder, run(builder, 1))
    run(builder, 2)
    builder.generation += 5
    goes_on(builder)
    report = daedalus.json("audit", code=1)
    assert numbers(report)[-1] == 5


@pytest.mark.parametrize("reason", ["spool_lost", "overflow", "takeover"])
def test_what_never_had_a_number_explains_no_hole(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder], reason: str
) -> None:
    """The spool counts its losses as one number, that of the gap."""
    builder = bronze_of()
    run(builder, 0)
    builder.skip(7)
    builder.write([Gap(START + MINUTE, "control", reason, lost=7)])
    assert numbers(daedalus.json("audit", code=1))[-1] == 7


def test_a_segment_deleted_at_the_beginning_of_a_generation_that_repeats_numbers_is_missed_by_its_name(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder], folder: Path
) -> None:
    builder = bronze_of()
    run(builder, 0)
    run(builder, 1)
    builder.generation += 5
    builder.seq -= 15
    gone = run(builder, 2)
    run(builder, 3)
    assert daedalus.json("audit")["problems"] == []
    for key in gone:
        (folder / key).unlink()
    problems = daedalus.json("audit", code=1)["problems"]
    assert all(any(key in problem for problem in problems) for key in gone)


def test_the_first_segments_of_a_recording_are_missed_by_their_names(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder], folder: Path
) -> None:
    builder = bronze_of()
    first = run(builder, 0)
    run(builder, 1)
    for key in first:
        (folder / key).unlink()
    problems = daedalus.json("audit", code=1)["problems"]
    assert all(any(key in problem for problem in problems) for key in first)


def one_of_each(at: int) -> list[Event]:
    """Of the data channels."""
    return [Book(at, None, None, ((1.0, 1.0),), ((2.0, 1.0),)), Trade(at, None, "1", 1.0, 1.0, "buy"), ticker(at)]


def test_a_gap_that_ended_once_more_after_redis_had_lost_its_end_is_no_fault(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder], folder: Path
) -> None:
    """Its first end was among what was lost. Without a loss, and of phase `open`, no row is there twice."""
    builder = bronze_of()
    builder.write([Gap(START, "ticker", "start"), *one_of_each(START + 1), *(ticker(START + i) for i in range(4, 10))])
    opened, closed = write_quality(builder.store, builder.market, builder.keys, 2)
    twin = folder / closed.replace("_00002.", "_00003.")
    shutil.copy(folder / closed, twin)
    [problem] = daedalus.json("audit", code=1)["problems"]
    assert "1 rows of quality/gaps are there more than once (closed: entry " in problem
    builder.generation += 5
    builder.seq -= 4
    run(builder, 1)
    report = daedalus.json("audit")
    assert (report["problems"], report["notes"][1:]) == ([], [])
    shutil.copy(folder / opened, twin)
    [problem] = daedalus.json("audit", code=1)["problems"]
    assert "(open: entry " in problem


def test_a_gap_over_midnight_has_its_rows_in_two_days(
    daedalus: Auditor, bronze_of: Callable[..., BronzeBuilder], folder: Path
) -> None:
    midnight = (START // (24 * HOUR_NS) + 1) * 24 * HOUR_NS
    builder = bronze_of()
    builder.write([*one_of_each(midnight - 2 * MINUTE), Gap(midnight - MINUTE, "ticker", "reconnect")])
    builder.write([ticker(midnight + MINUTE), Gap(midnight + 2 * MINUTE, "ticker", "reconnect")])
    opened, *others = write_quality(builder.store, builder.market, builder.keys, 3)
    assert ["/day=2/" in key for key in (opened, *others)] == [True, False, False]
    days = ("--day", "2026-02-02"), ("--day", "2026-02-03"), ("--since", "2026-02-03"), ()
    for arguments in days:
        report = daedalus.json("audit", *arguments)
        assert report["problems"] == []
        assert [note for note in report["notes"] if "Redis was not asked" not in note] == []
    (folder / others[-1]).unlink()
    assert daedalus.json("audit", *days[0])["problems"] == []
    for arguments in days[1:]:
        [problem] = daedalus.json("audit", *arguments, code=1)["problems"]
        assert "1 of " in problem
