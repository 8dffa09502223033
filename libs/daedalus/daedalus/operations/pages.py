"""What an operator asked for, as tables for a terminal. Text of strangers is shown without control characters."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daedalus.operations.dead_letters import Count, Outcome
from daedalus.operations.leases import LeaseView
from daedalus.operations.streams import GroupView, Moved, StreamView
from daedalus_common.broker.dead_letters import StoredLetter

_DAY_SECONDS = 86400
_MISSING = "-"
_UNKNOWN = "?"
_FREE = "free"
_MOVED_STYLES = {Moved.BY_OWNER: "", Moved.BY_NOBODY: "bold red", Moved.BY_STRANGER: "bold yellow"}


def leases_page(views: Sequence[LeaseView]) -> RenderableType:
    """A line a market and role."""
    page = _table("market", "role", "owner", "epoch", "since", "held for", "left", "load (events/s)", "lag (entries)")
    for view in views:
        owner = Text(_FREE, "bold yellow") if view.owner is None else Text(printable(view.owner))
        since = _MISSING if view.since_ms is None else _moment(view.since_ms)
        page.add_row(
            view.market, view.role, owner, str(view.epoch), since, duration(view.held_seconds),
            duration(view.left_seconds), _MISSING if view.load is None else f"{view.load:,.1f}", _behind(view),
        )  # fmt: skip
    return page


def streams_page(views: Sequence[StreamView]) -> RenderableType:
    """A line a stream and consumer group."""
    page = _table(
        "market", "stream", "length", "first entry", "age", "last entry", "age", "group", "moved by", "lag",
        "oldest unread",
    )  # fmt: skip
    for view in views:
        head = (
            view.market, view.stream, f"{view.length:,}", view.first_id or _MISSING, duration(view.first_age_seconds),
            view.last_id or _MISSING, duration(view.last_age_seconds),
        )  # fmt: skip
        for group in view.groups:
            page.add_row(*head, *_group_cells(group))
            head = (view.market, view.stream, *("",) * 5)
        if not view.groups:
            page.add_row(*head, "none")
    return page


def _group_cells(group: GroupView) -> tuple[Text, ...]:
    style = _MOVED_STYLES[group.moved]
    mover = {
        Moved.BY_OWNER: group.owner or "",
        Moved.BY_NOBODY: "NOBODY: no live lease",
        Moved.BY_STRANGER: "NOBODY OF OURS",
    }[group.moved]
    texts = (group.name, mover, _count(group.lag), duration(group.oldest_unread_age_seconds))
    return tuple(Text(printable(text), style) for text in texts)


def letters_page(counts: Sequence[Count], newest: Sequence[tuple[str, StoredLetter]]) -> RenderableType:
    """How many of each reason, then the newest (market, letter)."""
    if not counts:
        return Text("no dead letters")
    summary = _table("market", "stream", "letters", "reason")
    for count in counts:
        summary.add_row(count.market, printable(count.stream), f"{count.letters:,}", Text(printable(count.reason)))
    page = _table("market", "id", "stream", "entry id", "bytes", "reason")
    for market, letter in newest:
        size = sum(map(len, letter.fields.values()))
        texts = (market, letter.id, letter.stream, letter.entry_id, f"{size:,}", letter.reason)
        page.add_row(*(Text(printable(text)) for text in texts))
    return Group(summary, Text(), page) if newest else summary


def letter_page(market: str, letter: StoredLetter, size_bytes: int) -> RenderableType:
    """One dead letter; of each value at most `size_bytes`."""
    page = _table("name", "value", show_header=False)
    for name, text in {
        "market": market,
        "id": letter.id,
        "stream": letter.stream,
        "entry id": letter.entry_id,
        "reason": letter.reason,
    }.items():
        page.add_row(Text(name, "dim"), Text(printable(text)))
    fields = _table("field", "bytes", "value")
    for each in fields_json(letter, size_bytes):
        shown = str(each["text"]) if "text" in each else f"hex {each['hex']}"
        fields.add_row(
            Text(printable(str(each["name"]))), f"{each['size_bytes']:,}", Text(shown + ("…" if each["cut"] else ""))
        )
    return Group(page, Text(), fields)


def outcomes_page(outcomes: Sequence[Outcome]) -> RenderableType:
    """A line a retried letter."""
    page = _table("market", "id", "result", "new entry, or why not")
    for each in outcomes:
        page.add_row(each.market, each.id, each.result, Text(printable(each.text)))
    return page


def letter_json(market: str, letter: StoredLetter, size_bytes: int) -> dict[str, object]:
    """One dead letter; `text` or `hex` hold at most `size_bytes` of each value, `cut` tells whether that is less."""
    return {
        "market": market,
        "id": letter.id,
        "stream": letter.stream,
        "entry_id": letter.entry_id,
        "reason": letter.reason,
        "fields": fields_json(letter, size_bytes),
    }


def fields_json(letter: StoredLetter, size_bytes: int) -> list[dict[str, object]]:
    return [
        {"name": name.decode(errors="backslashreplace"), "size_bytes": len(value), **shown(value, size_bytes)}
        for name, value in letter.fields.items()
    ]


def shown(value: bytes, size_bytes: int) -> Mapping[str, object]:
    """The beginning of a value as `text` where all of that is printable, else as `hex`; `cut` where there is more."""
    begin = value[:size_bytes]
    cut = len(begin) < len(value)
    # A cut may go through a character of up to 4 bytes.
    for shorter in range(4 if cut else 1):
        try:
            text = begin[: len(begin) - shorter].decode()
        except UnicodeDecodeError:
            continue
        if text.isprintable():
            return {"text": text, "cut": cut}
    return {"hex": begin.hex(), "cut": cut}


def printable(text: str) -> str:
    """Without what could move the cursor or change colours of a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def duration(seconds: float | None) -> str:
    """`0.4s`, `59s`, `3m20s`, `5h01m`, `12d03h`"""
    if seconds is None:
        return _MISSING
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < _DAY_SECONDS:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // _DAY_SECONDS}d{whole % _DAY_SECONDS // 3600:02}h"


def _behind(view: LeaseView) -> str:
    age = view.newest_age_seconds
    return _lags(view.lag) if age is None else f"newest event {duration(age)} ago"


def _lags(lag: Mapping[str, int | None]) -> str:
    if len(lag) == 1:
        return _count(*lag.values())
    return ", ".join(f"{stream} {_count(count)}" for stream, count in lag.items()) or _MISSING


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _table(*columns: str, show_header: bool = True) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0), show_header=show_header)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
