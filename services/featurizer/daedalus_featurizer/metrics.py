"""What the featurizer tells Prometheus."""

from daedalus_common.telemetry.metrics import counter, gauge, histogram

EVENTS = counter(
    "daedalus_featurizer_events_total", "Events that went through a committed step.", ("exchange", "symbol")
)
ROWS = counter(
    "daedalus_featurizer_rows_total", "Rows added to the silver and gold streams.", ("exchange", "symbol", "layer")
)
INVALID = counter(
    "daedalus_featurizer_invalid_events_total",
    "Books and trades that features ignore, by reason; Bronze keeps them.",
    ("exchange", "symbol", "reason"),
)
FOREIGN = counter(
    "daedalus_featurizer_foreign_entries_total",
    "Stream entries that are no event of ours; the writer keeps them as dead letters.",
    ("exchange", "symbol"),
)
BEFORE_GENESIS = counter(
    "daedalus_featurizer_events_before_genesis_total",
    "Events older than the market's first genesis: they have no features.",
    ("exchange", "symbol"),
)
GENESES = counter(
    "daedalus_featurizer_geneses_total", "Genesis events written: features start anew.", ("exchange", "symbol")
)
STEP_SECONDS = histogram("daedalus_featurizer_step_seconds", "Time to compute one step, without its commit.")
COMMIT_SECONDS = histogram("daedalus_featurizer_commit_seconds", "Time for Redis to apply one step.")
CONFLICTS = counter(
    "daedalus_featurizer_conflicts_total", "Steps refused because the cursor had moved; the state is read again."
)
MARKETS = gauge("daedalus_featurizer_markets", "Markets this replica owns.")
LAG_SECONDS = gauge(
    "daedalus_featurizer_lag_seconds",
    "Age of the newest event that went through a committed step.",
    ("exchange", "symbol"),
)
