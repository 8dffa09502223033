"""What the writer tells Prometheus."""

from daedalus_common.markets import Market
from daedalus_common.telemetry.metrics import counter, gauge, histogram

_TABLE = ("exchange", "symbol", "layer", "table")
_STREAM = ("exchange", "symbol", "stream")

ROWS = counter("daedalus_writer_rows_total", "Rows whose object is durable and whose cursor has moved.", _TABLE)
OBJECTS = counter("daedalus_writer_objects_total", "Objects made durable.", _TABLE)
OBJECT_BYTES = counter("daedalus_writer_object_bytes_total", "Bytes of the objects made durable.", _TABLE)
FLUSHES = counter("daedalus_writer_flushes_total", "Runs written, by what made them due.", (*_STREAM, "reason"))
PLANS_RESUMED = counter(
    "daedalus_writer_plans_resumed_total", "Plans found committed but unfinished, and carried out.", _STREAM
)
DEAD_LETTERS = counter(
    "daedalus_writer_dead_letters_total", "Entries that are not ours, kept as dead letters.", (*_STREAM, "reason")
)
DEAD_LETTERS_DROPPED = counter(
    "daedalus_writer_dead_letters_dropped_total",
    "Oldest dead letters removed, as the market had writer.max_dead_letters.",
    ("exchange", "symbol"),
)
ANOMALIES = counter(
    "daedalus_writer_anomalies_total",
    "Things that only interference from outside explains: object_differs (a planned name was taken by an object with "
    "other rows), run_changed (the entries of a plan are no longer those that were planned).",
    (*_STREAM, "kind"),
)
CONFLICTS = counter(
    "daedalus_writer_conflicts_total", "Commits refused because the cursor had moved; it is read again.", _STREAM
)
FLUSH_SECONDS = histogram("daedalus_writer_flush_seconds", "Time from a run being due to its cursor having moved.")
GATHER_SECONDS = histogram("daedalus_writer_gather_seconds", "Time to decode a run into columns.")
ENCODE_SECONDS = histogram("daedalus_writer_encode_seconds", "Time to make the Parquet bytes of an object.")
UPLOAD_SECONDS = histogram("daedalus_writer_upload_seconds", "Time to make an object durable.", ("layer",))
ERRORS = counter("daedalus_writer_errors_total", "Failed calls, each tried again, by what was called.", ("backend",))
HELD_BYTES = gauge(
    "daedalus_writer_held_bytes", "Memory of entries that are read and not yet durable; bounded by writer.memory_mb."
)
MARKETS = gauge("daedalus_writer_markets", "Markets this replica owns.")
LAG_ENTRIES = gauge("daedalus_writer_lag_entries", "Entries of the stream that are not durable yet.", _STREAM)
LAG_SECONDS = gauge("daedalus_writer_lag_seconds", "Age of the oldest entry that is read and not durable yet.", _STREAM)


def market_labels(market: Market) -> dict[str, str]:
    """Labels of the metrics that are kept per market."""
    return {"exchange": market.exchange, "symbol": market.symbol}


def stream_labels(market: Market, stream: str) -> dict[str, str]:
    """Labels of the metrics that are kept per stream."""
    return {**market_labels(market), "stream": stream}


_REASONS = (
    ("is missing", "missing_field"),
    ("unknown kind", "unknown_kind"),
    ("unknown version", "unknown_version"),
    ("unknown schema", "unknown_schema"),
    ("whole number", "not_a_number"),
    ("out of range", "out_of_range"),
    ("not of this table", "wrong_table"),
    ("does not fit", "wrong_value"),
    ("bytes", "wrong_length"),
)


def reason_label(reason: str) -> str:
    """One of a closed set, for a dead letter's reason in words."""
    return next((label for part, label in _REASONS if part in reason), "undecodable")


def tell_lag(market: Market, stream: str, entries: int | None, age_seconds: float) -> None:
    """`entries` is None where the server cannot tell."""
    labels = stream_labels(market, stream)
    LAG_SECONDS.labels(**labels).set(age_seconds)
    if entries is not None:
        LAG_ENTRIES.labels(**labels).set(entries)


def forget_lag(market: Market, stream: str) -> None:
    """Another replica tells it from now on."""
    for metric in (LAG_SECONDS, LAG_ENTRIES):
        metric.remove(*stream_labels(market, stream).values())
