"""Gaps and audits as tables for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daedalus.operations.pages import duration, printable
from daedalus.quality.gap_views import GapView, summed
from daedalus.quality.report import NUMBERS, Audit, DayAudit, MarketAudit, moment

_SHOWN_PROBLEMS = 50


def gaps_page(views: Sequence[GapView], notes: Sequence[str]) -> RenderableType:
    """A line a gap, then the sums."""
    lines = [Text(note, "yellow") for note in notes]
    if not views:
        return Group(*lines, Text("no gaps"))
    page = _table("market", "channel", "reason", "begin", "end", "duration", "lost")
    for view in views:
        end = "open" if view.end_ts is None else moment(view.end_ts)
        lost = "-" if view.lost is None else f"{view.lost:,}"
        cells = (view.market, view.channel, view.reason, moment(view.begin), end, duration(view.duration_seconds), lost)
        page.add_row(*(Text(printable(cell)) for cell in cells), style="bold yellow" if view.end_ts is None else None)
    sums = _table("market", "channel", "reason", "gaps", "open", "time", "lost")
    for each in summed(views):
        words = (Text(printable(text)) for text in (each.market, each.channel, each.reason))
        sums.add_row(*words, f"{each.gaps:,}", f"{each.open:,}", duration(each.seconds), f"{each.lost:,}")
    return Group(page, Text(), sums, *lines)


def audit_page(audit: Audit) -> RenderableType:
    """Coverage and ledger a market and day, then problems and notes."""
    if not audit.markets:
        return Text(f"nothing to audit in {audit.place}")
    coverage = _table("market", "day", "from", "to", "channel", "coverage", "in gaps", "gaps")
    ledger = _table("market", "day", "published", *NUMBERS, "late", "features")
    for market in audit.markets:
        for number, day in enumerate(market.days):
            name = "" if number else market.market.name
            _cover(coverage, name, day)
            last = number == len(market.days) - 1
            _account(ledger, name, day, market if last else None)
    parts: list[RenderableType] = [coverage, Text(), ledger]
    problems = audit.problems
    parts += [Text(f"- {printable(problem)}", "red") for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        parts.append(Text(f"- and {len(problems) - _SHOWN_PROBLEMS:,} more; --json names them", "red"))
    notes = [*audit.notes, *(note for market in audit.markets for note in market.notes)]
    parts += [Text(printable(note), "yellow") for note in notes]
    parts.append(Text("reconciled: yes", "bold green") if audit.reconciled else Text("reconciled: no", "bold red"))
    return Group(*parts)


def _cover(page: Table, name: str, day: DayAudit) -> None:
    head = (name, day.day.isoformat(), moment(day.first_ts)[11:19], moment(day.last_ts)[11:19])
    for number, each in enumerate(day.channels):
        cells = (each.channel, f"{each.share:.3%}", duration(each.gap_seconds))
        page.add_row(*(head if not number else ("",) * 4), *cells, f"{day.gaps:,}" if not number else "")


def _account(page: Table, name: str, day: DayAudit, market: MarketAudit | None) -> None:
    wrong = day.counts.unexplained or day.counts.double or day.counts.disordered
    numbers = (f"{getattr(day.counts, each):,}" for each in ("published", *NUMBERS))
    whole = ("", "") if market is None else (f"{market.late:,}", f"{market.feature_rows:,}")
    page.add_row(name, day.day.isoformat(), *numbers, *whole, style="red" if wrong else None)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
