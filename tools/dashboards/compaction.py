"""How many small files are made, which is what there is to merge."""

from tools.dashboards.boards import Board
from tools.dashboards.panels import Limits, Panel, Query
from tools.dashboards.promql import MARKET, growth, mean, rate

_SAYS = """\
**No compactor runs in this version: nothing merges small files yet, and nothing here is measured by one.**
The panels show what the writers make, which is what there will be to merge. Until then a longer
`ingestion.flush_interval_seconds` makes fewer and larger files: events wait safely in Redis meanwhile.
A reader opens every file of what it asks for: many small ones cost it more time than their rows.
"""

COMPACTION = Board(
    title="Compaction",
    answers="How many files the writers make, and how small they are. No compactor runs in this version.",
    since="now-24h",
    refresh="1m",
    panels=(
        Panel("text", "What this shows", _SAYS, width=24, height=4),
        Panel(
            "graph", "Objects made", stacked=True, width=12,
            says="Objects in each interval, by layer and table.",
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
            "graph", "Size of an object", unit="bytes", width=12,
            says="Mean size of the objects made, by layer and table.",
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
            says="Mean rows of the objects made, by layer and table.",
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
            "stat", "Objects in the time shown",
            says="All objects made.",
            bad="tens of thousands within what one query reads.",
            runbook="Runbook",
            queries=(Query(growth("daedalus_writer_objects_total", MARKET, over="$__range")),),
            limits=Limits(10_000, 100_000),
        ),
    ),
)  # fmt: skip
