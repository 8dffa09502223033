"""What the compactor measures."""

from daedalus_common.telemetry.metrics import counter, gauge, histogram

LAYERS = ("bronze", "silver", "gold", "quality")
STAGES = ("list", "read", "merge", "verify", "create", "delete")
_PASS_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)

BACKLOG_OBJECTS = gauge(
    "daedalus_compactor_backlog_objects", "Objects of closed partitions that wait to be merged", ("layer",)
)
BACKLOG_OLDEST_SECONDS = gauge(
    "daedalus_compactor_backlog_oldest_seconds",
    "How long the closed partition that waits longest has been due; 0 where none waits",
)
COVERED_OBJECTS = gauge(
    "daedalus_compactor_covered_objects",
    "Objects that a merged one stands for and that are not deleted yet",
    ("layer",),
)
MERGED_OBJECTS = counter("daedalus_compactor_merged_objects_total", "Objects that were merged into another", ("layer",))
MADE_OBJECTS = counter("daedalus_compactor_made_objects_total", "Merged objects made and verified", ("layer",))
DELETED_OBJECTS = counter("daedalus_compactor_deleted_objects_total", "Covered objects deleted", ("layer",))
MADE_BYTES = counter("daedalus_compactor_made_bytes_total", "Bytes of the merged objects made", ("layer",))
FAILURES = counter(
    "daedalus_compactor_failures_total",
    "What went wrong: a store that did not answer, a damaged object (once each), a merged object that is not whole",
    ("stage",),
)
PASSES = counter("daedalus_compactor_passes_total", "Passes over the stores, with or without failures")
LAST_PASS = gauge(
    "daedalus_compactor_last_pass_timestamp_seconds", "When the last pass ended, in seconds since the epoch"
)
PASS_SECONDS = histogram("daedalus_compactor_pass_seconds", "How long a pass took", buckets=_PASS_BUCKETS)

for _layer in LAYERS:
    BACKLOG_OBJECTS.labels(layer=_layer)
    COVERED_OBJECTS.labels(layer=_layer)
    for _counter in (MERGED_OBJECTS, MADE_OBJECTS, DELETED_OBJECTS, MADE_BYTES):
        _counter.labels(layer=_layer)
for _stage in STAGES:
    FAILURES.labels(stage=_stage)
