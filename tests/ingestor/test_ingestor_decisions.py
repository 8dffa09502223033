"""The ingestor's pure decisions, as tables: when to try again, when a gap, a heartbeat or a rebuild is due."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daedalus_common.events import Channel, Gap
from daedalus_ingestor.backoff import Backoff
from daedalus_ingestor.gaps import Place, Reason
from daedalus_ingestor.heartbeat import is_due
from daedalus_ingestor.opening import nearest_symbols
from daedalus_ingestor.sequences import NUMBERED, books_are_checked, is_hole
from daedalus_ingestor.staleness import Pulse
from daedalus_ingestor.subscriptions import State

SECOND = 1_000_000_000
CHANCE = st.floats(0, 1, exclude_max=True)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


class TestBackoff:
    backoff = Backoff(seconds(5), seconds(60))

    @pytest.mark.parametrize(
        ("failures", "least", "most"),
        [(0, 0, 0.5), (1, 2.5, 5), (2, 5, 10), (3, 10, 20), (4, 20, 40), (5, 30, 60), (6, 30, 60), (1000, 30, 60)],
    )
    def test_delays_double_up_to_the_cap_with_jitter(self, failures: int, least: float, most: float) -> None:
        assert self.backoff.delay(failures, 0.0) == pytest.approx(least)
        assert self.backoff.delay(failures, 0.999999) == pytest.approx(most, rel=1e-5)

    @given(failures=st.integers(0, 10_000), chance=CHANCE, at_least=st.floats(0, 1000))
    def test_a_delay_is_never_shorter_than_the_other_side_asked(self, failures, chance, at_least):
        delay = self.backoff.delay(failures, chance, at_least)
        assert delay is not None
        assert at_least <= delay <= max(60.0, at_least)

    @pytest.mark.parametrize(
        ("max_attempts", "failures", "gives_up"),
        [(3, 0, False), (3, 2, False), (3, 3, True), (1, 1, True), (0, 0, True), (None, 10**6, False)],
    )
    def test_gives_up_after_so_many_attempts_in_a_row(self, max_attempts, failures, gives_up):
        backoff = Backoff(seconds(1), seconds(2), max_attempts)
        assert (backoff.delay(failures, 0.5) is None) is gives_up

    def test_without_auto_reconnect_nothing_is_tried_again(self):
        assert Backoff(seconds(1), seconds(2), enabled=False).delay(0, 0.5) is None


class TestGaps:
    def test_a_gap_names_the_last_recorded_event(self):
        place = Place(Channel.ORDERBOOK, last_nonce=42)
        assert place.declare(Reason.RECONNECT, 7) == Gap(7, "orderbook", "reconnect", 42, None, None)

    def test_an_open_gap_is_declared_once_however_many_attempts_fail(self):
        place = Place(Channel.TRADES)
        declared = [place.declare(Reason.START, 1), place.declare(Reason.STALE, 2), place.declare(Reason.RECONNECT, 3)]
        assert [gap is not None for gap in declared] == [True, False, False]

    def test_the_next_event_closes_it(self):
        place = Place(Channel.TRADES, last_id="9")
        place.declare(Reason.START, 1)
        place.gap_open = False
        assert place.declare(Reason.BAD_FRAME, 2) == Gap(2, "trades", "bad_frame", None, "9", None)

    def test_a_counted_loss_is_declared_even_within_an_open_gap(self):
        place = Place(Channel.TRADES, last_id="9")
        place.declare(Reason.RECONNECT, 1)
        assert place.declare_lost(Reason.OVERFLOW, 2, 17).lost == 17


class TestHeartbeat:
    @pytest.mark.parametrize(
        ("states", "due"),
        [
            ([State.LIVE], True),
            ([State.LIVE, State.STARTING], True),
            ([State.STARTING], False),
            ([State.LIVE, State.WAITING], False),
            ([State.LIVE, State.GIVEN_UP], False),
            ([], False),
        ],
    )
    def test_says_we_were_watching_only_when_we_were(self, states, due):
        assert is_due(10 * SECOND, 9 * SECOND, states, seconds(1)) is due

    @pytest.mark.parametrize(("silent_ns", "due"), [(SECOND - 1, False), (SECOND, True)])
    def test_waits_for_the_full_silence(self, silent_ns, due):
        assert is_due(silent_ns, 0, [State.LIVE], seconds(1)) is due


class TestStaleness:
    limit = seconds(30)

    def pulse(self, *, events: int, until: float) -> Pulse:
        """A connection that brought `events` events, evenly, until `until`."""
        pulse = Pulse(0.0)
        for number in range(1, events + 1):
            pulse.observe(until * number / events, number, number)
        return pulse

    def test_a_busy_connection_is_stale_after_the_limit(self):
        pulse = self.pulse(events=1000, until=100.0)
        pulse.observe(129.0, 1001, 1000)
        assert not pulse.is_stale(130.0, self.limit)
        assert pulse.is_stale(130.1, self.limit)

    def test_pongs_do_not_hide_that_the_data_stopped(self):
        pulse = self.pulse(events=1000, until=100.0)
        for second in range(100, 140):
            pulse.observe(float(second), 1000 + second, 1000)
        assert pulse.is_stale(139.0, self.limit)

    def test_a_quiet_market_may_be_silent_for_long_while_pongs_come(self):
        pulse = self.pulse(events=20, until=1200.0)  # a trade a minute
        pulse.observe(1690.0, 100, 20)
        assert not pulse.is_stale(1700.0, self.limit)
        pulse.observe(2410.0, 200, 20)
        assert pulse.is_stale(2420.0, self.limit)

    def test_a_market_that_calmed_down_is_measured_by_its_calm(self):
        pulse = self.pulse(events=10_000, until=100.0)
        for number in range(1, 301):  # then an event each 5 s
            pulse.observe(100.0 + 5 * number, 10_000 + number, 10_000 + number)
        pulse.observe(1670.0, 20_000, 10_300)  # a pong
        assert not pulse.is_stale(1675.0, self.limit)
        pulse.observe(1760.0, 20_001, 10_300)
        assert pulse.is_stale(1765.0, self.limit)

    def test_a_burst_does_not_make_the_pause_after_it_look_like_the_end(self):
        pulse = self.pulse(events=100, until=500.0)  # a trade each 5 s
        pulse.observe(501.0, 300, 300)
        pulse.observe(560.0, 301, 300)
        assert not pulse.is_stale(565.0, self.limit)
        pulse.observe(600.0, 302, 300)
        assert pulse.is_stale(605.0, self.limit)

    def test_too_few_events_say_nothing_about_the_pace(self):
        pulse = self.pulse(events=3, until=0.3)
        pulse.observe(1000.0, 50, 3)
        assert not pulse.is_stale(1001.0, self.limit)

    def test_without_any_message_even_a_quiet_connection_is_stale(self):
        pulse = self.pulse(events=3, until=0.3)
        assert not pulse.is_stale(30.3, self.limit)
        assert pulse.is_stale(30.4, self.limit)


class TestSequences:
    @pytest.mark.parametrize(
        ("last", "number", "hole"), [(None, 7, False), (7, 8, False), (7, 9, True), (7, 7, False), (900, 0, False)]
    )
    def test_a_hole_is_a_jump_forward(self, last, number, hole):
        assert is_hole(last, number) is hole

    def test_coinbase_numbers_every_frame_of_a_connection(self):
        number = NUMBERED["coinbase"]
        assert number({"channel": "l2_data", "sequence_num": 12, "events": []}) == 12
        assert number({"type": "error", "message": "no such product"}) is None

    @pytest.mark.parametrize(
        ("exchange", "checked"), [("binanceus", True), ("okx", True), ("coinbase", True), ("kraken", False)]
    )
    def test_known_is_whose_books_cannot_miss_an_update_unseen(self, exchange, checked):
        assert books_are_checked(exchange) is checked


def test_an_unknown_symbol_is_answered_with_the_nearest_ones():
    listed = ["BTC/USDT", "BTC/USDC", "ETH/USDT", "DOGE/EUR"]
    assert nearest_symbols("BTC/USD", listed)[:2] == ["BTC/USDT", "BTC/USDC"]
    assert nearest_symbols("XYZW/QQQ", listed) == []
