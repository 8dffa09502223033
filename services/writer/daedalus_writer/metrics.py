"""What the writer tells Prometheus."""

import re
from collections.abc import Sequence

from daedalus_common.events import CONTROL, Channel
from daedalus_common.gap_tracking import GapRow
from daedalus_common.markets import Market
from daedalus_common.plans import is_late
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
LOST_TAILS = counter(
    "daedalus_writer_lost_tails_total",
    "The server had lost entries that are durable: the market went on behind them in a new generation.",
    ("exchange", "symbol"),
)
KNOWN_ROWS = counter(
    "daedalus_writer_known_rows_total",
    "Rows not written after the server lost the end of its streams: durable already, or computed without that end.",
    _TABLE,
)
CONFLICTS = counter(
    "daedalus_writer_conflicts_total", "Commits refused because the cursor had moved; it is read again.", _STREAM
)
_GAP = ("exchange", "symbol", "channel", "reason")
GAPS = counter("daedalus_writer_gaps_total", "Gap events made durable.", _GAP)
GAP_LOST_EVENTS = counter(
    "daedalus_writer_gap_lost_events_total", "Events that gap events made durable say to be lost.", _GAP
)
GAP_SECONDS = counter(
    "daedalus_writer_gap_seconds_total",
    "Time inside gaps that have ended; what several gaps of a channel share counts once, for the first of them.",
    _GAP,
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

STREAM_LENGTH = gauge("daedalus_stream_length_entries", "Entries of a stream; its market's owner tells.", _STREAM)
STREAM_BYTES = gauge("daedalus_stream_memory_bytes", "What a stream takes of the server's memory, estimated.", _STREAM)
GROUP_LAG = gauge(
    "daedalus_stream_group_lag_entries",
    "Entries of a stream that a consumer group has not read, estimated where the server cannot tell. Nothing is "
    "trimmed before every group has read it, strangers' groups included.",
    (*_STREAM, "group"),
)
GROUP_AGE = gauge(
    "daedalus_stream_group_oldest_unread_seconds",
    "Age of the oldest entry that a consumer group has not read; 0: it has read all.",
    (*_STREAM, "group"),
)


def market_labels(market: Market) -> dict[str, str]:
    """Labels of the metrics that are kept per market."""
    return {"exchange": market.exchange, "symbol": market.symbol}


def stream_labels(market: Market, stream: str) -> dict[str, str]:
    """Labels of the metrics that are kept per stream."""
    return {**market_labels(market), "stream": stream}


def table_labels(table: str) -> dict[str, str]:
    """Labels of `bronze/ccxt/trades`, `bronze/ccxt/late/trades` (table late_trades), `silver/ticker`."""
    layer, *names = table.split("/")
    return {"layer": layer, "table": f"late_{names[-1]}" if is_late(table) else names[-1]}


_CHANNELS = frozenset({CONTROL, *Channel})
_GAP_REASON = re.compile(r"[a-z_]{1,32}")
_MOST_GAP_REASONS = 64
_gap_reasons: set[str] = set()


def gap_labels(market: Market, channel: str, reason: str) -> dict[str, str]:
    """Labels of a gap. Its words come from the stream, so what is no channel, or one reason too many, is `other`."""
    if reason not in _gap_reasons and len(_gap_reasons) < _MOST_GAP_REASONS and _GAP_REASON.fullmatch(reason):
        _gap_reasons.add(reason)
    return {
        **market_labels(market),
        "channel": channel if channel in _CHANNELS else "other",
        "reason": reason if reason in _gap_reasons else "other",
    }


def count_gaps(market: Market, rows: Sequence[GapRow]) -> None:
    """Counts rows of quality/gaps that are durable."""
    counted: set[tuple[str, int | None, int | None]] = set()
    for row in rows:
        event, span = row.gap.event, (row.gap.event.channel, row.gap.begin_ts, row.end_ts)
        labels = gap_labels(market, event.channel, event.reason)
        if row.phase == "open":
            GAPS.labels(**labels).inc()
            GAP_LOST_EVENTS.labels(**labels).inc(max(0, event.lost or 0))
        elif span not in counted:
            counted.add(span)
            GAP_SECONDS.labels(**labels).inc((row.duration_ns or 0) / 1e9)


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


def count_known_rows(market: Market, table: str, rows: int) -> None:
    KNOWN_ROWS.labels(**market_labels(market), **table_labels(table)).inc(rows)


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
