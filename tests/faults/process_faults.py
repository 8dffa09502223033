"""Faults of our own processes: killed, stopped and started, frozen past their lease, out of memory, more and fewer."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from random import Random
from typing import Any

from daedalus_common.leases import Role
from daedalus_common.plans import Plan, object_key
from faults.cells import Action, Trial
from faults.pipeline import SYMBOLS, TTL_SECONDS, Replica
from faults.rig import OLDER_ROLES, Rig
from faults.tools.disk import FaultyDisk
from faults.tools.processes import MemoryLimit
from faults.tools.s3_faults import Written

FENCED = r"lease lost|another owner|market lost|Fenced|fenced"
"""What a replica says that finds its lease taken."""
AWAKE_SECONDS = 1.0
"""So long a woken zombie is watched while the new owner is frozen; less than what is left of the owner's lease."""
WAKINGS = 3
"""On a busy machine a look at everything may outlast the new owner's lease, which tells nothing."""
TELL_SECONDS = 15.0
FAILED = r"\[critical"
"""The last word of a service that ends by an error."""


def killed(role: Role) -> Action:
    """kill -9 of an owner; its successor starts under the same name."""

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        victim = rig.pick(role, rng)
        rig.kill(victim)
        try:
            yield Trial()
        finally:
            rig.start(role, victim.number)

    return action


def restarted(role: Role) -> Action:
    """SIGTERM, and a start after it has ended."""

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        victim = rig.pick(role, rng)
        code = rig.stop_replica(victim)
        try:
            if code != 0:
                raise AssertionError(f"{victim.name} ended with {code}")
            yield Trial()
        finally:
            rig.start(role, victim.number)

    return action


def scaled(role: Role) -> Action:
    """One replica, then three, then two."""

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        victim = rig.pick(role, rng)
        rig.stop_replica(victim)
        time.sleep(rng.uniform(0.5, 1.5))
        rig.start(role, victim.number)
        third = rig.start(role, "3")
        try:
            yield Trial()
        finally:
            rig.stop_replica(third)
            with rig.lock:
                rig.replicas.pop(third.name)

    return action


def frozen(role: Role) -> Action:
    """SIGSTOP past the lease's time, then SIGCONT while the new owner is frozen: whatever changes is the zombie's."""

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        victim = rig.pick(role, rng, to_end=False)
        others = [replica for replica in rig.of(role) if replica is not victim]
        trial = Trial(is_zombie=True)
        said = victim.says(FENCED)
        conclusive = False
        trial.touched = lambda: int(conclusive)
        victim.signal(signal.SIGSTOP)
        try:
            yield trial
            for _ in range(WAKINGS):
                _wait_for_owners(rig, role, {replica.name for replica in others})
                conclusive = _wake(rig, role, victim, others, victim.says(FENCED), trial)
                if conclusive:
                    break
                victim.signal(signal.SIGSTOP)
                _all_awake(others)
        finally:
            _all_awake([*others, victim])
        if not _says_so(victim, said, TELL_SECONDS):
            trial.zombie.append(f"{victim.name} never said that its leases are gone")

    return action


def short_of_memory(role: Role) -> Action:
    """A new replica gets no more memory than it has before its first market, and a burst; its supervisor knows."""
    begun = "markets loaded" if role is Role.INGESTOR else " started "

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        victim = rig.pick(role, rng)
        rig.kill(victim)
        victim = rig.start(role, victim.number)
        _wait_for_words(victim, begun)
        with MemoryLimit(logs=lambda: [victim.service.log]) as limit:
            limit.limit(victim.service.pid, 0)
            _burst(rig, depth=500)
            yield Trial(touched=lambda: limit.hits)
        _end_if_it_hangs(rig, victim)

    return action


def _burst(rig: Rig, depth: int = 200) -> None:
    for symbol in SYMBOLS:
        rig.simulator.post("/control/burst", symbol=symbol, trades=0, depth=depth)


def _end_if_it_hangs(rig: Rig, victim: Replica) -> None:
    """Python waits forever for a thread that got no memory for its start, also on its way out. A service notices that
    its loop stands still after a minute and ends; here somebody who is less patient ends it."""
    _wait_for_words(victim, "first round of leases")
    deadline = time.monotonic() + TELL_SECONDS
    while victim.says(FAILED) and victim.service.running and time.monotonic() < deadline:
        time.sleep(0.02)
    if victim.service.running and (victim.says(FAILED) or not victim.says("first round of leases")):
        rig.kill(victim)
        rig.start(victim.role, victim.number)


