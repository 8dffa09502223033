"""Everything sent is stored, declared as a gap, or missing: tables of cases, and a property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daedalus.summary.ledger import DeclaredGap, Feed, Ledger, RecordedEvent, Sent
from daedalus.summary.reconcile import balance, reconcile
from daedalus.summary.sequences import check_sequence, check_sequences
from daedalus_common.events import Channel
from daedalus_common.markets import Market

BTC = Market("binanceus", "BTC/USDT")
ETH = Market("binanceus", "ETH/USDT")
TRADES = Feed(BTC, Channel.TRADES)
BOOKS = Feed(BTC, Channel.ORDERBOOK)


def history(text: str, channel: str = "trades") -> tuple[list[RecordedEvent], list[DeclaredGap]]:
    """`"1 2 | 5"`: events 1 and 2, a gap event, event 5, in the order of Bronze; `!` is a gap of the whole market,
    `~` one of another channel, `/` begins a new generation (whose stream ids start anew)."""
    events, gaps = [], []
    generation, ms = 0, 0
    for word in text.split():
        ms += 1
        position = (generation, ms, 0)
        if word == "/":
            generation, ms = generation + 1, 0
        elif word in "|!~":
            gaps.append(DeclaredGap(position, {"|": channel, "!": "control", "~": "ticker"}[word], "reconnect"))
        else:
            events.append(RecordedEvent(position, word))
    return events, gaps


def judged(sent: str, recorded: str, feed: Feed = TRADES, snapshots: str = ""):
    events, gaps = history(recorded, feed.channel.value)
    return balance(feed, Sent(tuple(sent.split()), tuple(snapshots.split())), events, gaps)


@pytest.mark.parametrize(
    ("sent", "recorded", "declared", "missing"),
    [
        ("1 2 3", "1 2 3", 0, ""),
        ("1 2 3", "| 1 2 3", 0, ""),
        ("1 2 3 4", "| 3 4", 2, ""),
        ("1 2 3 4", "3 4", 0, "1 2"),
        ("1 2 3 4 5", "1 2 | 5", 2, ""),
        ("1 2 3 4 5", "1 2 ! 5", 2, ""),
        ("1 2 3 4 5", "1 2 ~ 5", 0, "3 4"),
        ("1 2 3 4 5", "1 2 5", 0, "3 4"),
        ("1 2 3 4 5", "1 2 5 |", 0, "3 4"),
        ("1 2 3 4 5", "| 1 2 5", 0, "3 4"),
        ("1 2 3 4 5 6", "1 | 3 5 | 6", 1, "4"),
        ("1 2 3 4 5", "1 2 | | 4 5", 1, ""),
        ("1 2 3 4 5", "1 2 3 |", 2, ""),
        ("1 2 3 4 5", "1 2 3", 0, "4 5"),
        ("1 2 3 4 5", "1 2 / | 4 5", 1, ""),
        ("1 2 3 4 5", "1 2 / 4 5", 0, "3"),
    ],
)
def test_what_was_not_recorded_is_missing_unless_a_gap_of_its_time_and_channel_says_so(
    sent, recorded, declared, missing
):
    found = judged(sent, recorded)
    assert (found.declared, found.missing) == (declared, tuple(missing.split()))
    assert found.reconciled == (not missing)


@pytest.mark.parametrize(
    ("recorded", "problem", "ids"),
    [
        ("1 2 2 3", "double", ("2",)),
        ("1 2 | 2 3", "double", ("2",)),
        ("1 2 3 9", "never_sent", ("9",)),
        ("1 3 2", "disordered", ("2",)),
    ],
)
def test_events_recorded_twice_unsent_or_out_of_order_are_failures(recorded, problem, ids):
    found = judged("1 2 3", recorded)
    assert getattr(found, problem) == ids
    assert not found.reconciled


def test_a_feed_of_which_nothing_was_recorded_fails_even_under_a_declared_gap():
    found = judged("1 2 3", "|")
    assert found.declared == 3
    assert not found.reconciled


def test_a_feed_on_which_nothing_was_sent_is_fine():
    assert judged("", "|").reconciled


def test_two_events_sent_with_one_id_may_both_be_recorded():
    assert judged("5 5 6", "5 5 6").reconciled
    assert judged("5 5 6", "5 5 5 6").double == ("5",)


@pytest.mark.parametrize(
    ("recorded", "reconciled"),
    [
        ("| 25 30 40", True),  # began with the snapshot 25, which holds 10 and 20
        ("| 30 40", True),  # began with the update that followed the snapshot
        ("| 25 40", False),  # 30 is lost
        ("| 10 25 30 40", False),  # 20 was sent after 10, and nothing says that it was lost
        ("| 10 | 25 30 40", True),
    ],
)
def test_a_book_may_begin_with_a_snapshot_that_no_update_made(recorded, reconciled):
    assert judged("10 20 30 40", recorded, BOOKS, snapshots="25").reconciled is reconciled


def test_a_snapshot_after_a_gap_may_show_the_last_recorded_book_again():
    assert judged("10 20 30", "| 10 20 | 20 30", BOOKS, snapshots="20").reconciled
    assert judged("10 20 30", "| 10 20 20 30", BOOKS, snapshots="20").double == ("20",)
    assert judged("10 20 30", "| 10 20 30 | 20", BOOKS, snapshots="20").double == ("20",)


def test_the_ledger_has_a_balance_for_every_feed_that_was_sent_or_recorded():
    events, gaps = history("| 1 2")
    balances = reconcile(
        {TRADES: Sent(("1", "2")), Feed(ETH, Channel.TRADES): Sent(("7",))},
        {TRADES: events, BOOKS: [RecordedEvent((0, 9, 0), "3")]},
        {BTC: gaps},
    )
    assert [(str(b.feed), b.reconciled) for b in balances] == [
        ("binanceus:BTC-USDT orderbook", False),
        ("binanceus:BTC-USDT trades", True),
        ("binanceus:ETH-USDT trades", False),
    ]
    assert not Ledger(balances).reconciled


def test_a_run_in_which_nothing_was_sent_is_not_reconciled():
    assert not Ledger(reconcile({}, {}, {})).reconciled


@pytest.mark.parametrize(
    ("seqs", "holes", "double", "whole"),
    [
        ("4 5 6", (), (), True),
        ("6 4 5", (), (), True),
        ("", ((4, 6),), (), False),
        ("5 6", ((4, 4),), (), False),
        ("4 5", ((6, 6),), (), False),
        ("4 6", ((5, 5),), (), False),
        ("4 5 5 6", (), (5,), False),
    ],
)
def test_a_sequence_has_no_hole_and_no_double(seqs, holes, double, whole):
    found = check_sequence(BTC, 4, 6, numbers(*map(int, seqs.split())), ())
    assert (found.holes, found.double, found.whole) == (holes, double, whole)


def test_a_number_that_comes_again_in_a_new_generation_is_no_double():
    found = check_sequence(BTC, 1, 3, [*numbers(1, 2), *numbers(2, 3, generation=7)], ())
    assert (found.holes, found.double) == ((), ())


def numbers(*seqs: int, generation: int = 0) -> list[tuple[int, int]]:
    return [(generation, seq) for seq in seqs]


def test_numbers_that_the_server_lost_may_be_missing_when_a_gap_declares_so_many():
    lost = DeclaredGap((0, 5, 0), "control", "server_lost", lost=2)
    other = DeclaredGap((0, 6, 0), "trades", "overflow", lost=100)
    assert check_sequence(BTC, 1, 4, numbers(1, 4), [lost, other]).whole
    assert not check_sequence(BTC, 1, 5, numbers(1, 5), [lost, other]).whole


def test_a_market_in_which_nothing_happened_has_an_empty_sequence():
    (found,) = check_sequences({BTC: 7}, {BTC: 7}, {}, {})
    assert (found.first, found.last, found.whole) == (8, 7, True)


def test_a_hole_beside_a_gap_of_events_that_never_had_a_number_is_not_whole():
    spool_lost = DeclaredGap((0, 5, 0), "control", "spool_lost", lost=3)
    found = check_sequence(BTC, 1, 4, numbers(1, 4), [spool_lost])
    assert (found.lost, found.missing, found.whole) == (0, 2, False)


@given(count=st.integers(1, 60), data=st.data())
def test_a_loss_is_reconciled_exactly_when_a_gap_was_written_in_its_place(count, data):
    lost = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    declared = data.draw(st.sets(st.sampled_from(sorted(lost)))) if lost else set()
    words: list[str] = []
    for i in range(count):
        if i not in lost:
            words.append(str(i))
        elif i in declared:
            words.append("|")
    found = judged(" ".join(map(str, range(count))), " ".join(words))
    # A gap covers the whole run of losses that it lies in.
    runs: list[set[int]] = []
    for i in sorted(lost):
        if runs and i - 1 in runs[-1]:
            runs[-1].add(i)
        else:
            runs.append({i})
    expected = {i for run in runs if not run & declared for i in run}
    assert {int(id_) for id_ in found.missing} == expected
    assert found.declared == len(lost) - len(expected)


def test_a_burst_of_a_hundred_thousand_with_thousands_of_gaps_is_compared_in_a_second():
    sent = Sent(tuple(map(str, range(100_000))), tuple(map(str, range(0, 100_000, 1000))))
    events = [RecordedEvent((0, i, 1), str(i)) for i in range(100_000) if i % 20]
    gaps = [DeclaredGap((0, i, 0), "orderbook", "overflow") for i in range(0, 100_000, 20)]
    found = balance(BOOKS, sent, events, gaps)
    assert found.reconciled
    assert found.declared == 5000
