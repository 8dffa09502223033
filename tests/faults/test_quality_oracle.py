"""quality/gaps, broken on purpose beside a whole Bronze: a row that is missing, double or of no gap is noticed."""

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faults.cells import Cell, Window, nothing
from faults.evidence import Evidence, Violation
from faults.oracle import judge

Change = Callable[[pa.Table], pa.Table]
GAP_ROWS = 6
"""Of three channels: each gap is declared, and ended."""


def spoil(evidence: Evidence, change: Change) -> Evidence:
    """With other rows in quality/gaps."""
    [path] = (evidence.data / "quality/gaps").rglob("*.parquet")
    pq.write_table(change(pq.ParquetFile(path).read()), path)
    return replace(evidence)


def with_value(column: str, value: object, phase: str) -> Change:
    """With another value in the first row of this phase."""

    def change(rows: pa.Table) -> pa.Table:
        values = rows[column].to_pylist()
        values[place(rows, phase)] = value
        at = rows.schema.get_field_index(column)
        return rows.set_column(at, column, pa.array(values, pa.string() if isinstance(value, str) else pa.int64()))

    return change


def place(rows: pa.Table, phase: str) -> int:
    return int(rows["phase"].cast(pa.string()).to_pylist().index(phase))


def without(phase: str) -> Change:
    """Its first row of this phase is gone."""
    return lambda rows: rows.filter(pa.array([number != place(rows, phase) for number in range(rows.num_rows)]))


def doubled(phase: str) -> Change:
    return lambda rows: pa.concat_tables([rows, rows.slice(place(rows, phase), 1)])


def told(evidence: Evidence) -> list[Violation]:
    return judge(evidence)


def loss(evidence: Evidence, seconds_late: float = 0.0) -> Window:
    """Redis loses what it got since the first row of Bronze, or since a while later."""
    rows = next(iter(evidence.rows.values()))
    begin = int(rows["stream_ms"].min() * 1_000_000 + seconds_late * 1e9)  # type: ignore[operator]
    cell = Cell("redis", "lost tail", nothing)
    return Window(cell, begin, begin + 10**9, begin + 10**9, 1.0, 100, None, None, lost_from_ns=begin)


def test_the_recording_has_a_row_for_the_begin_and_the_end_of_each_gap(evidence: Evidence) -> None:
    assert [rows.height for rows in evidence.gap_rows.values()] == [GAP_ROWS]
    assert told(evidence) == []


def test_a_gap_without_a_row_is_noticed(evidence: Evidence) -> None:
    [violation] = told(spoil(evidence, without("open")))
    assert violation.invariant == "I1"
    assert "is no row of quality/gaps" in violation.text


def test_a_recording_without_the_table_is_noticed(evidence: Evidence) -> None:
    for path in (evidence.data / "quality").rglob("*.parquet"):
        path.unlink()
    assert [violation.invariant for violation in told(evidence)] == ["I1"] * 3


def test_a_gap_whose_end_nobody_saw_needs_no_second_row(evidence: Evidence) -> None:
    assert told(spoil(evidence, without("closed"))) == []


@pytest.mark.parametrize("phase", ["open", "closed"])
def test_a_row_that_is_there_twice_is_noticed(evidence: Evidence, phase: str) -> None:
    [violation] = told(spoil(evidence, doubled(phase)))
    assert violation.invariant == "I2"
    assert f"has 2 rows of phase {phase}" in violation.text


@pytest.mark.parametrize(("column", "value"), [("reason", "stale"), ("channel", "control"), ("lost", 5), ("seq", 77)])
@pytest.mark.parametrize("phase", ["open", "closed"])
def test_a_row_that_says_other_than_its_event_is_noticed(
    evidence: Evidence, column: str, value: object, phase: str
) -> None:
    found = told(spoil(evidence, with_value(column, value, phase)))
    assert {violation.invariant for violation in found} == {"I1"}
    assert any(f"quality/gaps ({phase}): Bronze has no" in violation.text for violation in found)


def test_an_older_build_wrote_no_such_rows(evidence: Evidence) -> None:
    missing = spoil(evidence, without("open"))
    rolled = replace(loss(evidence), cell=Cell("build", "rolling update", nothing, needs=frozenset({"older"})))
    assert told(replace(missing, windows=(replace(rolled, lost_from_ns=None),))) == []
    before = replace(rolled, lost_from_ns=None, healed_ns=rolled.began_ns - 10**9)
    assert [violation.invariant for violation in told(replace(missing, windows=(before,)))] == ["I1"]


def test_only_what_redis_lost_excuses_a_missing_row(evidence: Evidence) -> None:
    missing = spoil(evidence, without("open"))
    assert not [v for v in told(replace(missing, windows=(loss(evidence),))) if v.invariant == "I1"]
    later = loss(evidence, seconds_late=5.0)
    assert [v.invariant for v in told(replace(missing, windows=(later,)))] == ["I1"]
    kept = replace(loss(evidence), lost_from_ns=None)
    assert [v.invariant for v in told(replace(missing, windows=(kept,)))] == ["I1"]


def test_a_loss_excuses_no_double_declaration(evidence: Evidence) -> None:
    twice = spoil(evidence, doubled("open"))
    assert "I2" in {violation.invariant for violation in told(replace(twice, windows=(loss(evidence),)))}


def test_a_second_end_is_excused_only_where_the_first_one_was_lost(evidence: Evidence) -> None:
    twice = spoil(evidence, doubled("closed"))
    assert "I2" not in {violation.invariant for violation in told(replace(twice, windows=(loss(evidence),)))}
    spooled = loss(evidence, seconds_late=10.0)
    assert "I2" not in {violation.invariant for violation in told(replace(twice, windows=(spooled,)))}
    late = loss(evidence, seconds_late=300.0)
    assert "I2" in {violation.invariant for violation in told(replace(twice, windows=(late,)))}
