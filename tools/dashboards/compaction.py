"""How many small files are made, whether they are merged, and how soon."""

from tools.dashboards.boards import Board
from tools.dashboards.panels import Limits, Panel, Query
from tools.dashboards.promql import INSTANCE, MARKET, growth, mean, or_zero, quantile, rate

_OF_COMPACTOR = f'job="compactor", {INSTANCE}'

COMPACTION = Board(
    title="Compaction",
    answers="Are small files merged into large ones, and how many small files are made?",
    since="now-24h",
    refresh="1m",
    panels=(
        Panel(
            "stat", "Longest wait", unit="s", width=4, height=4,
            says="How long the longest-waiting closed partition could have been merged already; 0: none waits.",
            bad="hours: the compactor is away, slow, or fails at this partition.",
            runbook="CompactorBehind",
            queries=(Query(f"max(daedalus_compactor_backlog_oldest_seconds{{{INSTANCE}}})"),),
            limits=Limits(3600, 21600),
        ),
        Panel(
            "stat", "Objects that wait", width=4, height=4,
            says="Objects of closed partitions that will be merged.",
            bad="growing from day to day.",
            runbook="CompactorBehind",
            queries=(Query(f"sum(daedalus_compactor_backlog_objects{{{INSTANCE}}})"),),
            limits=Limits(10_000, 100_000),
        ),
        Panel(
            "stat", "Covered, not deleted yet", width=4, height=4,
            says="Objects that a merged one stands for; they are deleted when compactor.grace_seconds are over.",
            bad="growing from day to day: they cannot be deleted.",
            runbook="CompactorFails",
            queries=(Query(f"sum(daedalus_compactor_covered_objects{{{INSTANCE}}})"),),
            limits=Limits(10_000, 100_000),
        ),
        Panel(
            "stat", "Since the last pass", unit="s", width=4, height=4,
            says="Time since a pass over the store ended.",
            bad="hours, while nothing is merged: it hangs, or its store is away.",
            runbook="CompactorStalled",
            queries=(Query(f"time() - max(daedalus_compactor_last_pass_timestamp_seconds{{{INSTANCE}}})"),),
            limits=Limits(3600, 7200),
        ),
        Panel(
            "stat", "Passes, in the time shown", width=4, height=4,
            says="Passes that ended.",
            bad="none: it does not run, or its first pass still goes on.",
            runbook="CompactorStalled",
            queries=(Query(growth("daedalus_compactor_passes_total", INSTANCE, over="$__range")),),
            limits=Limits(1, 0, falling=True),
        ),
        Panel(
            "stat", "Failures, in the time shown", width=4, height=4,
            says="What went wrong in listing, reading, merging, verifying, creating and deleting.",
            bad="more than a few: the store refuses, or a partition cannot be merged. Nothing is lost by it.",
            runbook="CompactorFails",
            queries=(Query(or_zero(growth("daedalus_compactor_failures_total", INSTANCE, over="$__range"))),),
            limits=Limits(4, 100),
        ),
        Panel(
            "graph", "Backlog", stacked=True,
            says="Objects of closed partitions that wait to be merged, by layer.",
            bad="growing from day to day: more small files are made than are merged.",
            runbook="CompactorBehind",
            queries=(
                Query(f"sum by (layer) (daedalus_compactor_backlog_objects{{{INSTANCE}}})", "{{layer}}"),
            ),
        ),
        Panel(
            "graph", "Covered objects", stacked=True,
            says="Objects that a merged one stands for and that are not deleted yet, by layer.",
            bad="not falling after compactor.grace_seconds: they cannot be deleted.",
            runbook="CompactorFails",
            queries=(
                Query(f"sum by (layer) (daedalus_compactor_covered_objects{{{INSTANCE}}})", "{{layer}}"),
            ),
        ),
        Panel(
            "graph", "Failures",
            says="Failures in each interval, by stage.",
            bad="again and again: see the stage. Verify: a merged object is not what it should be; it is not used.",
            runbook="CompactorFails",
            queries=(Query(growth("daedalus_compactor_failures_total", INSTANCE, "stage"), "{{stage}}"),),
        ),
        Panel(
            "graph", "Merged, made, deleted", width=12,
            says="In each interval: small objects that were merged, large ones made of them, covered ones deleted.",
            bad="merged, and an hour later nothing deleted; or as many made as merged.",
            runbook="CompactorFails",
            queries=tuple(
                Query(growth(f"daedalus_compactor_{what}_objects_total", INSTANCE, "layer"), f"{what} {{{{layer}}}}")
                for what in ("merged", "made", "deleted")
            ),
        ),
        Panel(
            "graph", "Size of a merged object", unit="bytes", width=12,
            says="Mean size of the objects made since the compactor started, by layer.",
            bad="some kilobytes in Bronze: its partitions hold little; nothing is wrong, but nothing is won.",
            runbook="CompactorBehind",
            queries=(
                Query(
                    f"sum by (layer) (daedalus_compactor_made_bytes_total{{{INSTANCE}}}) / "
                    f"(sum by (layer) (daedalus_compactor_made_objects_total{{{INSTANCE}}}) > 0)",
                    "{{layer}}",
                ),
            ),
        ),
        Panel(
            "graph", "Time of a pass", unit="s",
            says="How long a pass over the store takes: the middle one, and one of ten.",
            bad="above compactor.every_seconds: it never rests. The first pass over old data may take hours.",
            runbook="CompactorStalled",
            queries=tuple(
                Query(quantile(share, "daedalus_compactor_pass_seconds", INSTANCE), f"{share:.0%}")
                for share in (0.5, 0.9)
            ),
        ),
        Panel(
            "graph", "Written by the compactor", unit="Bps", stacked=True,
            says="Bytes of merged objects a second, by layer.",
            bad="as much as the writers write, all day: partitions are merged again and again.",
            runbook="CompactorBehind",
            queries=(Query(rate("daedalus_compactor_made_bytes_total", INSTANCE, "layer"), "{{layer}}"),),
        ),
        Panel(
            "graph", "Memory of the compactor", unit="bytes",
            says="Resident memory of each compactor.",
            bad="near the container's mem_limit: lower compactor.target_size_mb.",
            runbook="CompactorDown",
            queries=(Query(f"process_resident_memory_bytes{{{_OF_COMPACTOR}}}", "{{instance}}"),),
        ),
        Panel(
            "graph", "Objects made by the writers", stacked=True, width=12,
            says="Objects of the writers in each interval, by layer and table.",
            bad="many an hour for each market: flushes come too often.",
            runbook="Runbook",
            queries=(
                Query(
                    growth("daedalus_writer_objects_total", MARKET, "layer, table"),
                    "{{layer}} {{table}}",
                ),
            ),
        ),
        Panel(
            "graph", "Size of an object of the writers", unit="bytes", width=12,
            says="Mean size of the objects that the writers made, by layer and table.",
            bad="some kilobytes: a reader spends its time on opening files.",
            runbook="Runbook",
            queries=(
                Query(
                    mean("daedalus_writer_object_bytes_total", "daedalus_writer_objects_total", MARKET, "layer, table"),
                    "{{layer}} {{table}}",
                ),
            ),
        ),
        Panel(
            "graph", "Objects a flush",
            says="Objects for each run written: a run is split by channel and partition.",
            bad="far above the number of channels: times jump between hours, or late events come in.",
            runbook="Runbook",
            queries=(
                Query(
                    f"{rate('daedalus_writer_objects_total', MARKET)} / "
                    f"({rate('daedalus_writer_flushes_total', MARKET)} > 0)",
                    "objects",
                ),
            ),
        ),
        Panel(
            "graph", "Rows of an object",
            says="Mean rows of the objects that the writers made, by layer and table.",
            bad="a handful: flushes come too often for such a quiet market.",
            runbook="Runbook",
            queries=(
                Query(
                    mean("daedalus_writer_rows_total", "daedalus_writer_objects_total", MARKET, "layer, table"),
                    "{{layer}} {{table}}",
                ),
            ),
        ),
        Panel(
            "stat", "Objects made, in the time shown",
            says="All objects that the writers made.",
            bad="far more than the compactor merges in the same time.",
            runbook="Runbook",
            queries=(Query(growth("daedalus_writer_objects_total", MARKET, over="$__range")),),
            limits=Limits(10_000, 100_000),
        ),
    ),
)  # fmt: skip
