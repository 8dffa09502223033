"""What somebody wants computed, checked before anything begins."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daedalus.etl.filters import FilterSpec
from daedalus.etl.jobs import JobSpec
from daedalus.etl.locations import Input, location
from daedalus.etl.problems import UsageError
from daedalus.etl.sources import Wanted
from daedalus.etl.targets import Target, channels_of, check_channels, payloads_of, tables_of, targets_of
from daedalus.etl.task import Bench, Parameters
from daedalus_common.config import Config
from daedalus_common.config.schema import nearest
from daedalus_common.markets import Market
from daedalus_common.stores import StoreSettings
from daedalus_features import FeatureConfig

_EVERYTHING = FilterSpec()


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes, and the configuration that says everything else."""

    config: Config
    input: Input
    output: StoreSettings


@dataclass(frozen=True, slots=True)
class Order:
    """The targets of a run, the part of the history, and how to go about it."""

    targets: tuple[Target, ...]
    filters: FilterSpec = _EVERYTHING
    limit: int | None = None
    parameters: Parameters = "recorded"
    replace: bool = False
    restart: bool = False
    workers: int = 1
    cluster: str | None = None
    """Address of a Dask scheduler, such as `tcp://10.0.0.1:8786`; instead of local workers."""

    @property
    def wanted(self) -> Wanted:
        """For the sources of tasks."""
        return Wanted(self.filters, self.limit, self.parameters, whole_days=self.replace)


def check_order(order: Order, places: Places) -> None:
    """Raises UsageError for what cannot be."""
    config, input_ = places.config, places.input
    if not order.targets:
        raise UsageError("no targets")
    check_channels(order.targets, config.etl.channels.enabled)
    if order.workers < 1:
        raise UsageError(f"--workers {order.workers}: at least 1")
    if order.limit is not None and order.limit < 1:
        raise UsageError(f"--limit {order.limit}: at least 1")
    if input_.store is None and (order.filters.begin or order.filters.end):
        raise UsageError(
            "--date, --from and --to select partitions of Bronze, and NDJSON files have none: leave them out"
        )
    left_out = set(targets_of(config.etl.channels.enabled)) - set(order.targets)
    if config.etl.delete_after_processing and input_.store is not None and left_out:
        raise UsageError(
            "etl.delete_after_processing is true, so a run must cover every table before it deletes Bronze, and "
            f"{', '.join(sorted(left_out))} is left out: compute every target, or set it to false"
        )


def job_of(order: Order, places: Places) -> JobSpec:
    """The job that the order is a part of."""
    decides = order.parameters == "config" or places.input.store is None
    return JobSpec(
        input=places.input.text,
        output=location(places.output),
        targets=order.targets,
        parameters=order.parameters,
        begin=order.filters.begin,
        feature_parameters=_hash(places.config) if decides else "",
    )


def bench_of(order: Order, places: Places) -> Bench:
    """What its tasks need. Users' transforms must be loaded."""
    params = FeatureConfig()
    channels = channels_of(order.targets, params)
    return Bench(
        source=places.input.store,
        output=places.output,
        codec=places.config.etl.compression,
        level=places.config.etl.effective_compression_level,
        tables=tables_of(order.targets, params),
        channels=tuple(channel.value for channel in channels),
        payloads=payloads_of(channels, params),
        parameters=order.parameters,
        replace=order.replace,
    )


def chosen(markets: Sequence[Market], filters: FilterSpec, where: str) -> list[Market]:
    """Those that match. Raises UsageError naming the nearest where an exchange or symbol matches nothing."""
    exchanges = sorted({market.exchange for market in markets})
    if filters.exchange is not None and filters.exchange not in exchanges:
        raise _unknown("--exchange", filters.exchange, exchanges, where)
    of_exchange = [market for market in markets if filters.matches_exchange(market.exchange)]
    found = [market for market in of_exchange if filters.matches_market(market)]
    if filters.symbol is not None and not found:
        raise _unknown("--symbol", filters.symbol, sorted({market.symbol for market in of_exchange}), where)
    return found


def check_names(markets: Iterable[Market]) -> None:
    """Raises UsageError for two markets that have one name in paths."""
    named: dict[str, Market] = {}
    for market in markets:
        other = named.setdefault(market.name, market)
        if other != market:
            raise UsageError(
                f"the input has both {other.symbol} and {market.symbol} of {market.exchange}, which are both "
                f"{market.name} in paths: write the symbol in one way"
            )


def _unknown(option: str, name: str, known: Sequence[str], where: str) -> UsageError:
    near = nearest(name, known)
    hint = f"; did you mean {near}?" if near else ""
    listed = ", ".join(_some(known)) or "nothing"
    return UsageError(f"{option} {name}: {where} has {listed}{hint}")


def _some(names: Iterable[str], most: int = 8) -> list[str]:
    listed = list(names)
    return listed if len(listed) <= most else [*listed[:most], f"and {len(listed) - most} more"]


def _hash(config: Config) -> str:
    document = config.features.model_dump_json() + config.etl.channels.model_dump_json()
    return hashlib.sha256(document.encode()).hexdigest()[:12]
