"""When a buffer is flushed, and which ones: a table of looks and decisions."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daedalus_writer.flush import Limits, Look, Reason, flushes_due

LIMITS = Limits(interval=timedelta(seconds=5), size_bytes=1000, rows=100, memory_bytes=10_000)
FRESH: Look[str] = Look(
    name="a",
    entries=10,
    size_bytes=100,
    memory_bytes=200,
    age=timedelta(seconds=1),
    crosses_hour=False,
    writing=False,
)


def due(*looks: Look[str], stopping: bool = False) -> dict[str, Reason]:
    return dict(flushes_due([replace(look, last=stopping) for look in looks], LIMITS))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"age": timedelta(seconds=4.999)}, None),
        ({"age": timedelta(seconds=5)}, Reason.INTERVAL),
        ({"size_bytes": 999}, None),
        ({"size_bytes": 1000}, Reason.BYTES),
        ({"entries": 99}, None),
        ({"entries": 100}, Reason.ROWS),
        ({"crosses_hour": True}, Reason.HOUR),
        ({"crosses_hour": True, "age": timedelta(seconds=9), "size_bytes": 5000}, Reason.HOUR),
        ({"memory_bytes": 5000}, None),
        ({"memory_bytes": 5001}, Reason.MEMORY),
    ],
)
def test_a_buffer_is_flushed_for_the_first_reason_that_holds(change: dict[str, Any], reason: Reason | None) -> None:
    assert due(replace(FRESH, **change)).get("a") is reason


@pytest.mark.parametrize("change", [{"entries": 0}, {"writing": True}])
def test_an_empty_buffer_or_one_whose_stream_is_being_written_waits_whatever_holds(change: dict[str, Any]) -> None:
    urgent = replace(FRESH, age=timedelta(hours=1), size_bytes=5000, memory_bytes=9000, crosses_hour=True)
    assert due(replace(urgent, **change), stopping=True) == {}


def test_at_a_stop_everything_goes() -> None:
    assert due(FRESH, replace(FRESH, name="b", entries=1), stopping=True) == {"a": Reason.STOP, "b": Reason.STOP}


def test_too_much_memory_flushes_the_largest_first_until_half_the_budget_is_free() -> None:
    looks = [replace(FRESH, name=name, memory_bytes=size) for name, size in zip("abc", (1500, 4000, 2500), strict=True)]
    assert due(*looks) == {"b": Reason.MEMORY}
    more = replace(FRESH, name="d", memory_bytes=3000)
    assert due(*looks, more) == {"b": Reason.MEMORY, "d": Reason.MEMORY}


def test_what_is_due_anyway_counts_as_free_memory() -> None:
    old = replace(FRESH, name="old", memory_bytes=4000, age=timedelta(seconds=6))
    assert due(old, replace(FRESH, memory_bytes=3000)) == {"old": Reason.INTERVAL}


def test_memory_that_waits_for_a_writing_stream_makes_others_go() -> None:
    stuck = replace(FRESH, name="stuck", memory_bytes=6000, writing=True)
    assert due(stuck, FRESH) == {"a": Reason.MEMORY}