def _wait_for_words(replica: Replica, pattern: str) -> None:
    deadline = time.monotonic() + TELL_SECONDS
    while not replica.says(pattern) and replica.service.running and time.monotonic() < deadline:
        time.sleep(0.02)


@contextmanager
def clock_jumped(rig: Rig, rng: Random) -> Iterator[Trial]:
    """The wall clock of one replica of every service goes forward or back."""
    clock = rig.service_clock
    assert clock is not None
    hits = clock.hits
    clock.jump(rng.choice([-1, 1]) * rng.uniform(1.0, 30.0))
    try:
        yield Trial(touched=lambda: clock.hits - hits)
    finally:
        clock.heal()


@contextmanager
def rolled(rig: Rig, rng: Random) -> Iterator[Trial]:
    """The replicas of an older build are replaced by today's, one after the other."""
    time.sleep(rng.uniform(0.5, 2.0))
    old = [replica for role in OLDER_ROLES for replica in rig.of(role)]
    rng.shuffle(old)
    for replica in old:
        code = rig.stop_replica(replica)
        if code != 0:
            raise AssertionError(f"the older {replica.name} ended with {code}")
        rig.start(replica.role, replica.number, rig.clock_of(replica.number))
        time.sleep(rng.uniform(0.0, 0.5))
    yield Trial()


def spool_disk(bring: Callable[[FaultyDisk], None]) -> Action:
    """Redis answers nothing, and the disk that the ingestor would keep events on takes none."""

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        disk = rig.spool_disk
        assert disk is not None
        hits = disk.hits
        bring(disk)
        rig.stack.valkey.pause()
        _burst(rig)  # or the queue might take what comes
        try:
            yield Trial(touched=lambda: disk.hits - hits)
        finally:
            rig.stack.valkey.resume()
            disk.heal()

    return action


def _wake(rig: Rig, role: Role, victim: Replica, others: list[Replica], said: int, trial: Trial) -> bool:
    """False: the new owner's lease ran out meanwhile, so what the zombie did says nothing."""
    for replica in others:
        replica.signal(signal.SIGSTOP)
    time.sleep(0.1)  # a command that is on its way arrives
    before, epochs = rig.progress.footprint(role), rig.progress.epochs(role)
    # Of the writers: while the others stand still, so do their uploads.
    with rig.lake.watched() if role is Role.WRITER else nullcontext(dict[str, Written]()) as written:
        victim.signal(signal.SIGCONT)
        _says_so(victim, said, AWAKE_SECONDS)
        after = rig.progress.footprint(role)
        if rig.progress.epochs(role) != epochs:
            return False
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    changes = [*changed, *_unplanned(before, written)]
    trial.zombie += [f"{victim.name} woke up and changed {name}" for name in changes]
    return True


def _unplanned(before: dict[str, Any], written: Mapping[str, Written]) -> list[str]:
    """What was written but for objects which a committed plan names and that were not there yet.

    A store knows no leases: an upload that was under way when the zombie fell asleep may go on. What it makes is what
    the new owner will make of the same plan, under the same name, and whoever comes second leaves it as it is.
    """
    plans = [plan for name, found in before.items() if name.endswith(" plans") for plan in found.values()]
    planned = {object_key(segment) for plan in plans for segment in Plan.decode(plan).segments}
    return sorted(f"object {key}: {how}" for key, how in written.items() if how != "created" or key not in planned)


def _all_awake(replicas: list[Replica]) -> None:
    for replica in replicas:
        with suppress(ProcessLookupError):
            replica.signal(signal.SIGCONT)


def _wait_for_owners(rig: Rig, role: Role, names: set[str]) -> None:
    deadline = time.monotonic() + 5 * TTL_SECONDS
    while not set(rig.progress.owners(role).values()) <= names:
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{5 * TTL_SECONDS} s after SIGSTOP the leases are held by {rig.progress.owners(role)}"
            )
        time.sleep(0.05)


def _says_so(replica: Replica, said: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while replica.says(FENCED) <= said:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
