"""The summary at the end of a run: one frozen value, as a table for people and as JSON for programs.

Keys of the JSON (`daedalus up --json`; also `run/summary.json` in the data directory):

    result        "reconciled", "not reconciled" (demo only) or "recorded" (nobody knows what an exchange sent)
    reconciled    true, false, or null without --demo
    problems      what is wrong, one sentence each; empty when reconciled
    started       when, ISO 8601 in UTC;  seconds: how long it recorded
    mode          "demo" or "live";  data_dir: where everything lies
    feeds         per market and channel: exchange, symbol, channel, sent, recorded, declared (lost and said so), and
                  the counts missing, double, never_sent, disordered, each with its first ids in ..._ids
    sequences     per market: exchange, symbol, first and last number of its sequence in this run, missing (numbers in
                  no row of Bronze), double, lost (confirmed by the server and then lost, as a gap declares)
    totals        sent, recorded, declared over all feeds (demo only, else null); rows, files, bytes over all tables
    tables        per table, such as "silver/orderbook": rows, files, bytes written during this run
    not_counted   stores whose objects are not counted here (S3), by configuration key
    gaps          count, lost (events known to be dropped), by_reason {reason: count}
    drops         events the ingestor had to drop (its queue was full);  bad_frames: frames it could not read
    dead_letters  entries in our streams that were not ours
    restarts      {service: times it was started again}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daedalus.duration import format_duration
from daedalus.summary.ledger import Balance, Ledger, Sequence

SHOWN_IDS = 20
"""Ids of each kind and feed in the JSON; the counts are of all."""

_SHOWN_IN_SENTENCE = 5


@dataclass(frozen=True, slots=True)
class TableCount:
    """What this run wrote to one table."""

    rows: int = 0
    files: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class GapCount:
    """The gap events of this run."""

    by_reason: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0

    @property
    def count(self) -> int:
        return sum(self.by_reason.values())


@dataclass(frozen=True, slots=True)
class Summary:
    """A run. `ledger` is None without --demo, or where the simulator's ledger was lost (then `problems` says so)."""

    demo: bool
    started: datetime
    recorded_for: timedelta
    data_dir: str
    ledger: Ledger | None
    tables: Mapping[str, TableCount]
    gaps: GapCount
    drops: int
    bad_frames: int
    dead_letters: int
    restarts: Mapping[str, int]
    not_counted: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Beyond those of the ledger: a service that failed, a stream that was not drained."""

    @property
    def reconciled(self) -> bool | None:
        """None where there is nothing to reconcile with."""
        if not self.demo:
            return None
        return self.ledger is not None and self.ledger.reconciled and not self.problems

    @property
    def result(self) -> str:
        return {None: "recorded", True: "reconciled", False: "not reconciled"}[self.reconciled]

    @property
    def all_problems(self) -> tuple[str, ...]:
        balances = () if self.ledger is None else self.ledger.balances
        sequences = () if self.ledger is None else self.ledger.sequences
        return (
            *self.problems,
            *(text for balance in balances for text in _sentences(balance)),
            *(_sentence(sequence) for sequence in sequences if not sequence.whole),
        )


def to_json(summary: Summary) -> dict[str, Any]:
    """The summary as plain values; the keys are those of the module's text."""
    balances = () if summary.ledger is None else summary.ledger.balances
    tables = summary.tables.values()
    known = summary.ledger is not None
    return {
        "result": summary.result,
        "reconciled": summary.reconciled,
        "problems": list(summary.all_problems),
        "started": summary.started.astimezone(UTC).isoformat(timespec="milliseconds"),
        "seconds": round(summary.recorded_for.total_seconds(), 3),
        "mode": "demo" if summary.demo else "live",
        "data_dir": summary.data_dir,
        "feeds": [_feed_json(balance) for balance in balances],
        "sequences": [_sequence_json(sequence) for sequence in (summary.ledger.sequences if summary.ledger else ())],
        "totals": {
            "sent": sum(b.sent for b in balances) if known else None,
            "recorded": sum(b.recorded for b in balances) if known else None,
            "declared": sum(b.declared for b in balances) if known else None,
            "rows": sum(table.rows for table in tables),
            "files": sum(table.files for table in tables),
            "bytes": sum(table.size_bytes for table in tables),
        },
        "tables": {
            name: {"rows": table.rows, "files": table.files, "bytes": table.size_bytes}
            for name, table in sorted(summary.tables.items())
        },
        "not_counted": list(summary.not_counted),
        "gaps": {
            "count": summary.gaps.count,
            "lost": summary.gaps.lost,
            "by_reason": dict(sorted(summary.gaps.by_reason.items())),
        },
        "drops": summary.drops,
        "bad_frames": summary.bad_frames,
        "dead_letters": summary.dead_letters,
        "restarts": dict(sorted(summary.restarts.items())),
    }


