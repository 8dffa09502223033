"""What a run would do, as a table."""

import json

from rich.console import Console
from rich.table import Table

from daedalus.etl.session import PlannedMarket

_MEGABYTE = 1e6


def print_plan(plan: list[PlannedMarket], as_json: bool, console: Console) -> None:
    """Per market: the days, tasks, segments and bytes to read; as JSON alone on stdout."""
    if as_json:
        print(json.dumps({"dry_run": True, "markets": [_document(market) for market in plan]}, indent=2))
        return
    if not any(market.tasks or market.events for market in plan):
        console.print("nothing to do")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("market", "from", "to"):
        table.add_column(name, no_wrap=True)
    for name in ("tasks", "segments", "MB", "events", "held back"):
        table.add_column(name, justify="right")
    for market in plan:
        days = (market.days[0], market.days[-1]) if market.days else ("", "")
        size = f"{market.size_bytes / _MEGABYTE:,.1f}" if market.size_bytes else ""
        events = f"{market.events:,}" if market.events else ""
        held = f"{market.held_back:,}" if market.held_back else ""
        table.add_row(market.market.name, *days, f"{market.tasks:,}", f"{market.segments:,}", size, events, held)
    console.print(table)
    console.print("a dry run: nothing was computed")


def _document(market: PlannedMarket) -> dict[str, object]:
    return {
        "exchange": market.market.exchange,
        "symbol": market.market.symbol,
        "days": list(market.days),
        "tasks": market.tasks,
        "segments": market.segments,
        "input_bytes": market.size_bytes,
        "events": market.events,
        "held_back": market.held_back,
    }
