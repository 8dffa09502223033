"""Transforms: the steps from events to tables, in the order in which they are registered."""

from functools import lru_cache
from typing import Any, ClassVar, Protocol, TypeVar

from daedalus_features.config import FeatureConfig
from daedalus_features.tables import Rows, Table

EVENTS = "events"
"""The input of a transform that reads the market's events; any other names the table whose rows it reads."""


class Transform(Protocol):
    """A pure function with a state: the same events in any portions give the same rows.

    A state is a frozen dataclass of int, float, bool, NumPy arrays of up to two dimensions; one transform's may
    have a field `history`, a History.
    """

    name: ClassVar[str]
    input: ClassVar[str]
    tables: tuple[Table, ...]

    def __init__(self, params: FeatureConfig) -> None: ...

    def initial(self) -> Any:
        """The state at a genesis."""

    def process(self, events: Any, state: Any) -> tuple[tuple[Rows, ...], Any]:
        """The rows that `events` (Events, or Rows of the input table) complete, and the state after them."""


TransformType = TypeVar("TransformType", bound=type[Transform])
_CLASSES: list[type[Transform]] = []


def register_transform(transform: TransformType) -> TransformType:
    """Add a transform class; a transform that reads a table comes after the one that gives it. Raises ValueError."""
    if any(known.name == transform.name for known in _CLASSES):
        raise ValueError(f"transform {transform.name} is registered twice")
    _CLASSES.append(transform)
    transforms.cache_clear()
    return transform


@lru_cache(maxsize=1024)
def transforms(params: FeatureConfig) -> tuple[Transform, ...]:
    """Every registered transform with these parameters."""
    return tuple(transform(params) for transform in _CLASSES)


def tables(params: FeatureConfig) -> tuple[Table, ...]:
    """Every table that these parameters give, with its columns."""
    return tuple(table for transform in transforms(params) for table in transform.tables)
