"""What the ingestor tells Prometheus. The hot path counts in plain integers; `Feed.report` carries them over."""

from daedalus_common.telemetry.metrics import counter, gauge, histogram

_CHANNEL = ("exchange", "symbol", "channel")

EVENTS = counter("daedalus_ingestor_events_total", "Updates captured and put into the queue.", _CHANNEL)
DROPPED = counter(
    "daedalus_ingestor_dropped_events_total",
    "Updates dropped as the queue was full; a gap declares them.",
    _CHANNEL,
)
REJECTED = counter(
    "daedalus_ingestor_rejected_events_total",
    "Updates that are no book, trade or ticker of numbers; a gap declares them.",
    _CHANNEL,
)
REPEATED = counter(
    "daedalus_ingestor_repeated_trades_total",
    "Trades that came again, recorded once.",
    ("exchange", "symbol"),
)
GAPS = counter("daedalus_ingestor_gaps_total", "Gap events declared.", (*_CHANNEL, "reason"))
LAST_EVENT = gauge(
    "daedalus_ingestor_last_event_timestamp_seconds", "When the channel's newest update was captured.", _CHANNEL
)
BAD_FRAMES = counter(
    "daedalus_ingestor_bad_frames_total",
    "Frames that ended in an error: unreadable, handler (ccxt failed on it), checksum, refused (by the exchange).",
    ("exchange", "reason"),
)
SUBSCRIPTIONS = gauge(
    "daedalus_ingestor_subscriptions",
    "Subscriptions: starting (nothing came yet), live, waiting (lost, to be tried again), given_up.",
    ("exchange", "state"),
)
UNKNOWN_SYMBOLS = gauge(
    "daedalus_ingestor_unknown_symbols", "Configured symbols that the exchange does not list.", ("exchange",)
)
REACHED = gauge(
    "daedalus_ingestor_exchange_reached",
    "1: this replica takes its share of the exchange's markets; 0: its markets are not loaded yet, or nothing came.",
    ("exchange",),
)
FAILURES = counter(
    "daedalus_ingestor_failures_total",
    "Attempts that failed: open (markets not loaded), subscribe, connection.",
    ("exchange", "stage"),
)
REBUILDS = counter(
    "daedalus_ingestor_rebuilds_total",
    "Times a client that stood still was built anew.",
    ("exchange",),
)
MARKETS = gauge("daedalus_ingestor_markets", "Markets whose lease this replica holds.")
QUEUED = gauge("daedalus_ingestor_queued_events", "Events that wait to be published.")
PUBLISHED = counter("daedalus_ingestor_published_events_total", "Events now in their stream.", ("exchange", "symbol"))
REPUBLISHED = counter(
    "daedalus_ingestor_republished_events_total", "Events sent again after a lost reply; the server skipped them."
)
CLAMPED = counter(
    "daedalus_ingestor_clamped_timestamps_total",
    "Capture times over 5 s ahead of the server's clock, replaced.",
)
SERVER_LOST = counter(
    "daedalus_ingestor_server_lost_events_total", "Events that the server had confirmed and no longer has."
)
ABANDONED = counter(
    "daedalus_ingestor_abandoned_events_total",
    "Captured events that were never published: fenced (another replica owns the market), stop (Redis was away), "
    "disk (the spool's did not take them).",
    ("reason",),
)
PUBLISH_FAILURES = counter("daedalus_ingestor_publish_failures_total", "Batches that Redis did not confirm.")
PUBLISH_SECONDS = histogram("daedalus_ingestor_publish_seconds", "Time for Redis to take one batch.")
DELAY_SECONDS = histogram(
    "daedalus_ingestor_delay_seconds", "From capture to stream, of the oldest event of each batch."
)
SPOOLED = counter("daedalus_ingestor_spooled_events_total", "Events that did not fit the queue and went to the disk.")
SPOOL_EVENTS = gauge("daedalus_ingestor_spool_events", "Events on disk that are not known to be in their stream.")
SPOOL_BYTES = gauge("daedalus_ingestor_spool_bytes", "Size of the spool, with what is about to be written to it.")
SPOOL_LIMIT = gauge("daedalus_ingestor_spool_limit_bytes", "What the spool may take, ingestion.spool_max_mb.")
SPOOL_AGE_SECONDS = gauge(
    "daedalus_ingestor_spool_age_seconds", "Age of the oldest event in the spool; 0: it is empty."
)
SPOOL_TORN = counter("daedalus_ingestor_spool_torn_total", "Torn tails cut off after a crash.")
SPOOL_DAMAGED = counter("daedalus_ingestor_spool_damaged_total", "Times that damaged records were set aside.")
SPOOL_LOST = counter(
    "daedalus_ingestor_spool_lost_events_total", "Events lost to damage or a crash; a gap declares them."
)
LATE_KEPT = counter(
    "daedalus_ingestor_late_kept_events_total",
    "Events of a lost or stopped market that were in memory, kept on disk to be recorded as late.",
)
LATE_EVENTS = counter(
    "daedalus_ingestor_late_events_total",
    "Events sent to the stream `late`: too late for their market's sequence, where a gap covers them.",
    ("exchange", "symbol"),
)
LATE_FOLDERS = gauge(
    "daedalus_ingestor_late_folders",
    "Folders of the spool with events that are not for a sequence: waiting (to be sent), other_redis (of a Redis that "
    "is not this one), not_configured (their market is not), damaged (all is sent but what could not be read).",
    ("state",),
)
SPOOL_FAILURES = counter("daedalus_ingestor_spool_failures_total", "Times that the spool's disk refused its work.")
