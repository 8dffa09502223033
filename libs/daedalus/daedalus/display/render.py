"""A snapshot as text: tables for a terminal, one line for a log. Pure."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daedalus.display.snapshot import MarketView, Snapshot
from daedalus.duration import format_duration
from daedalus.supervisor.supervisor import ChildStatus, State

UNKNOWN = "–"
_MIB = 1024 * 1024
_STATE_STYLES = {
    State.RUNNING: "green",
    State.WAITING: "yellow",
    State.STOPPING: "yellow",
    State.STOPPED: "dim",
    State.FAILED: "bold red",
    State.NEW: "dim",
}


def render(snapshot: Snapshot) -> RenderableType:
    """The whole screen."""
    parts: list[RenderableType] = [_header(snapshot)]
    if snapshot.progress is not None:
        # A bar alone ends without a line break.
        parts.append(Padding(ProgressBar(total=1.0, completed=snapshot.progress, width=60), (0, 0, 1, 0)))
    parts += [_markets(snapshot.markets), Text(), _services(snapshot.services)]
    if snapshot.problem is not None:
        parts.append(Text(snapshot.problem, style="yellow"))
    parts += [Text(f"{notice.service} {notice.text}", style="yellow") for notice in snapshot.notices]
    return Group(*parts)


def plain_line(snapshot: Snapshot) -> str:
    """`12s of 60s, recording: 4,211 events (83.1/s), lag writer 12 featurizer 0; all 5 services run`"""
    rates = [view.events_per_second for view in snapshot.markets if view.events_per_second is not None]
    events = sum(view.sample.seq for view in snapshot.markets)
    rate = f" ({sum(rates):,.1f}/s)" if rates else ""
    lags = (
        f"lag writer {_total([view.sample.writer_lag for view in snapshot.markets])}"
        f" featurizer {_total([view.sample.featurizer_lag for view in snapshot.markets])}"
    )
    line = f"{_time(snapshot)}, {snapshot.phase}: {events:,} events{rate}, {lags}; {_health(snapshot.services)}"
    return line if snapshot.problem is None else f"{line}; {snapshot.problem}"


def _time(snapshot: Snapshot) -> str:
    elapsed = format_duration(snapshot.elapsed)
    return elapsed if snapshot.duration is None else f"{elapsed} of {format_duration(snapshot.duration)}"


def _header(snapshot: Snapshot) -> Text:
    return Text.assemble(
        ("daedalus up", "bold"),
        f"  {_time(snapshot)}  ",
        (snapshot.phase, "bold green" if snapshot.phase == "recording" else "bold yellow"),
        (f"\nredis {snapshot.redis}   data {snapshot.data_dir}", "dim"),
    )


def _markets(views: Sequence[MarketView]) -> Table:
    table = _table("market", "events", "events/s", "writer lag", "featurizer lag", "mid", "spread")
    for view in views:
        sample = view.sample
        table.add_row(
            str(sample.market.name),
            f"{sample.seq:,}",
            UNKNOWN if view.events_per_second is None else f"{view.events_per_second:,.1f}",
            _count(sample.writer_lag),
            _count(sample.featurizer_lag),
            _price(sample.mid),
            _price(sample.spread),
        )
    return table


def _services(services: Sequence[ChildStatus]) -> Table:
    table = _table("service", "state", "pid", "uptime", "restarts", "CPU", "RSS")
    for status in services:
        table.add_row(
            status.name,
            Text(status.state.value, style=_STATE_STYLES[status.state]),
            UNKNOWN if status.pid is None else str(status.pid),
            UNKNOWN if status.uptime is None else format_duration(status.uptime),
            str(status.restarts),
            UNKNOWN if status.usage is None else f"{status.usage.cpu_percent:.0f} %",
            UNKNOWN if status.usage is None else f"{status.usage.rss_bytes / _MIB:.0f} MiB",
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    return table


def _health(services: Sequence[ChildStatus]) -> str:
    off = [status for status in services if status.state is not State.RUNNING]
    if not off:
        return f"all {len(services)} services run"
    return ", ".join(f"{status.name} {status.state.value}" for status in off)


def _total(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known):,}" if known else UNKNOWN


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _price(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.10g}"
