"""An oracle that cannot fail is worthless: each promise, broken on purpose in a recording that keeps it, is noticed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daedalus.summary.ledger import Feed
from daedalus_common.events import Channel
from faults.cells import Cell, Window, nothing
from faults.evidence import Death, Ending, Evidence
from faults.oracle import judge
from faults.oracle_usage import LIMITS_BYTES, MAX_FILES
from faults.usage import Life, Sample
from support.etl_runs import BTC
from support.quality_gaps import write_gap_rows

Change = Callable[[pa.Table], pa.Table]


def broken(evidence: Evidence) -> set[str]:
    return {violation.invariant for violation in judge(evidence)}


def spoil(evidence: Evidence, table: str, change: Change) -> Evidence:
    """Rewrites the one object of a table; judged anew."""
    [path] = (evidence.data / table).rglob("*.parquet")
    pq.write_table(change(pq.ParquetFile(path).read()), path)
    return replace(evidence)


def without(first: int, last: int) -> Change:
    """The table without these rows."""
    return lambda table: pa.concat_tables([table.slice(0, first), table.slice(last)])


def with_value(row: int, column: str, value: object) -> Change:
    """The table with one other value."""

    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))

    return change


def window(evidence: Evidence, gaps: frozenset[str], **changes: object) -> Window:
    """A fault that lasted as long as the recording."""
    times = next(iter(evidence.rows.values()))["capture_ts"].to_list()
    cell = Cell("exchange", "drop", nothing, gaps=gaps)
    whole = Window(cell, min(times), max(times), max(times), 1.0, 100, None, None)
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_a_whole_recording_breaks_no_promise(evidence: Evidence) -> None:
    assert judge(evidence) == []
    assert all(len(sent.ids) > 20 for sent in evidence.sent.values())


@pytest.mark.parametrize("table", ["orderbook", "trades", "ticker"])
def test_a_dropped_row_is_missing(evidence: Evidence, table: str) -> None:
    found = judge(spoil(evidence, f"bronze/ccxt/{table}", without(10, 11)))
    missing = [violation for violation in found if violation.invariant == "I1"]
    assert any("neither recorded nor inside a gap" in violation.text for violation in missing)
    assert any("are in no row" in violation.text for violation in missing)


def test_the_last_row_of_all_is_missed_by_its_number(evidence: Evidence) -> None:
    table = max(("orderbook", "trades", "ticker"), key=lambda name: last_seq(evidence.data, name))
    rows = pq.ParquetFile(next((evidence.data / "bronze/ccxt" / table).rglob("*.parquet"))).metadata.num_rows
    assert "I1" in broken(spoil(evidence, f"bronze/ccxt/{table}", without(rows - 1, rows)))


def last_seq(data: Path, table: str) -> int:
    [path] = (data / "bronze/ccxt" / table).rglob("*.parquet")
    return int(pq.ParquetFile(path).read(["seq"])["seq"].to_pylist()[-1])


def test_what_was_sent_and_never_seen_by_anybody_is_missing(evidence: Evidence) -> None:
    feed, sent = next((feed, sent) for feed, sent in evidence.sent.items() if feed.channel == "trades")
    ids = (*sent.ids[:50], "nobody-saw-this", *sent.ids[50:])
    assert broken(replace(evidence, sent={**evidence.sent, feed: replace(sent, ids=ids)})) == {"I1"}


def test_an_id_that_nobody_sent_is_noticed(evidence: Evidence) -> None:
    assert "I1" in broken(spoil(evidence, "bronze/ccxt/trades", with_value(10, "id", "made up")))


@pytest.mark.parametrize("table", ["bronze/ccxt/orderbook", "bronze/ccxt/trades", "bronze/ccxt/control"])
def test_a_doubled_row_of_bronze_is_noticed(evidence: Evidence, table: str) -> None:
    twice = spoil(evidence, table, lambda rows: pa.concat_tables([rows, rows.slice(5, 1)]))
    assert "I2" in broken(twice)


def test_a_trade_recorded_under_two_numbers_is_noticed(evidence: Evidence) -> None:
    def change(rows: pa.Table) -> pa.Table:
        return with_value(11, "id", rows["id"][10].as_py())(rows)

    assert {"I1", "I2"} <= broken(spoil(evidence, "bronze/ccxt/trades", change))


@pytest.mark.parametrize("table", ["silver/orderbook", "silver/trades"])
def test_a_doubled_row_of_silver_is_noticed(evidence: Evidence, table: str) -> None:
    twice = spoil(evidence, table, lambda rows: pa.concat_tables([rows, rows.slice(5, 1)]))
    assert {"I2", "I4"} <= broken(twice)


def test_two_swapped_trades_are_out_of_order(evidence: Evidence) -> None:
    def swapped(rows: pa.Table) -> pa.Table:
        first, second = rows["id"][10].as_py(), rows["id"][11].as_py()
        return with_value(10, "id", second)(with_value(11, "id", first)(rows))

    assert broken(spoil(evidence, "bronze/ccxt/trades", swapped)) == {"I3"}


@pytest.mark.parametrize("column", ["seq", "ts"])
def test_numbers_and_times_that_go_back_are_noticed(evidence: Evidence, column: str) -> None:
    def back(rows: pa.Table) -> pa.Table:
        return with_value(20, column, rows[column][1].as_py())(rows)

    assert "I3" in broken(spoil(evidence, "bronze/ccxt/orderbook", back))


@pytest.mark.parametrize("table", ["silver/orderbook", "silver/trades", "gold/tick_bars"])
def test_a_changed_value_is_noticed(evidence: Evidence, table: str) -> None:
    [path] = (evidence.data / table).rglob("*.parquet")
    columns = pq.ParquetFile(path).schema_arrow
    column = next(field.name for field in columns if field.type == pa.float64())
    assert broken(spoil(evidence, table, with_value(3, column, 123.456))) == {"I4"}


def test_a_missing_row_of_silver_is_noticed(evidence: Evidence) -> None:
    assert broken(spoil(evidence, "silver/orderbook", without(7, 8))) == {"I4"}


def test_a_missing_table_is_noticed(evidence: Evidence) -> None:
    for path in (evidence.data / "silver/trades").rglob("*.parquet"):
        path.unlink()
    assert broken(evidence) == {"I4"}


def as_gap(reason: str, channel: str) -> Change:
    """The first heartbeat made a gap."""

    def change(rows: pa.Table) -> pa.Table:
        row = rows["kind"].cast(pa.string()).to_pylist().index("heartbeat")
        for column, value in (("kind", "gap"), ("reason", reason), ("channel", channel)):
            texts = [
                text if number != row else value
                for number, text in enumerate(rows[column].cast(pa.string()).to_pylist())
            ]
            rows = rows.set_column(rows.schema.get_field_index(column), column, pa.array(texts))
        return rows

    return change


def test_a_gap_where_nothing_was_lost_is_needless(evidence: Evidence) -> None:
    gap = spoil(evidence, "bronze/ccxt/control", as_gap("reconnect", "trades"))
    assert "I7" in broken(gap)
    other_fault = window(gap, frozenset({"stale"}))
    assert "I7" in broken(replace(gap, windows=(other_fault,)))
    cause = window(gap, frozenset({"reconnect"}))
    assert "I7" in broken(replace(gap, windows=(cause,))), "the exchange saw no connection end"
    at = int(gap.gaps[BTC].filter(reason="reconnect")["capture_ts"][0])
    other = Ending(at, frozenset({Feed(BTC, Channel.TICKER)}))
    assert "I7" in broken(replace(gap, windows=(cause,), endings=(other,))), "it carried another channel"
    mine = Ending(at, frozenset({Feed(BTC, Channel.TRADES)}))
    assert "I7" not in broken(replace(gap, windows=(cause,), endings=(other, mine)))
    assert "I7" in broken(replace(gap, windows=(cause,), endings=(replace(mine, at_ns=at + 10**10),)))
    before = replace(cause, began_ns=cause.began_ns - 2 * 10**12, healed_ns=0, ended_ns=cause.began_ns - 10**12)
    assert "I7" in broken(replace(gap, windows=(before,)))


def test_a_second_start_needs_a_cause(evidence: Evidence) -> None:
    assert "I7" in broken(spoil(evidence, "bronze/ccxt/control", as_gap("start", "trades")))


def test_a_declared_gap_covers_what_was_lost_there_and_only_there(evidence: Evidence) -> None:
    """The trade after the first heartbeat was never seen; the heartbeat's place holds the gap."""
    gap = spoil(evidence, "bronze/ccxt/control", as_gap("reconnect", "trades"))
    write_gap_rows(gap.data, BTC)
    [path] = (gap.data / "bronze/ccxt/control").rglob("*.parquet")
    control = pq.ParquetFile(path).read()
    row = control["reason"].to_pylist().index("reconnect")
    trades = next(sent for feed, sent in gap.sent.items() if feed.channel == "trades")
    feed = next(feed for feed in gap.sent if feed.channel == "trades")
    position = tuple(control[name][row].as_py() for name in ("generation", "stream_ms", "stream_seq"))
    after = next(event.id for event in gap.recording.events[feed] if event.position > position)
    place = trades.ids.index(after)
    within = (*trades.ids[:place], "lost", *trades.ids[place:])
    beyond = (*trades.ids[: place + 3], "lost", *trades.ids[place + 3 :])
    whole = replace(gap, windows=(window(gap, frozenset({"reconnect"})),))
    assert "I1" not in broken(replace(whole, sent={**gap.sent, feed: replace(trades, ids=within)}))
    assert "I1" in broken(replace(whole, sent={**gap.sent, feed: replace(trades, ids=beyond)}))


