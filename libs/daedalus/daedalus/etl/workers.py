"""Who carries tasks out: a thread of this process, processes of this machine, or a cluster."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait

from daedalus.etl.computing import carry_out
from daedalus.etl.problems import EtlError
from daedalus.etl.task import Bench, StoredState, Task, TaskDone

LOST_WORKER = "a worker process ended while it had a task (out of memory, or killed)"


@dataclass(frozen=True, slots=True)
class Workers:
    """So many tasks at a time; `lost` are the errors that mean that a worker is gone, `cause` says why in words."""

    submit: Callable[[Bench, Task, StoredState | None, dict[str, int]], "Future[TaskDone]"]
    slots: int
    lost: tuple[type[BaseException], ...] = ()
    cause: str = LOST_WORKER

    def translated(self, error: BaseException) -> BaseException:
        """An error of a task as one for people, where it means that a worker is gone."""
        if isinstance(error, self.lost):
            return EtlError(f"{self.cause}; what was finished is kept: run the same command again to go on")
        return error


@contextmanager
def local_workers(count: int) -> Iterator[Workers]:
    """`count` processes; for one, a thread of this process, which starts at once."""
    if count == 1:
        with ThreadPoolExecutor(1, "worker") as pool:
            yield Workers(_submitter(pool), 1)
        return
    # One process imports everything, which takes 0.6 s of CPU, and the workers are forks of it, before any thread.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([carry_out.__module__])
    with ProcessPoolExecutor(count, context, initializer=_begin_work) as processes:
        yield Workers(_submitter(processes), count, (BrokenProcessPool,))


def _submitter(pool: Executor) -> Callable[[Bench, Task, StoredState | None, dict[str, int]], "Future[TaskDone]"]:
    def submit(bench: Bench, task: Task, state: StoredState | None, counters: dict[str, int]) -> "Future[TaskDone]":
        return pool.submit(carry_out, bench, task, state, counters)

    return submit


def _begin_work() -> None:
    """In a worker process: the run decides when to stop, and without it there is nothing to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    sys.stderr.flush()
    os._exit(1)
