"""Which rows exist, when they are given, and what they count."""

import pytest

from daedalus_features import FeatureConfig, advance
from features.reference import Event
from features.sequences import SMALL, START, as_dicts, at, columns, gathered, in_chunks, orderbook, quote, trade


def seconds(rows: list[dict]) -> list[float]:
    return [(row["timestamp"] - START) / 1e9 for row in rows]


def test_a_row_is_stamped_with_the_end_of_its_interval_and_exists_only_where_a_valid_book_lies():
    events = [quote(at(0.5), 1, 2), quote(at(3.0), 1, 2), trade(at(5.5), 1, 1), quote(at(7.999999999), 1, 2)]
    assert seconds(orderbook([*events, Event("heartbeat", at(20))])) == [1, 4, 8]


def test_an_interval_is_closed_on_the_left_and_open_on_the_right():
    events = [quote(at(1) - 1, 1, 2), quote(at(1), 1, 2), Event("heartbeat", at(2) - 1)]
    assert seconds(orderbook(events)) == [1]


@pytest.mark.parametrize(
    "trigger",
    [
        Event("heartbeat", at(1)),
        Event("gap", at(1)),
        Event("ticker", at(1)),
        quote(at(1), 1, 2),
        quote(at(1), 2, 1),
        trade(at(1), 1, 1),
        trade(at(1), -1, 1),
    ],
)
def test_any_event_at_or_after_the_timestamp_gives_the_row_before_it_is_applied(trigger):
    (row,) = orderbook([quote(at(0), 1, 2), trigger])
    assert (row["timestamp"], row["snapshot_count"], row["trade_count"], row["gap"]) == (at(1), 1, 0, 0)


def test_the_last_interval_stays_in_the_state():
    step = advance(None, columns([quote(at(0), 1, 2), quote(at(0.9), 1, 2)], SMALL))
    assert step.rows == ()
    later = advance(step.state, columns([Event("heartbeat", at(7))]))
    assert later.rows[0].column("snapshot_count").tolist() == [2]


def test_the_last_valid_book_in_sequence_order_is_sampled():
    events = [quote(at(0.5), 1, 2), quote(at(0.5), 3, 4), quote(at(0.9), 9, 8), Event("heartbeat", at(1))]
    (row,) = orderbook(events)
    assert row["mid_price"] == 3.5


def test_snapshot_count_counts_valid_books_only():
    events = [quote(at(0), 1, 2), quote(at(0), 2, 1), quote(at(0), 1, 2), quote(at(5), 1, 2), Event("gap", at(6))]
    assert [row["snapshot_count"] for row in orderbook(events)] == [2, 1]


def test_trades_of_intervals_without_a_row_are_carried_into_the_next_row():
    events = [trade(at(-2), 1, 1, 1), quote(at(0), 1, 2), trade(at(0.5), 1, 2, 1)]
    events += [trade(at(3), 1, 4, 1), trade(at(8), 1, 8, 1), quote(at(9), 1, 2), trade(at(9.5), 1, 16, 1)]
    rows = orderbook([*events, trade(at(10), 1, 32, 1)])
    assert [row["buy_volume"] for row in rows] == [3, 28]
    assert [row["trade_count"] for row in rows] == [2, 3]


def test_a_gap_marks_the_row_whose_sampled_book_is_the_first_after_it():
    events = [quote(at(0), 1, 2), Event("gap", at(0.5)), quote(at(1), 1, 2), quote(at(2), 1, 2)]
    assert [row["gap"] for row in orderbook([*events, Event("heartbeat", at(3))])] == [0, 1, 0]


def test_a_gap_between_two_books_of_an_interval_marks_its_row():
    events = [quote(at(0), 1, 2), Event("gap", at(0.5)), quote(at(0.6), 1, 2), quote(at(1), 1, 2)]
    assert [row["gap"] for row in orderbook([*events, Event("heartbeat", at(2))])] == [1, 0]


def test_a_gap_before_the_first_book_marks_the_first_row():
    assert orderbook([Event("gap", at(0)), quote(at(7), 1, 2), Event("heartbeat", at(9))])[0]["gap"] == 1


def test_an_invalid_book_after_a_gap_does_not_take_the_mark():
    events = [quote(at(0), 1, 2), Event("gap", at(0.5)), quote(at(0.6), 2, 1), quote(at(1), 1, 2)]
    assert [row["gap"] for row in orderbook([*events, Event("heartbeat", at(2))])] == [0, 1]


def test_the_gap_event_that_gives_a_row_marks_the_next_one():
    events = [quote(at(0), 1, 2), Event("gap", at(1)), quote(at(1), 1, 2), Event("heartbeat", at(2))]
    assert [row["gap"] for row in orderbook(events)] == [0, 1]


def test_the_grid_is_anchored_at_the_epoch_for_any_interval():
    interval = 700_000_003
    params = FeatureConfig(emit_interval_ns=interval, bar_durations=(), rolling_windows=())
    times = [at(0), at(0.3), at(1.5), at(4)]
    rows = orderbook([*(quote(ts, 1, 2) for ts in times), Event("heartbeat", at(6))], params)
    assert [row["timestamp"] for row in rows] == sorted({(ts // interval + 1) * interval for ts in times})


def test_a_timestamp_that_runs_backward_counts_as_the_latest_before_it():
    whole = columns([quote(at(5), 1, 2), quote(at(3), 3, 4), Event("heartbeat", at(6))], SMALL)
    for cuts in ([], [1], [2], [3]):
        (row,) = as_dicts(gathered(in_chunks(whole, cuts))["orderbook"])
        assert (row["timestamp"], row["mid_price"], row["snapshot_count"]) == (at(6), 3.5, 2)


def test_an_interval_of_a_tenth_of_a_second_gives_ten_rows_a_second():
    params = FeatureConfig(emit_interval_ns=100_000_000)
    rows = orderbook([quote(at(i / 10), 1, 2) for i in range(11)], params)
    assert seconds(rows) == pytest.approx([(i + 1) / 10 for i in range(10)])
