"""The catalogue as text, from the register alone."""

from itertools import groupby

from daedalus_features.config import FeatureConfig
from daedalus_features.registry import Entry, catalogue
from daedalus_features.tables import Column

_TITLES = {
    "orderbook": "Order-book rows (Silver)",
    "trades": "Trades (Silver)",
    "ticker": "Tickers (Silver)",
    "bars": "Time bars of the order book (Gold)",
    "trade_bars": "Time bars of trades (Gold)",
    "tick_bars": "Tick bars (Gold)",
    "volume_bars": "Volume bars (Gold)",
    "dollar_bars": "Dollar bars (Gold)",
    "tick_imbalance_bars": "Tick imbalance bars (Gold)",
    "volume_imbalance_bars": "Volume imbalance bars (Gold)",
    "dollar_imbalance_bars": "Dollar imbalance bars (Gold)",
}
"""Of the built-in tables; one of an extension goes by its name."""


def catalogue_markdown(params: FeatureConfig) -> str:
    """One Markdown table per category of each table, in the order of the columns."""
    lines = ["# Features", ""]
    for table, of_table in groupby(catalogue(params), key=lambda entry: entry.table):
        lines += [f"## {_TITLES.get(table, table)}", ""]
        for category, entries in groupby(of_table, key=lambda entry: entry.category):
            lines += [f"### {category.capitalize()}", ""]
            lines += [
                "| column | definition | unit | type | reads | state | reference |",
                "|---|---|---|---|---|---|---|",
            ]
            lines += [_line(entry) for entry in entries]
            lines.append("")
    return "\n".join(lines)


def _line(entry: Entry) -> str:
    cells = (
        column_span(entry.columns),
        entry.meaning,
        str(entry.unit),
        entry.columns[0].dtype if entry.columns else "",
        entry.inputs,
        entry.state,
        entry.reference,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def column_span(columns: tuple[Column, ...]) -> str:
    """The columns' names in code style, the middle of a long list left out."""
    names = [f"`{column.name}`" for column in columns]
    return ", ".join(names) if len(names) <= 10 else f"{names[0]} … {names[-1]}"
