"""The catalogue of features as a list that can be searched, and as pages: for a terminal, and as JSON.

Keys of the JSON, one object a feature:

    name, table, layer ("silver" or "gold"), channel, category
    columns       the names that the parameters give it, in the order in which they are stored
    unit, dtype   "float64", "int64", "bool" or "category"; labels: the values of a category
    definition    how it is computed;  reference: where that comes from, or empty
    inputs        what it reads;  state: what is remembered for it between events
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from daedalus_common.config import Config
from daedalus_common.config.schema import nearest
from daedalus_common.markets import Market
from daedalus_features import Entry, FeatureConfig, catalogue, transforms

_SHOWN_COLUMNS = 3
_SHOWN_NAMES = 12


class UnknownName(Exception):
    """No such feature, column, table, category or market; the text names the nearest one, or else some."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        near = nearest(name, names)
        some = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
        hint = f"did you mean {near}?" if near else f"there is {some}" if names else "none is configured, see --config"
        super().__init__(f"no {kind} {name}; {hint}")


@dataclass(frozen=True, slots=True)
class Item:
    """A feature, and where its table belongs."""

    entry: Entry
    layer: str
    channel: str

    def answers_to(self, name: str) -> bool:
        """Whether that is the name of the feature or of one of its columns."""
        return name == self.entry.name or any(name == column.name for column in self.entry.columns)


@dataclass(frozen=True, slots=True)
class Listing:
    """Features in the order of their tables and columns."""

    items: tuple[Item, ...]

    @classmethod
    def of(cls, parameters: FeatureConfig) -> "Listing":
        """All that these parameters give a column."""
        places = {
            table.name: (table.layer, transform.channel)
            for transform in transforms(parameters)
            for table in transform.tables
        }
        entries = (entry for entry in catalogue(parameters) if entry.columns)
        return cls(tuple(Item(entry, *places[entry.table]) for entry in entries))

    def only(self, *, table: str | None = None, category: str | None = None, channel: str | None = None) -> "Listing":
        """Those of one table, category and channel. Raises UnknownName."""
        items = self.items
        if table is not None:
            items = _chosen(items, "table", table, [item.entry.table for item in items])
        if category is not None:
            items = _chosen(items, "category", category, [item.entry.category for item in items])
        if channel is not None:
            items = tuple(item for item in items if item.channel == channel)
        return replace(self, items=items)

    def named(self, name: str) -> "Listing":
        """Those with that name or a column of that name; several tables may have one. Raises UnknownName."""
        found = tuple(item for item in self.items if item.answers_to(name))
        if not found:
            names = (n for item in self.items for n in (item.entry.name, *(c.name for c in item.entry.columns)))
            raise UnknownName("feature or column", name, dict.fromkeys(names))
        return Listing(found)


def _chosen(items: tuple[Item, ...], kind: str, wanted: str, found: list[str]) -> tuple[Item, ...]:
    if wanted not in found:
        raise UnknownName(kind, wanted, dict.fromkeys(found))
    return tuple(item for item, value in zip(items, found, strict=True) if value == wanted)


def parameters_of(config: Config, market: str | None) -> FeatureConfig:
    """The parameters of a market `exchange:symbol`; None = what no market overrides. Raises UnknownName."""
    markets = {f"{each.exchange}:{each.symbol}": each.market for each in config.markets()}
    if market is not None and market not in markets:
        raise UnknownName("configured market", market, markets)
    return FeatureConfig(**config.feature_parameters(Market("", "") if market is None else markets[market]))


def listing_json(listing: Listing) -> str:
    """The features as a JSON list; the keys are those of the module's text."""
    return json.dumps([_values(item) for item in listing.items], indent=2, ensure_ascii=False)


def _values(item: Item) -> dict[str, Any]:
    entry = item.entry
    first = entry.columns[0]
    return {
        "name": entry.name,
        "table": entry.table,
        "layer": item.layer,
        "channel": item.channel,
        "category": entry.category,
        "columns": [column.name for column in entry.columns],
        "unit": str(entry.unit),
        "dtype": first.dtype,
        "labels": list(first.labels),
        "definition": entry.meaning,
        "reference": entry.reference,
        "inputs": entry.inputs,
        "state": entry.state,
    }


def render_list(listing: Listing) -> RenderableType:
    """A line a feature."""
    page = RichTable(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("column(s)", "table", "unit", "meaning"):
        page.add_column(name, overflow="fold")
    for item in listing.items:
        entry = item.entry
        page.add_row(*map(Text, (_span(entry), f"{item.layer}/{entry.table}", str(entry.unit), entry.meaning)))
    return page


def render_description(listing: Listing) -> RenderableType:
    """A block a feature."""
    return Group(*(part for item in listing.items for part in (_block(item), Text())))


def _block(item: Item) -> RichTable:
    values = _values(item)
    kind = f"{values['dtype']}: {', '.join(values['labels'])}" if values["labels"] else values["dtype"]
    lines = {
        "feature": values["name"],
        "table": f"{item.layer}/{values['table']}, of channel {item.channel}",
        "category": values["category"],
        "definition": values["definition"],
        "unit": values["unit"],
        "type": f"{kind}; where the definition has no value, null, never NaN or infinite",
        "reference": values["reference"] or "none",
        "inputs": values["inputs"],
        "state": values["state"],
        "columns": ", ".join(values["columns"]),
    }
    block = RichTable(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    block.add_column(style="dim", no_wrap=True)
    block.add_column(overflow="fold")
    for name, text in lines.items():
        block.add_row(name, Text(text))
    return block


def _span(entry: Entry) -> str:
    names = [column.name for column in entry.columns]
    if len(names) <= _SHOWN_COLUMNS:
        return ", ".join(names)
    return f"{names[0]} … {names[-1]} ({len(names)})"
