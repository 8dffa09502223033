"""What the supervisor decides, without any process."""

import signal
from datetime import timedelta

import pytest

from daedalus.supervisor.policy import (
    GiveUp,
    History,
    MemoryAction,
    MemoryLimits,
    MemoryState,
    Restart,
    RestartPolicy,
    after_exit,
    backoff,
    describe_exit,
    judge_memory,
)

SECOND = timedelta(seconds=1)
POLICY = RestartPolicy(first_delay=SECOND, max_delay=8 * SECOND, healthy_after=60 * SECOND)
LIMITS = MemoryLimits(warning_size_bytes=1000, critical_size_bytes=2000)
KILLED = -signal.SIGKILL


def delays(*ends: tuple[int, float]) -> list[float]:
    """The restart delays after ends of (exit code, seconds lived)."""
    history, found = History(), []
    for code, lived in ends:
        decision = after_exit(code, timedelta(seconds=lived), history, POLICY)
        assert isinstance(decision, Restart), decision
        history = decision.history
        found.append(decision.delay.total_seconds())
    return found


def test_delays_double_up_to_the_cap():
    assert delays(*[(KILLED, 20.0)] * 6) == [1, 2, 4, 8, 8, 8]


def test_a_healthy_run_begins_the_delays_anew():
    assert delays((KILLED, 20), (KILLED, 20), (KILLED, 60), (KILLED, 20)) == [1, 2, 1, 2]


def test_the_delay_of_a_thousandth_end_is_still_the_cap():
    assert backoff(1000, POLICY) == POLICY.max_delay


def test_a_wrong_configuration_is_not_tried_again():
    decision = after_exit(2, 100 * SECOND, History(), POLICY)
    assert isinstance(decision, GiveUp)
    assert "configuration" in decision.reason


def test_three_failures_in_a_row_while_starting_are_enough():
    history = History()
    for _ in range(2):
        decision = after_exit(1, SECOND, history, POLICY)
        assert isinstance(decision, Restart)
        history = decision.history
    decision = after_exit(1, SECOND, history, POLICY)
    assert isinstance(decision, GiveUp)
    assert "3 times" in decision.reason


@pytest.mark.parametrize("between", [(1, 30.0), (KILLED, 1.0), (0, 1.0)], ids=["later", "killed", "exit 0"])
def test_other_ends_between_failures_at_start_break_the_row(between):
    assert len(delays((1, 1.0), (1, 1.0), between, (1, 1.0), (1, 1.0))) == 5


def test_a_child_that_faults_at_every_start_is_given_up():
    history = History(ends=2, startup_failures=2)
    assert isinstance(after_exit(-signal.SIGILL, SECOND, history, POLICY), GiveUp)


def test_a_child_that_is_killed_from_outside_is_never_given_up():
    assert len(delays(*[(KILLED, 0.1)] * 50)) == 50


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "exit code 0"), (1, "exit code 1"), (-9, "killed by SIGKILL"), (-200, "killed by signal 200")],
)
def test_exits_are_described_for_people(code, text):
    assert describe_exit(code) == text


def actions(*sizes: int) -> list[MemoryAction]:
    """The action after each sample."""
    state, found = MemoryState(), []
    for size in sizes:
        action, state = judge_memory(size, state, LIMITS)
        found.append(action)
    return found


NOTHING, WARN, RESTART = MemoryAction.NOTHING, MemoryAction.WARN, MemoryAction.RESTART


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((500, 999), [NOTHING, NOTHING]),
        ((1000, 1500, 1999), [WARN, NOTHING, NOTHING]),
        ((1000, 950, 1000), [WARN, NOTHING, NOTHING]),
        ((1000, 899, 1000), [WARN, NOTHING, WARN]),
        ((2000, 2000, 2000), [WARN, NOTHING, RESTART]),
        ((2000, 2000, 1999, 2000, 2000), [WARN, NOTHING, NOTHING, NOTHING, NOTHING]),
        ((2000, 2000, 2000, 2000), [WARN, NOTHING, RESTART, WARN]),
        ((1500, 2000, 2500, 3000), [WARN, NOTHING, NOTHING, RESTART]),
    ],
    ids=["fine", "warned once", "at the edge", "warned anew", "critical", "peaks", "after a restart", "growing"],
)
def test_memory_is_warned_of_once_and_ends_in_a_restart_when_it_stays_critical(sizes, expected):
    assert actions(*sizes) == expected
