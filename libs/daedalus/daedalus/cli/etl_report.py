"""A report as tables."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daedalus.etl.report import MarketReport, Report

_MEGABYTE = 1e6
_SHOWN_BAD = 10


def render_report(report: Report, by_day: bool) -> RenderableType:
    """What was computed per market and table (or day), and below it what must be known."""
    amounts = _days(report) if by_day else _tables(report)
    lines = [*_headlines(report), *_warnings(report)]
    return Group(*([amounts] if report.events else []), *(Text(line) for line in lines))


def _tables(report: Report) -> Table:
    table = _grid("market", "table", "events", "rows", "parts", "MB", "missing", "rejected")
    for market, each in sorted(report.markets.items()):
        if not each.amounts.tasks:
            continue
        lost = (f"{each.amounts.missing:,}", f"{each.amounts.rejected:,}")
        table.add_row(market.name, "", f"{each.amounts.events:,}", *_sizes(each.amounts), *lost)
        for name, amounts in sorted(each.tables.items()):
            table.add_row("", name, "", *_sizes(amounts), "", "")
    return table


def _days(report: Report) -> Table:
    table = _grid("market", "day", "events", "rows", "parts", "MB", "missing", "rejected")
    for market, each in sorted(report.markets.items()):
        for number, (day, amounts) in enumerate(sorted(each.days.items())):
            lost = (f"{amounts.missing:,}", f"{amounts.rejected:,}")
            name = "" if number else market.name
            table.add_row(name, day, f"{amounts.events:,}", *_sizes(amounts), *lost)
    return table


def _sizes(amounts: object) -> tuple[str, str, str]:
    rows, parts, size = (getattr(amounts, name) for name in ("rows", "parts", "part_bytes"))
    return f"{rows:,}", f"{parts:,}", f"{size / _MEGABYTE:,.1f}"


def _grid(first: str, second: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    table.add_column(second, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _headlines(report: Report) -> list[str]:
    if not report.markets:
        return [f"nothing to do: no market in {report.input} matches"]
    if not report.events:
        before = any(each.checkpoint is not None and each.checkpoint.number for each in report.markets.values())
        why = "everything there is was computed before" if before else "there is no event in the range asked for"
        return [f"nothing to do: {why} ({report.input})"]
    rate = report.events / report.seconds if report.seconds else 0.0
    return [f"{report.events:,} events in {report.seconds:.1f} s ({rate:,.0f}/s) to {report.output}"]


def _warnings(report: Report) -> list[str]:
    lines = [f"rejected line: {line}" for line in report.first_bad_lines[:_SHOWN_BAD]]
    if report.bad_lines:
        lines.append(f"{report.bad_lines:,} lines belong to no market and were left out")
    for _, each in sorted(report.markets.items()):
        lines += _of_market(each)
    return lines


def _of_market(each: MarketReport) -> list[str]:
    lines, reached, name = [], each.checkpoint, each.market.name
    if reached is not None:
        lines += [f"{name}: quarantined: {bad.reason}" for bad in reached.bad_segments[:_SHOWN_BAD]]
        if reached.bad_count > _SHOWN_BAD:
            lines.append(f"{name}: {reached.bad_count:,} segments are quarantined; --json names them")
        if each.changed:
            some = ", ".join(each.changed[:_SHOWN_BAD])
            lines.append(
                f"{name}: {len(each.changed):,} quarantined segments have changed since: {some}; to compute with them "
                "give --restart --replace"
            )
        if reached.missing:
            lines.append(f"{name}: {reached.missing:,} events are missing in the input; each hole counts as a gap")
        if reached.refused_rows:
            lines.append(f"{name}: {reached.refused_rows:,} rows had values that their columns cannot hold")
    if each.invalid:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(each.invalid.items()))
        lines.append(f"{name}: {sum(each.invalid.values()):,} invalid events are in no feature: {reasons}")
    if each.doubled:
        lines.append(f"{name}: {each.doubled:,} rows were in more than one segment and count once")
    if each.replaced:
        lines.append(f"{name}: {each.replaced:,} parts of others were replaced")
    if each.deleted:
        lines.append(f"{name}: {each.deleted:,} segments of Bronze were deleted")
    if each.held_back:
        text = "segments are so young that others of before may still come; run again later"
        lines.append(f"{name}: {each.held_back:,} {text}")
    if each.before_genesis:
        lines.append(f"{name}: {each.before_genesis:,} events lie before the first genesis and give no rows")
    return lines
