"""The front of batch: a configuration in, tables out.

executor = TransformExecutor.from_config(config)
report = executor.run(["orderbook", "bars"], FilterSpec(symbol="BTC/USDT"), workers=2)
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Self

from daedalus.etl.computing import extend, store_of
from daedalus.etl.filters import FilterSpec
from daedalus.etl.jobs import JobFolder
from daedalus.etl.locations import input_of, output_of
from daedalus.etl.order import Order, Places, check_order, job_of
from daedalus.etl.report import Report
from daedalus.etl.run import Tick
from daedalus.etl.session import PlannedMarket, Session, Surroundings, no_tick
from daedalus.etl.targets import parse_targets
from daedalus.etl.task import Parameters
from daedalus.etl.workers import Workers, local_workers
from daedalus_common.config import Config


class TransformExecutor:
    """Computes tables from a recorded history, resumably, on this machine or on a cluster."""

    def __init__(self, places: Places, state_dir: Path, surroundings: Surroundings | None = None) -> None:
        self.places = places
        self._state_dir = state_dir
        self._surroundings = surroundings or Surroundings()

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        input: str | Path | Sequence[str] = (),
        output: str | Path | None = None,
        state_dir: Path | None = None,
    ) -> Self:
        """Where it reads, writes and keeps its checkpoints: as given, else as the configuration says.

        `input` is a folder with Bronze, `s3://bucket/prefix`, or files or folders of NDJSON. Raises UsageError.
        """
        texts = (str(input),) if isinstance(input, str | Path) else tuple(input)
        to = output_of(None if output is None else str(output), config)
        return cls(Places(config, input_of(texts, config), to), state_dir or config.storage.paths.state_dir)

    def run(
        self,
        targets: str | Iterable[str],
        filters: FilterSpec = FilterSpec(),  # noqa: B008 frozen
        *,
        limit: int | None = None,
        workers: int = 1,
        cluster: str | None = None,
        parameters: Parameters = "recorded",
        replace: bool = False,
        restart: bool = False,
        stop: Event | None = None,
        tick: Tick = no_tick,
    ) -> Report:
        """Computes what is missing. Raises UsageError for what cannot be, EtlError or StoreError for what fails.

        `targets` are orderbook, trades, ticker, bars, or all. `stop` ends it early: it finishes the tasks under way.
        `tick` is called several times a second with the report so far.
        """
        names = (targets,) if isinstance(targets, str) else targets
        order = Order(parse_targets(names), filters, limit, parameters, replace, restart, workers, cluster)
        with self.open(order) as session:
            return session.run(stop or Event(), tick)

    def plan(self, order: Order) -> list[PlannedMarket]:
        """What a run would do. Writes nothing. Raises as `run`."""
        folder = self._checked(order)
        with local_workers(1) as workers:
            return Session(self.places, order, folder, workers, self._surroundings).plan()

    @contextmanager
    def open(self, order: Order) -> Iterator[Session]:
        """An order that is checked, with the output tried out, the job locked and workers at hand."""
        folder = self._checked(order)
        store_of(self.places.output).probe()
        with folder.locked(), _workers(order) as workers:
            yield Session(self.places, order, folder, workers, self._surroundings)

    def _checked(self, order: Order) -> JobFolder:
        check_order(order, self.places)
        extend()
        return JobFolder(self._state_dir, job_of(order, self.places))


@contextmanager
def _workers(order: Order) -> Iterator[Workers]:
    if order.cluster is None:
        with local_workers(order.workers) as workers:
            yield workers
        return
    # Not at the top: Dask is an extra.
    from daedalus.etl.cluster import cluster_workers

    with cluster_workers(order.cluster) as workers:
        yield workers
