"""From the streams into Parquet: how fast, how late, and what the store refuses."""

from tools.dashboards.boards import Board
from tools.dashboards.panels import Limits, Panel, Query
from tools.dashboards.promql import INSTANCE, MARKET, growth, quantile, rate

STORE = Board(
    title="Writer and store",
    answers="How soon events are durable, how fast the store takes them, and what could not be written.",
    panels=(
        Panel(
            "graph", "Rows made durable", unit="cps", stacked=True,
            says="Rows a second whose object is in the store and whose cursor has moved.",
            bad="zero for longer than a flush interval while events are captured.",
            runbook="WriterBehind",
            queries=(Query(rate("daedalus_writer_rows_total", MARKET, "layer, table"), "{{layer}} {{table}}"),),
        ),
        Panel(
            "graph", "Bytes made durable", unit="Bps", stacked=True,
            says="Bytes of Parquet a second, by layer and table.",
            bad="far above what docs/sizing.md gives for these markets.",
            runbook="DiskFilling",
            queries=(Query(rate("daedalus_writer_object_bytes_total", MARKET, "layer, table"), "{{layer}} {{table}}"),),
        ),
        Panel(
            "graph", "Not durable yet", unit="s",
            says="Age of the oldest entry that is read and not durable, by stream.",
            bad="well above ingestion.flush_interval_seconds: the store is slow or refuses.",
            runbook="WriterBehind",
            queries=(Query(f"max by (stream) (daedalus_writer_lag_seconds{{{MARKET}}})", "{{stream}}"),),
            limits=Limits(300, 900),
        ),
        Panel(
            "graph", "Flushes",
            says="Runs written in each interval, by what made them due.",
            bad="memory: writer.memory_mb is too small for these markets, files become many and small.",
            runbook="WriterBehind",
            queries=(
                Query(growth("daedalus_writer_flushes_total", MARKET, "reason"), "{{reason}}"),
            ),
        ),
        Panel(
            "graph", "Time of a flush", unit="s",
            says="From a run being due to its cursor having moved, and the parts of it.",
            bad="above the flush interval: runs queue up.",
            runbook="StoreErrors",
            queries=(
                Query(quantile(0.99, "daedalus_writer_flush_seconds", INSTANCE), "whole, 99 %"),
                Query(quantile(0.5, "daedalus_writer_flush_seconds", INSTANCE), "whole, half"),
                Query(quantile(0.99, "daedalus_writer_gather_seconds", INSTANCE), "decoding, 99 %"),
                Query(quantile(0.99, "daedalus_writer_encode_seconds", INSTANCE), "Parquet, 99 %"),
            ),
            limits=Limits(10, 60),
        ),
        Panel(
            "graph", "Time of an upload", unit="s",
            says="Time to make one object durable, 99 % of them, by layer.",
            bad="above seconds: the store or the way to it is slow.",
            runbook="StoreErrors",
            queries=(
                Query(quantile(0.99, "daedalus_writer_upload_seconds", INSTANCE, "layer"), "{{layer}}"),
            ),
            limits=Limits(5, 30),
        ),
        Panel(
            "graph", "Failed calls",
            says="In each interval: calls that failed and are tried again, by what was called (s3, local, redis).",
            bad="a steady rate. The log names the error: wrong keys or a full disk do not heal by themselves.",
            runbook="StoreErrors",
            queries=(Query(growth("daedalus_writer_errors_total", INSTANCE, "backend"), "{{backend}}"),),
            limits=Limits(1, 10),
        ),
        Panel(
            "graph", "Memory held", unit="bytes",
            says="Memory of entries that are read and not yet durable, by replica; bounded by writer.memory_mb.",
            bad="at the bound: reading stops until the store has taken something.",
            runbook="WriterBehind",
            queries=(Query(f"daedalus_writer_held_bytes{{{INSTANCE}}}", "{{instance}}"),),
        ),
        Panel(
            "graph", "Dead letters",
            says="In each interval: entries that are not ours, kept aside; the oldest, dropped for lack of room.",
            bad="anything: a stranger writes into our streams, or versions do not fit. `daedalus dlq list` shows them.",
            runbook="DeadLetters",
            queries=(
                Query(growth("daedalus_writer_dead_letters_total", MARKET, "stream, reason"), "{{stream}} {{reason}}"),
                Query(growth("daedalus_writer_dead_letters_dropped_total", MARKET), "dropped"),
            ),
            limits=Limits(1, 100),
        ),
        Panel(
            "graph", "Recovery",
            says="In each interval: plans of a crashed writer carried out, commits refused because another had moved "
            "the cursor, tails that the server had lost, rows that were durable already.",
            bad="lost tails: Redis came back without its newest entries; a gap declares them.",
            runbook="RedisLostEntries",
            queries=(
                Query(growth("daedalus_writer_plans_resumed_total", MARKET), "plans resumed"),
                Query(growth("daedalus_writer_conflicts_total", MARKET), "conflicts"),
                Query(growth("daedalus_writer_lost_tails_total", MARKET), "lost tails"),
                Query(growth("daedalus_writer_known_rows_total", MARKET), "rows known"),
            ),
        ),
        Panel(
            "graph", "Anomalies",
            says="In each interval: planned names taken by other objects, runs whose entries have changed.",
            bad="anything: somebody else writes into the store or the streams.",
            runbook="StoreAnomalies",
            queries=(Query(growth("daedalus_writer_anomalies_total", MARKET, "kind"), "{{kind}}"),),
            limits=Limits(1, 10),
        ),
        Panel(
            "graph", "Gaps made durable",
            says="In each interval, by reason: seconds inside gaps that ended, gaps, events that they say to be lost.",
            bad="more than connections explain. `daedalus gaps` lists them.",
            runbook="BlindTime",
            queries=(
                Query(growth("daedalus_writer_gap_seconds_total", MARKET, "reason"), "{{reason}}, seconds"),
                Query(growth("daedalus_writer_gaps_total", MARKET, "reason"), "{{reason}}, gaps"),
                Query(growth("daedalus_writer_gap_lost_events_total", MARKET, "reason"), "{{reason}}, events lost"),
            ),
        ),
        Panel(
            "graph", "Free disk of local stores", unit="percentunit", largest=1,
            says="Free share of the disks that hold the spool and stores in local directories. "
            "A bucket has none: its server knows.",
            bad="below 15 %.",
            runbook="DiskFilling",
            queries=(Query("min by (role) (job_role:daedalus_disk_free:ratio)", "{{role}}"),),
            limits=Limits(0.15, 0.05, falling=True),
        ),
        Panel(
            "graph", "Markets by writer", stacked=True,
            says="Markets each writer owns.",
            bad="none: nothing is written.",
            runbook="MarketsWithoutOwner",
            queries=(Query(f"daedalus_writer_markets{{{INSTANCE}}}", "{{instance}}"),),
        ),
        Panel(
            "graph", "Entries not durable", stacked=True,
            says="Entries of the streams that are not durable yet.",
            bad="growing without end.",
            runbook="WriterBehind",
            queries=(Query(f"sum by (stream) (daedalus_writer_lag_entries{{{MARKET}}})", "{{stream}}"),),
        ),
    ),
)  # fmt: skip
