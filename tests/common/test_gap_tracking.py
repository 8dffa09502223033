"""When a gap begins and what ends it: pure."""

import numpy as np
import pytest

from daedalus_common.gap_tracking import (
    MAX_OPEN,
    MAX_OPEN_OF_CHANNEL,
    ChannelEvents,
    GapEvent,
    GapState,
    Seen,
    Stretch,
    stretches,
    track,
)


def gap(number: int, channel: str = "trades", reason: str = "reconnect", lost: int | None = None) -> GapEvent:
    """The event that is entry `number` of the stream, at ts 10 x its number."""
    return GapEvent(0, number, 0, number, 10 * number, 10 * number, channel, reason, None, None, lost)


def seen(*numbers: int) -> ChannelEvents:
    at = np.array(numbers, np.int64)
    return ChannelEvents(np.zeros_like(at), at, np.zeros_like(at), 10 * at)


def run(
    gaps: list[GapEvent], state: GapState | None = None, **events: ChannelEvents
) -> tuple[GapState, list[tuple[int, str, int | None, int | None]]]:
    """The state after, and of each row (gap's number, phase, begin, end)."""
    after, rows = track(state or GapState(), stretches(events, gaps))
    return after, [(row.gap.event.seq, row.phase, row.gap.begin_ts, row.end_ts) for row in rows]


def test_a_gap_begins_with_the_channels_last_event_and_ends_with_its_next() -> None:
    after, rows = run([gap(5)], trades=seen(1, 3, 8, 9), orderbook=seen(2, 4, 6, 7))
    assert rows == [(5, "open", 30, None), (5, "closed", 30, 80)]
    assert after == GapState((), {"trades": 90, "orderbook": 70})


def test_a_gap_of_the_whole_market_lies_between_events_of_any_channel() -> None:
    _, rows = run([gap(5, "control", "server_lost", 3)], trades=seen(1, 3, 8), orderbook=seen(2, 4, 6))
    assert rows == [(5, "open", 40, None), (5, "closed", 40, 60)]


def test_a_gap_before_any_event_has_no_begin_and_its_duration_counts_from_itself() -> None:
    _, rows = track(GapState(), stretches({"trades": seen(8)}, [gap(5)]))
    assert [(row.gap.begin_ts, row.duration_ns) for row in rows] == [(None, None), (None, 30)]


def test_a_gap_stays_open_over_runs_until_its_channel_speaks_again() -> None:
    first, rows = run([gap(5)], trades=seen(1))
    assert rows == [(5, "open", 10, None)]
    second, rows = run([], first, orderbook=seen(6))
    assert rows == []
    assert second.open == first.open
    third, rows = run([], second, trades=seen(9))
    assert rows == [(5, "closed", 10, 90)]
    assert third.open == ()


def test_the_state_survives_being_stored() -> None:
    state, _ = run([gap(5), gap(6, "control", lost=2)], trades=seen(1), orderbook=seen(2))
    assert GapState.decode(state.encode()) == state


def test_gaps_open_together_end_together_and_with_the_same_begin() -> None:
    _, rows = run([gap(5, reason="overflow", lost=7), gap(6, reason="overflow", lost=9)], trades=seen(1, 8))
    assert rows == [(5, "open", 10, None), (6, "open", 10, None), (5, "closed", 10, 80), (6, "closed", 10, 80)]


def test_a_burst_of_gaps_carries_a_bounded_state_and_tells_of_every_one() -> None:
    burst = [gap(number, f"c{number % 7}") for number in range(2, 2000)]
    after, rows = run(burst, trades=seen(1))
    assert [row[:2] for row in rows] == [(number, "open") for number in range(2, 2000)]
    assert len(after.open) == MAX_OPEN
    of_channel = [run([gap(number) for number in range(2, 2000)])[0]]
    assert len(of_channel[0].open) == MAX_OPEN_OF_CHANNEL


@pytest.mark.parametrize("cut", range(1, 40))
def test_runs_of_any_length_give_the_same_rows(cut: int) -> None:
    rng = np.random.default_rng(cut)
    kinds = rng.integers(0, 4, 40)
    names = ("trades", "orderbook", "ticker")

    def items(numbers: range) -> list[Stretch | GapEvent]:
        events = {name: seen(*(n for n in numbers if kinds[n] == i)) for i, name in enumerate(names)}
        channels = (*names, "control")
        return stretches(events, [gap(n, channels[n % 4]) for n in numbers if kinds[n] == 3])

    state, at_once = track(GapState(), items(range(40)))
    between, first = track(GapState(), items(range(cut)))
    end, second = track(between, items(range(cut, 40)))
    assert [*first, *second] == at_once
    assert end == state


def test_a_place_in_the_stream_decides_not_the_time() -> None:
    """Entries of one millisecond have the same ts; their ids tell which came first."""
    at = np.array([7, 7], np.int64)
    trades = ChannelEvents(np.zeros_like(at), at, np.array([0, 2]), np.array([70, 70]))
    between = GapEvent(0, 7, 1, 2, 70, 70, "trades", "resync")
    _, rows = track(GapState(), stretches({"trades": trades}, [between]))
    assert [(row.gap.begin_ts, row.end_ts) for row in rows] == [(70, None), (70, 70)]
    assert rows[1].at == Seen(7, 2, 70)
