"""The register of features: a feature is one function, from one kind of input to its column or columns.

    @feature(unit="base", reference="Cont, Kukanov & Stoikov (2014)")
    def ofi(book: BookUpdates) -> FloatArray:
        \"""Order-flow imbalance at the touch, per update.\"""

The type of the argument says what a feature reads, what a market must remember for it, and its category.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_args, get_type_hints

from daedalus_features.arrays import FloatArray
from daedalus_features.config import CATEGORIES, Category, FeatureConfig
from daedalus_features.tables import Column, Dtype, Table
from daedalus_features.transforms import TRANSFORMS, BaseTransform
from daedalus_features.units import Unit, parse_unit

Section = Literal["row", "structural", "dynamic", "rolling", "trade", "ticker", "bar"]
"""A category of the configuration, or one of those that no configuration leaves out."""
SECTIONS: tuple[Section, ...] = get_args(Section)

ColumnNames = Callable[[FeatureConfig], Iterable[str]]


class Input(Protocol):
    """What a kind of input declares about the features that read it."""

    table: ClassVar[str]
    section: ClassVar[Section]
    reads: ClassVar[str]
    """The data behind it, in words."""
    remembers: ClassVar[str]
    """What a market's state must hold for it, in words."""


InputType = TypeVar("InputType")


@dataclass(frozen=True, slots=True)
class Feature:
    """A registered feature. `compute` gives shape (n,) for one column, (columns, n) for several."""

    name: str
    table: str
    section: Section
    source: type[Input]
    columns: ColumnNames
    dtype: Dtype
    labels: tuple[str, ...]
    unit: Unit
    reference: str
    needs: tuple[str, ...]
    meaning: str
    compute: Callable[[Any], FloatArray]


@dataclass(frozen=True, slots=True)
class Entry:
    """A feature as the catalogue lists it, with the columns that some parameters give it."""

    name: str
    table: str
    category: Section
    columns: tuple[Column, ...]
    unit: Unit
    inputs: str
    state: str
    reference: str
    meaning: str


_FEATURES: dict[tuple[str, str], Feature] = {}
_SILVER = {"orderbook", "trades", "ticker"}
"""The built-in tables that are not Gold."""


def feature(
    *,
    unit: str,
    powers: tuple[int, int] | None = None,
    reference: str = "",
    name: str | None = None,
    columns: ColumnNames | None = None,
    section: Category | None = None,
    inputs: tuple[type[Input], ...] = (),
    dtype: Dtype = "float64",
    labels: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
) -> Callable[[Callable[[InputType], FloatArray]], Callable[[InputType], FloatArray]]:
    """Register the decorated function as a feature; its name is its column's unless `name` or `columns` say otherwise.

    `powers` are those of prices and sizes where they are not what the unit spells (money, price times size, is quote).
    `section` overrides the category of its input. `inputs` are the kinds that the function is registered for where its
    argument's type is only what they have in common. `needs` are the order-book columns a bar feature reads: where a
    category is switched off, so are they. Raises ValueError for a name or column that the table has already, an unknown
    unit or no docstring.
    """

    def register(function: Callable[[InputType], FloatArray]) -> Callable[[InputType], FloatArray]:
        label = name or function.__name__
        if not function.__doc__:
            raise ValueError(f"feature {label} has no docstring to say what it means")
        for source in inputs or (_argument(function),):
            _add(
                Feature(
                    name=label,
                    table=source.table,
                    section=section or source.section,
                    source=source,
                    columns=columns or (lambda _: (label,)),
                    dtype=dtype,
                    labels=labels,
                    unit=Unit(unit, *powers) if powers else parse_unit(unit),
                    reference=reference,
                    needs=needs,
                    meaning=" ".join(function.__doc__.split()),
                    compute=function,
                )
            )
        return function

    return register


def _argument(function: Callable[[Any], FloatArray]) -> type[Input]:
    hints = get_type_hints(function)
    hints.pop("return", None)
    source: type[Input] = next(iter(hints.values()))
    return source


def _add(new: Feature) -> None:
    if (new.table, new.name) in _FEATURES:
        raise ValueError(f"feature {new.name} of table {new.table} is registered twice")
    params = FeatureConfig()
    taken = {column for each in _every(new.table) for column in each.columns(params)}
    for column in new.columns(params):
        if column in taken:
            raise ValueError(f"feature {new.name}: table {new.table} has a column {column} already")
    _FEATURES[new.table, new.name] = new
    TRANSFORMS.refresh()


def features_of(table: str, params: FeatureConfig) -> tuple[Feature, ...]:
    """The features of a table that the parameters leave in, in the order of the table's columns."""
    hidden = set(CATEGORIES).difference(params.categories)
    present = {name for each in _every("orderbook") if each.section not in hidden for name in each.columns(params)}
    return tuple(each for each in _every(table) if each.section not in hidden and present.issuperset(each.needs))


def features_reading(source: type[Input]) -> tuple[Feature, ...]:
    """The features of one kind of input, whatever the parameters leave in."""
    return tuple(each for each in _FEATURES.values() if each.source is source)


def columns_of(table: str, params: FeatureConfig) -> tuple[Column, ...]:
    """The columns that the features of a table give it."""
    return tuple(column for each in features_of(table, params) for column in _columns(each, params))


def table_of(name: str, params: FeatureConfig) -> Table:
    """The built-in table with the columns that the parameters give it."""
    return Table(name, "silver" if name in _SILVER else "gold", columns_of(name, params))


def catalogue(params: FeatureConfig) -> tuple[Entry, ...]:
    """Every feature that the parameters leave in, table by table, in the order of the columns.

    A column that an extension's transform gives without a feature is an entry by itself.
    """
    return tuple(
        entry
        for transform in TRANSFORMS.transforms(params)
        for table in transform.tables
        for entry in _entries(transform, table, params)
    )


def _entries(transform: BaseTransform, table: Table, params: FeatureConfig) -> list[Entry]:
    entries = [
        Entry(
            name=each.name,
            table=each.table,
            category=each.section,
            columns=_columns(each, params),
            unit=each.unit,
            inputs=each.source.reads,
            state=each.source.remembers,
            reference=each.reference,
            meaning=each.meaning,
        )
        for each in features_of(table.name, params)
    ]
    known = {column for entry in entries for column in entry.columns}
    entries += [
        Entry(
            name=column.name,
            table=table.name,
            category="row",
            columns=(column,),
            unit=parse_unit(column.unit),
            inputs=transform.input,
            state=f"that of transform {transform.name}",
            reference="",
            meaning=column.meaning,
        )
        for column in table.columns
        if column not in known
    ]
    return entries


def _every(table: str) -> list[Feature]:
    of_table = [each for each in _FEATURES.values() if each.table == table]
    return sorted(of_table, key=lambda each: SECTIONS.index(each.section))


def _columns(each: Feature, params: FeatureConfig) -> tuple[Column, ...]:
    return tuple(Column(name, each.dtype, each.unit.text, each.labels) for name in each.columns(params))