def test_too_much_memory_and_too_many_files_are_noticed(evidence: Evidence) -> None:
    limit = LIMITS_BYTES["writer"]
    for sample in (Sample(0.0, limit + 1, 10), Sample(0.0, 1, MAX_FILES + 1)):
        assert broken(replace(evidence, lives=(Life("writer", "writer-1", 1, [sample]),))) == {"I5"}
    assert broken(replace(evidence, lives=(Life("writer", "writer-1", 1, [Sample(0.0, limit, MAX_FILES)]),))) == set()


def test_what_does_not_recover_is_noticed(evidence: Evidence) -> None:
    late = window(evidence, frozenset(), recovery_seconds=None)
    assert broken(replace(evidence, windows=(late,))) == {"I6"}
    assert broken(replace(evidence, lags={"{binanceus:BTC-USDT}:raw writer": 3})) == {"I6"}


def test_a_service_that_ends_by_itself_is_noticed_unless_the_fault_may_end_it(evidence: Evidence) -> None:
    fault = window(evidence, frozenset())
    death = Death("writer", "writer-1", fault.began_ns + 1, 1, "MemoryError")
    assert broken(replace(evidence, windows=(fault,), deaths=(death,))) == {"I6"}
    deadly = replace(fault, cell=replace(fault.cell, may_end=frozenset({"writer"})))
    assert broken(replace(evidence, windows=(deadly,), deaths=(death,))) == set()


