"""Transforms: the steps from events to tables, in the order in which they are registered."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from daedalus_features.codec import layout
from daedalus_features.config import CHANNELS, Channel, FeatureConfig, nearest
from daedalus_features.tables import Rows, Table
from daedalus_features.units import parse_unit

EVENTS = "events"
"""The input of a transform that reads the market's events; any other names the table whose rows it reads."""

_NAME = re.compile("[a-z][a-z0-9_]*")
_RESERVED = {"exchange", "symbol", "timestamp", "seq", "year", "month", "day", "hour"}
"""What every stored row has besides its table's columns, or its partition says."""


@dataclass(frozen=True)
class NoState:
    """The state of a transform that remembers nothing."""


class BaseTransform(ABC):
    """A pure function with a state: the same events in any portions give the same rows.

    A state is a frozen dataclass of int, float, bool, NumPy arrays of up to two dimensions and such dataclasses;
    it must stay of bounded size. `tables` are what the transform gives with the parameters it was made with, and
    `channel` is what they are made of: a configuration without it leaves the transform out.
    """

    name: ClassVar[str]
    input: ClassVar[str] = EVENTS
    channel: ClassVar[Channel]
    tables: tuple[Table, ...]
    state_names: tuple[str, ...] = ()
    """What a place in the state's arrays stands for, where registered features decide it: part of the schema."""

    def __init__(self, params: FeatureConfig) -> None:
        self.params = params

    @abstractmethod
    def initial(self) -> Any:
        """The state at a genesis."""

    @abstractmethod
    def process(self, events: Any, state: Any) -> tuple[tuple[Rows, ...], Any]:
        """The rows that `events` (Events, or Rows of the input table) complete, and the state after them.

        Events hold valid books and trades only; rows are in order of time, one Rows at most for each table.
        """


TransformType = TypeVar("TransformType", bound=type[BaseTransform])


class TransformRegistry:
    """Transform classes by name, in the order of their registration."""

    def __init__(self) -> None:
        self._classes: dict[str, type[BaseTransform]] = {}
        self._given: dict[str, Channel] = {}
        """The channel of each table."""
        self.transforms = lru_cache(maxsize=1024)(self._transforms)
        """The transforms of the parameters' channels, made with these parameters."""

    def register(self, transform: TransformType) -> TransformType:
        """Add a transform class; a transform that reads a table comes after the one that gives it.

        Raises ValueError naming what is wrong with it: a name or table that is taken or malformed, an unknown channel
        or input, a column that cannot be stored, a state that cannot be written as bytes.
        """
        if not _NAME.fullmatch(transform.name):
            raise ValueError(f"transform {transform.name!r}: a name is lower-case letters, digits and underscores")
        if transform.name in self._classes:
            raise ValueError(f"transform {transform.name} is registered twice")
        if transform.channel not in CHANNELS:
            raise ValueError(
                f"transform {transform.name}: channel {transform.channel!r} is none of {', '.join(CHANNELS)}"
                f"{nearest(str(transform.channel), CHANNELS)}"
            )
        self._check_input(transform)
        made = transform(FeatureConfig())
        for table in made.tables:
            self._check_table(transform.name, table)
        try:
            layout(made.initial())
        except TypeError as error:
            raise ValueError(f"transform {transform.name}: {error}") from error
        self._given.update((table.name, transform.channel) for table in made.tables)
        self._classes[transform.name] = transform
        self.refresh()
        return transform

    def __getitem__(self, name: str) -> type[BaseTransform]:
        """The class of that name; raises KeyError with the nearest name."""
        if name not in self._classes:
            raise KeyError(f"no transform {name}{nearest(name, self._classes)}")
        return self._classes[name]

    @property
    def classes(self) -> tuple[type[BaseTransform], ...]:
        """Every transform, in the order of registration."""
        return tuple(self._classes.values())

    def tables(self, params: FeatureConfig) -> tuple[Table, ...]:
        """Every table that these parameters give, with its columns."""
        return tuple(table for transform in self.transforms(params) for table in transform.tables)

    def refresh(self) -> None:
        """Make the transforms anew: there are more of them, or features have been registered that they compute."""
        self.transforms.cache_clear()

    def _transforms(self, params: FeatureConfig) -> tuple[BaseTransform, ...]:
        return tuple(each(params) for each in self._classes.values() if each.channel in params.channels)

    def _check_input(self, transform: type[BaseTransform]) -> None:
        if transform.input == EVENTS:
            return
        if transform.input not in self._given:
            raise ValueError(
                f"transform {transform.name}: input {transform.input!r} is neither {EVENTS!r} nor a table given by a "
                f"transform before it{nearest(transform.input, (EVENTS, *self._given))}"
            )
        channel = self._given[transform.input]
        if channel != transform.channel:
            raise ValueError(
                f"transform {transform.name}: its input {transform.input} is of channel {channel}, "
                f"not {transform.channel}"
            )

    def _check_table(self, name: str, table: Table) -> None:
        if not _NAME.fullmatch(table.name) or table.name == EVENTS:
            raise ValueError(f"transform {name}: {table.name!r} is no name for a table")
        if table.name in self._given:
            raise ValueError(f"transform {name}: table {table.name} is given by another transform")
        if table.layer not in ("silver", "gold"):
            raise ValueError(f"transform {name}: layer {table.layer!r} of table {table.name} is not silver or gold")
        names = [column.name for column in table.columns]
        for column in table.columns:
            parse_unit(column.unit)
            if column.name in _RESERVED or names.count(column.name) > 1:
                raise ValueError(f"transform {name}: table {table.name} cannot have a column {column.name}: it has one")


TRANSFORMS = TransformRegistry()
"""What the package computes, and what extensions add."""


def register_transform(transform: TransformType) -> TransformType:
    """Add a transform class to those that every market is computed with; see `TransformRegistry.register`."""
    return TRANSFORMS.register(transform)


def transforms(params: FeatureConfig) -> tuple[BaseTransform, ...]:
    """Every transform of the parameters' channels."""
    return TRANSFORMS.transforms(params)


def tables(params: FeatureConfig) -> tuple[Table, ...]:
    """Every table that these parameters give, with its columns."""
    return TRANSFORMS.tables(params)
