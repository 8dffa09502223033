"""What of a stream is durable, unexplained, and news: the decisions alone."""

import numpy as np
import pytest

from daedalus_common.entries import encode
from daedalus_common.events import Trade
from daedalus_common.markets import Market
from daedalus_common.parquet.feature_tables import row_destination, stored_table
from daedalus_common.parquet.stored_rows import StoredRows
from daedalus_common.plans import Destination
from daedalus_common.rows import Column, RowSchema
from daedalus_writer.bronze import bronze_rows
from daedalus_writer.durable_end import Durable, End, Known, joined, unexplained

BTC = Market("binanceus", "BTC/USDT")
TRADES = "bronze/ccxt/trades"
SCHEMA = RowSchema("silver", "trades", (Column("price"),))
HOUR = 1_770_000_000_000_000_000


def end(id_: str, seq: int = 1, ts: int = 0, generation: int = 0) -> End:
    return End(id_, seq, ts, generation)


def events(*places: tuple[str, int]) -> tuple[Destination, StoredRows]:
    """Trades at these (entry id, generation)."""
    entries = [
        (
            id_.encode(),
            {b"g": b"%d" % generation, b"s": b"%d" % (n + 1), b"t": b"%d" % HOUR}
            | {b"e": encode(Trade(HOUR, None, str(n), 1.0, 1.0, "buy"))},
        )
        for n, (id_, generation) in enumerate(places)
    ]
    [(place, rows)] = bronze_rows(BTC, entries)[0].items()
    return place, rows


def feature_rows(*rows: tuple[int, int, int]) -> tuple[Destination, StoredRows]:
    """Rows at these (ms of the entry id, seq, timestamp)."""
    keys = np.array([[ms, 0, seq] for ms, seq, _ in rows], dtype=np.int64)
    timestamp = np.array([HOUR + ts for *_, ts in rows], dtype=np.int64)
    place = row_destination(BTC, SCHEMA, 0, HOUR // 3_600_000_000_000)
    return place, stored_table(SCHEMA, timestamp, np.ones((len(rows), 1)), keys)


def ids(rows: StoredRows) -> list[int]:
    return [int(ms) for ms in rows.keys[:, 0]]


@pytest.mark.parametrize(
    ("found", "cursor", "known", "expected"),
    [
        ({}, "0-0", {}, None),
        ({"a": end("5-0")}, "5-0", {}, None),
        ({"a": end("5-0")}, "4-9", {}, "5-0"),
        ({"a": end("5-0"), "b": end("7-1"), "c": end("7-0")}, "5-0", {}, "7-1"),
        ({"a": end("10-0")}, "9-0", {}, "10-0"),
        ({"a": end("7-1")}, "5-0", {"a": end("7-1")}, None),
        ({"a": end("7-2")}, "5-0", {"a": end("7-1")}, "7-2"),
        ({"b": end("6-0")}, "5-0", {"a": end("7-1")}, "6-0"),
    ],
    ids=[
        "an empty store", "what the cursor says", "one entry more", "the newest of several tables",
        "ids are numbers and not text", "known since an earlier look", "more than was known", "another table",
    ],
)  # fmt: skip
def test_durable_entries_beyond_the_cursor_are_unexplained_unless_known(found, cursor, known, expected) -> None:
    beyond = unexplained(found, cursor, known)
    assert (beyond.id if beyond else None) == expected


def test_what_is_known_only_grows() -> None:
    known = {"a": end("5-0"), "b": end("9-0")}
    assert joined(known, {"a": end("6-0"), "b": end("8-0"), "c": end("1-0")}) == {
        "a": end("6-0"), "b": end("9-0"), "c": end("1-0")
    }  # fmt: skip


def test_what_is_kept_in_redis_comes_back_equal() -> None:
    durable = Durable("abc", {"gold/bars/duration=60": end("5-1", 3, HOUR, 7)})
    assert Durable.decode(durable.encode()) == durable


def test_events_up_to_the_durable_end_of_their_table_are_no_news() -> None:
    place, rows = events(("4-0", 1), ("5-0", 1), ("5-1", 1), ("6-0", 1))
    assert ids(Known(ends={TRADES: end("5-0", generation=1)}).news(place, rows)) == [5, 6]
    assert Known(ends={"bronze/ccxt/orderbook": end("9-0", generation=1)}).news(place, rows) is rows
    assert Known().news(place, rows) is rows


def test_events_of_a_later_generation_are_news_whatever_their_ids() -> None:
    place, rows = events(("4-0", 1), ("5-0", 2), ("6-0", 2), ("9-0", 2))
    assert ids(Known(ends={TRADES: end("8-0", generation=1)}).news(place, rows)) == [5, 6, 9]


def test_rows_that_are_all_durable_leave_nothing() -> None:
    place, rows = events(("4-0", 1), ("5-0", 1))
    assert len(Known(ends={TRADES: end("8-0", generation=1)}).news(place, rows)) == 0


@pytest.mark.parametrize(
    ("muted", "expected"),
    [
        ("", [11, 12, 13, 14]),
        ("12-0 13-0", [14]),
        ("+ 13-0", [13, 14]),
        ("13-0 14-0", []),
        ("15-0 9-0", [11, 12, 13, 14]),
    ],
    ids=[
        "nothing was lost", "computed without the lost end, or double", "computed a second time only",
        "all of one or the other", "of a time that has passed",
    ],
)  # fmt: skip
def test_rows_computed_after_a_loss_are_no_news(muted: str, expected: list[int]) -> None:
    """The durable end is row 5 at the time 50; 11 and 12 are of times that it has, 13 and 14 are not."""
    place, rows = feature_rows((10, 3, 30), (11, 4, 40), (12, 5, 50), (13, 6, 60), (14, 7, 70))
    known = Known(ends={"silver/trades": end("10-0", 5, HOUR + 50)}, muted=muted)
    assert ids(known.news(place, rows)) == expected


def test_of_rows_at_one_time_those_after_the_durable_one_are_news() -> None:
    place, rows = feature_rows((11, 5, 50), (12, 6, 50))
    assert ids(Known(ends={"silver/trades": end("10-0", 5, HOUR + 50)}, muted="+ 20-0").news(place, rows)) == [12]
