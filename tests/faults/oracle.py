"""Judges a run by its data alone: every promise is checked on all rows, and each broken one is a `Violation`."""

from collections.abc import Callable, Iterable, Iterator

from faults.evidence import Evidence, Violation
from faults.oracle_features import features_follow_from_bronze
from faults.oracle_gaps import no_needless_gap
from faults.oracle_quality import every_gap_is_a_row
from faults.oracle_rows import everything_sent_is_there, order_holds, row_keys_are_unique
from faults.oracle_usage import memory_and_files_are_bounded

MAX_TOLD = 50
"""Violations of one invariant that are told; a broken run may have thousands."""

PROMISES: dict[str, str] = {
    "I1": "every frame sent is in Bronze or inside a declared gap",
    "I2": "row keys are unique",
    "I3": "order per market holds",
    "I4": "Silver and Gold equal the offline computation from Bronze",
    "I5": "memory and open files stay under their limits",
    "I6": "every service goes on by itself, and lag returns to zero in time",
    "I7": "no gap is declared where nothing was lost",
    "I8": "a zombie changes nothing",
}

_CHECKS: tuple[Callable[[Evidence], Iterator[Violation]], ...] = (
    everything_sent_is_there,
    every_gap_is_a_row,
    row_keys_are_unique,
    order_holds,
    features_follow_from_bronze,
    memory_and_files_are_bounded,
    no_needless_gap,
)


def judge(evidence: Evidence) -> list[Violation]:
    """Every violation found, at most `MAX_TOLD` of each invariant."""
    found = [violation for check in _CHECKS for violation in check(evidence)]
    found += _of_windows(evidence)
    return list(_limited(found))


def _of_windows(evidence: Evidence) -> Iterator[Violation]:
    for window in evidence.windows:
        if window.recovery_seconds is None and window.error is None:
            yield Violation("I6", f"{window.cell.name}: not recovered in time", window.healed_ns)
        for text in window.zombie or ():
            yield Violation("I8", f"{window.cell.name}: {text}", window.healed_ns)
    for death in evidence.deaths:
        if not any(death.role in w.cell.may_end and w.began_ns <= death.at_ns <= w.ended_ns for w in evidence.windows):
            text = f"{death.name} ended by itself with code {death.code}: {death.last_words}"
            yield Violation("I6", text, death.at_ns)
    if evidence.audit is not None:
        yield Violation("I1", evidence.audit)
    for name, lag in evidence.lags.items():
        yield Violation("I6", f"after the end {name} is {lag} entries behind")


def _limited(violations: Iterable[Violation]) -> Iterator[Violation]:
    told: dict[str, int] = {}
    for violation in violations:
        told[violation.invariant] = told.get(violation.invariant, 0) + 1
        if told[violation.invariant] <= MAX_TOLD:
            yield violation