def test_what_a_zombie_changed_is_noticed(evidence: Evidence) -> None:
    zombie = window(evidence, frozenset(), zombie=("writer-1 woke up and changed a cursor",))
    assert broken(replace(evidence, windows=(zombie,))) == {"I8"}


def test_only_rows_between_a_lost_tail_and_the_next_genesis_are_excused(evidence: Evidence) -> None:
    """No genesis follows in this recording, so a loss excuses nothing."""
    lost_tail = window(evidence, frozenset({"server_lost"}))
    missing = spoil(evidence, "silver/orderbook", without(7, 8))
    assert broken(replace(missing, windows=(lost_tail,))) == {"I4"}
    start = lost_tail.began_ns
    reaches_back = replace(lost_tail, lost_from_ns=start - 10**9)
    assert broken(replace(missing, windows=(reaches_back,))) == {"I4"}
    before_genesis = replace(reaches_back, began_ns=start - 10**9)
    assert broken(replace(missing, windows=(before_genesis,))) == {"I4"}


def test_a_loss_is_needless_where_redis_kept_everything(evidence: Evidence) -> None:
    gap = spoil(evidence, "bronze/ccxt/control", as_gap("server_lost", "control"))
    kill = window(gap, frozenset({"server_lost"}))
    assert "I7" in broken(replace(gap, windows=(kill,)))
    assert "I7" not in broken(replace(gap, windows=(replace(kill, lost_from_ns=kill.began_ns),)))
