"""What a run did, as values: counted while it goes on, shown by the command line."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from daedalus.etl.checkpoint import Checkpoint
from daedalus.etl.task import Task, TaskDone
from daedalus_common.markets import Market


@dataclass(slots=True)
class Amounts:
    """Sums over tasks."""

    tasks: int = 0
    events: int = 0
    rows: int = 0
    parts: int = 0
    part_bytes: int = 0
    input_bytes: int = 0
    missing: int = 0
    rejected: int = 0
    """Damaged segments and refused rows."""


@dataclass(slots=True)
class TableAmounts:
    """What went into one table."""

    rows: int = 0
    parts: int = 0
    part_bytes: int = 0


@dataclass(slots=True)
class MarketReport:
    """One market: what this run did, by table and by day, and what the job has met so far."""

    market: Market
    amounts: Amounts = field(default_factory=Amounts)
    tables: dict[str, TableAmounts] = field(default_factory=lambda: defaultdict(TableAmounts))
    days: dict[str, Amounts] = field(default_factory=lambda: defaultdict(Amounts))
    invalid: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    before_genesis: int = 0
    doubled: int = 0
    replaced: int = 0
    deleted: int = 0
    held_back: int = 0
    changed: tuple[str, ...] = ()
    """Segments that an earlier run has put aside as damaged, and that are others now."""
    checkpoint: Checkpoint | None = None
    """At the end of the run."""

    def add(self, task: Task, done: TaskDone, day: str) -> None:
        rejected = len(done.bad_segments) + done.refused_rows
        for amounts in (self.amounts, self.days[day]):
            amounts.tasks += 1
            amounts.events += done.events
            amounts.rows += sum(done.rows.values())
            amounts.parts += len(done.parts)
            amounts.part_bytes += sum(part.size_bytes for part in done.parts)
            amounts.input_bytes += task.size_bytes
            amounts.missing += done.missing
            amounts.rejected += rejected
        for part in done.parts:
            table = self.tables[part.table]
            table.rows += part.rows
            table.parts += 1
            table.part_bytes += part.size_bytes
        for reason, count in done.invalid.items():
            self.invalid[reason] += count
        self.before_genesis += done.before_genesis
        self.doubled += done.doubled
        self.replaced += len(done.replaced)


@dataclass(slots=True)
class Report:
    """A run."""

    job: str
    input: str
    output: str
    state: str
    """Where the checkpoints are."""
    targets: tuple[str, ...]
    markets: dict[Market, MarketReport] = field(default_factory=dict)
    bad_lines: int = 0
    """Of NDJSON, that belong to no market."""
    first_bad_lines: tuple[str, ...] = ()
    seconds: float = 0.0
    interrupted: int | None = None
    """The signal that ended the run early."""

    def of(self, market: Market) -> MarketReport:
        """The market's part of it."""
        return self.markets.setdefault(market, MarketReport(market))

    @property
    def rejected(self) -> int:
        """How much of its input the job could not use, in all its runs: an output that lacks rows stays one."""
        found = (market.checkpoint for market in self.markets.values())
        return self.bad_lines + sum(checkpoint.rejected for checkpoint in found if checkpoint is not None)

    @property
    def events(self) -> int:
        return sum(market.amounts.events for market in self.markets.values())

    @property
    def held_back(self) -> int:
        return sum(market.held_back for market in self.markets.values())


def to_json(report: Report) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "job": report.job,
        "input": report.input,
        "output": report.output,
        "state": report.state,
        "targets": list(report.targets),
        "seconds": round(report.seconds, 3),
        "interrupted": report.interrupted,
        "events": report.events,
        "rejected": report.rejected,
        "bad_lines": report.bad_lines,
        "first_bad_lines": list(report.first_bad_lines),
        "markets": [_market(each) for _, each in sorted(report.markets.items())],
    }


def _market(report: MarketReport) -> dict[str, Any]:
    reached = report.checkpoint
    return {
        "exchange": report.market.exchange,
        "symbol": report.market.symbol,
        **_amounts(report.amounts),
        "tables": {name: _table(table) for name, table in sorted(report.tables.items())},
        "days": {day: _amounts(amounts) for day, amounts in sorted(report.days.items())},
        "invalid": dict(sorted(report.invalid.items())),
        "before_genesis": report.before_genesis,
        "doubled": report.doubled,
        "replaced": report.replaced,
        "deleted": report.deleted,
        "held_back": report.held_back,
        "changed": list(report.changed),
        "so_far": None if reached is None else _so_far(reached),
    }


def _so_far(reached: Checkpoint) -> dict[str, Any]:
    return {
        "events": reached.events,
        "rows": reached.rows,
        "missing": reached.missing,
        "refused_rows": reached.refused_rows,
        "bad_segments": [{"key": each.key, "reason": each.reason} for each in reached.bad_segments],
        "bad_segment_count": reached.bad_count,
    }


def _amounts(amounts: Amounts) -> dict[str, int]:
    return {name: getattr(amounts, name) for name in Amounts.__dataclass_fields__}


def _table(amounts: TableAmounts) -> dict[str, int]:
    return {name: getattr(amounts, name) for name in TableAmounts.__dataclass_fields__}
