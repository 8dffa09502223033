"""Tasks on a Dask cluster: those of different markets at the same time, each market's in order, its state handed on."""

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager

from daedalus.etl.computing import carry_out
from daedalus.etl.problems import EtlError, UsageError
from daedalus.etl.task import Bench, StoredState, Task, TaskDone
from daedalus.etl.workers import Workers

_CONNECT_SECONDS = "10s"
_WORKERS_SECONDS = 30.0
_LOST = "the cluster has ended, or too many of its workers have"


@contextmanager
def cluster_workers(address: str) -> Iterator[Workers]:
    """The cluster's workers, as many tasks at a time as they have threads.

    A task whose worker is lost is given to another one, up to `distributed.scheduler.allowed-failures` times: it gives
    the same parts again. Raises UsageError where Dask is not installed, EtlError where the cluster does not answer.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise UsageError("--cluster needs Dask: install the extra with pip install 'daedalus[cluster]'") from None
    # What its own log says with tracebacks reaches the user as one line of ours.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise EtlError(f"--cluster {address}: no scheduler answers there: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError as error:
            raise EtlError(f"--cluster {address}: the scheduler has no workers") from error
        threads: int = sum(client.nthreads().values())  # type: ignore[no-untyped-call]
        executor: Executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]

        def submit(bench: Bench, task: Task, state: StoredState | None, counters: dict[str, int]) -> "Future[TaskDone]":
            return executor.submit(carry_out, bench, task, state, counters)

        yield Workers(submit, max(1, threads), (KilledWorker, CancelledError), _LOST)