def render_summary(summary: Summary) -> RenderableType:
    """The summary for a terminal."""
    parts: list[RenderableType] = [Text()]
    if summary.ledger is not None:
        parts += [_feeds(summary.ledger), Text()]
    parts += [_tables(summary), Text(), _facts(summary)]
    parts += [Text(f"- {problem}", style="red") for problem in summary.all_problems]
    style = {None: "bold", True: "bold green", False: "bold red"}[summary.reconciled]
    verdict = {None: summary.result, True: "reconciled: yes", False: "reconciled: no"}[summary.reconciled]
    parts.append(Text(verdict, style=style))
    return Group(*parts)


def _sentences(balance: Balance) -> list[str]:
    said = []
    if balance.sent and not balance.recorded:
        said.append(f"{balance.feed}: {balance.sent} sent, none recorded")
    for ids, what in (
        (balance.missing, "sent, not recorded and in no declared gap"),
        (balance.double, "recorded twice"),
        (balance.never_sent, "recorded, though nobody sent them"),
        (balance.disordered, "recorded out of order"),
    ):
        if ids:
            shown = ", ".join(ids[:_SHOWN_IN_SENTENCE]) + (", …" if len(ids) > _SHOWN_IN_SENTENCE else "")
            said.append(f"{balance.feed}: {len(ids)} {what}: {shown}")
    return said


def _sentence(sequence: Sequence) -> str:
    said = []
    if sequence.missing > sequence.lost:
        holes = ", ".join(f"{first}-{last}" for first, last in sequence.holes[:_SHOWN_IN_SENTENCE])
        said.append(f"{sequence.missing} numbers of its sequence are in no row of Bronze ({holes})")
    if sequence.double:
        said.append(f"{len(sequence.double)} numbers are in more than one row")
    return f"{sequence.market.name}: {' and '.join(said)}"


def _sequence_json(sequence: Sequence) -> dict[str, Any]:
    return {
        "exchange": sequence.market.exchange,
        "symbol": sequence.market.symbol,
        "first": sequence.first,
        "last": sequence.last,
        "missing": sequence.missing,
        "double": len(sequence.double),
        "lost": sequence.lost,
    }


def _feed_json(balance: Balance) -> dict[str, Any]:
    values: dict[str, Any] = {
        "exchange": balance.feed.market.exchange,
        "symbol": balance.feed.market.symbol,
        "channel": balance.feed.channel.value,
        "sent": balance.sent,
        "recorded": balance.recorded,
        "declared": balance.declared,
    }
    for name in ("missing", "double", "never_sent", "disordered"):
        ids: tuple[str, ...] = getattr(balance, name)
        values[name] = len(ids)
        values[f"{name}_ids"] = list(ids[:SHOWN_IDS])
    return values


def _feeds(ledger: Ledger) -> Table:
    table = _table("market and channel", "sent", "stored", "in gaps", "missing", "double", "unsent", "order")
    for balance in ledger.balances:
        counts = (
            *(balance.sent, balance.recorded, balance.declared),
            *map(len, (balance.missing, balance.double, balance.never_sent, balance.disordered)),
        )
        table.add_row(
            str(balance.feed), *(f"{count:,}" for count in counts), style=None if balance.reconciled else "red"
        )
    return table


def _tables(summary: Summary) -> Table:
    table = _table("table", "rows", "files", "bytes")
    for name, count in sorted(summary.tables.items()):
        table.add_row(name, f"{count.rows:,}", f"{count.files:,}", f"{count.size_bytes:,}")
    return table


def _facts(summary: Summary) -> Text:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.gaps.by_reason.items()))
    restarts = ", ".join(f"{name} {count}" for name, count in sorted(summary.restarts.items()))
    lines = [
        f"recorded for {format_duration(summary.recorded_for)} into {summary.data_dir}",
        f"gaps {summary.gaps.count}" + (f" ({reasons})" if reasons else ""),
        f"drops {summary.drops}, bad frames {summary.bad_frames}, dead letters {summary.dead_letters}",
        f"restarts {sum(summary.restarts.values())}" + (f" ({restarts})" if restarts else ""),
    ]
    lines += [f"not counted here: the objects of {key}, which lie in S3" for key in summary.not_counted]
    return Text("\n".join(lines))


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
