"""From the exchanges into the streams: what is captured, what fails, what waits and what is lost."""

from tools.dashboards.boards import Board
from tools.dashboards.panels import Limits, Panel, Query
from tools.dashboards.promql import EXCHANGE, INSTANCE, MARKET, OF_EXCHANGE, SYMBOL, growth, quantile, rate

INGEST = Board(
    title="Ingest",
    answers="What comes from each exchange, what goes wrong on the way into Redis, and what is lost.",
    panels=(
        Panel(
            "graph", "Events captured", unit="cps", stacked=True,
            says="Updates a second, by market and channel.",
            bad="a channel that stops while its neighbours go on.",
            runbook="MarketStale",
            queries=(
                Query(
                    rate("daedalus_ingestor_events_total", MARKET, "exchange, symbol, channel"),
                    "{{exchange}} {{symbol}} {{channel}}",
                ),
            ),
        ),
        Panel(
            "graph", "Silence", unit="s",
            says="Seconds since the last update of each channel.",
            bad="a line that climbs with the clock, for a channel that is not quiet by nature.",
            runbook="MarketStale",
            queries=(
                Query(
                    f"market_channel:daedalus_ingestor_silence_seconds:min{{{EXCHANGE}, {SYMBOL}}}",
                    "{{exchange}} {{symbol}} {{channel}}",
                ),
            ),
            limits=Limits(60, 300),
        ),
        Panel(
            "graph", "Markets",
            says="Markets whose lease an ingestor holds, and those of them that it has subscribed.",
            bad="fewer subscribed than held for minutes: the exchange does not answer, or does not list a symbol.",
            runbook="MarketsNotFed",
            queries=(
                Query(f'sum(daedalus_lease_held_markets{{{INSTANCE}, role="ingestor"}})', "held"),
                Query(f"sum(daedalus_ingestor_markets{{{INSTANCE}}})", "subscribed"),
            ),
        ),
        Panel(
            "graph", "Subscriptions", stacked=True,
            says="Subscriptions by state.",
            bad="anything but live for minutes, or an exchange that no replica reaches; given up needs a person.",
            runbook="SubscriptionsGivenUp",
            queries=(
                Query(
                    f"sum by (exchange, state) (daedalus_ingestor_subscriptions{{{OF_EXCHANGE}}})",
                    "{{exchange}} {{state}}",
                ),
                Query(
                    f"max by (exchange) (daedalus_ingestor_unknown_symbols{{{OF_EXCHANGE}}})",
                    "{{exchange}} unknown symbols",
                ),
                Query(
                    f"sum by (exchange) (daedalus_ingestor_exchange_reached{{{OF_EXCHANGE}}})",
                    "{{exchange}} reached by so many replicas",
                ),
            ),
        ),
        Panel(
            "graph", "Gaps declared",
            says="Gap events in each interval, by reason. Every subscription and take-over begins with one.",
            bad="a steady rate: connections come and go. Each is a time that nobody watched.",
            runbook="GapRate",
            queries=(
                Query(growth("daedalus_ingestor_gaps_total", MARKET, "reason"), "{{reason}}"),
            ),
        ),
        Panel(
            "graph", "Events that were not recorded",
            says="In each interval: dropped (queue and spool full), abandoned (captured and never published), "
            "rejected (not numbers), lost by the spool or by the server.",
            bad="anything: these events are in no table, a gap says so.",
            runbook="EventsDropped",
            queries=(
                Query(growth("daedalus_ingestor_dropped_events_total", MARKET, "channel"), "dropped {{channel}}"),
                Query(growth("daedalus_ingestor_abandoned_events_total", INSTANCE, "reason"), "abandoned {{reason}}"),
                Query(growth("daedalus_ingestor_rejected_events_total", MARKET, "channel"), "rejected {{channel}}"),
                Query(growth("daedalus_ingestor_spool_lost_events_total", INSTANCE), "lost by the spool"),
                Query(growth("daedalus_ingestor_server_lost_events_total", INSTANCE), "lost by the server"),
            ),
            limits=Limits(1, 100),
        ),
        Panel(
            "graph", "Trouble with exchanges",
            says="In each interval: frames that ended in an error, attempts to open or subscribe that failed, "
            "clients built anew.",
            bad="a steady rate. Refused: too many requests, or a ban. Checksum: the book was wrong and is loaded anew.",
            runbook="GapRate",
            queries=(
                Query(
                    growth("daedalus_ingestor_bad_frames_total", OF_EXCHANGE, "exchange, reason"),
                    "{{exchange}} frame: {{reason}}",
                ),
                Query(
                    growth("daedalus_ingestor_failures_total", OF_EXCHANGE, "exchange, stage"),
                    "{{exchange}} failed: {{stage}}",
                ),
                Query(growth("daedalus_ingestor_rebuilds_total", OF_EXCHANGE, "exchange"), "{{exchange}} built anew"),
            ),
            limits=Limits(3, 30),
        ),
        Panel(
            "graph", "From capture to stream", unit="s",
            says="Age of the oldest event of each batch when Redis has confirmed it.",
            bad="above a second: Redis is slow or away, or this machine is short of processor time.",
            runbook="SpoolInUse",
            queries=(
                Query(quantile(0.5, "daedalus_ingestor_delay_seconds", INSTANCE), "half of the batches"),
                Query(quantile(0.99, "daedalus_ingestor_delay_seconds", INSTANCE), "99 %"),
                Query(quantile(0.99, "daedalus_ingestor_publish_seconds", INSTANCE), "99 % of Redis' answers"),
            ),
            limits=Limits(1, 5),
        ),
        Panel(
            "graph", "Published", unit="cps",
            says="Events now in their streams; again: sent twice after a lost reply, and skipped by the server; "
            "to the disk: did not fit the queue; refused: batches that Redis did not confirm.",
            bad="refused above 0: Redis is away, full, or belongs to somebody else.",
            runbook="SpoolInUse",
            queries=(
                Query(rate("daedalus_ingestor_published_events_total", MARKET), "published"),
                Query(rate("daedalus_ingestor_republished_events_total", INSTANCE), "again"),
                Query(rate("daedalus_ingestor_spooled_events_total", INSTANCE), "to the disk"),
                Query(rate("daedalus_ingestor_publish_failures_total", INSTANCE), "refused batches"),
            ),
        ),
        Panel(
            "graph", "Waiting to be published",
            says="Events in the queue (memory) and in the spool (disk), by replica.",
            bad="a queue at ingestion.queue_maxsize, or a spool that does not shrink.",
            runbook="SpoolInUse",
            queries=(
                Query(f"daedalus_ingestor_queued_events{{{INSTANCE}}}", "{{instance}} queue"),
                Query(f"daedalus_ingestor_spool_events{{{INSTANCE}}}", "{{instance}} spool"),
            ),
        ),
        Panel(
            "graph", "Spool against its bound", unit="percentunit", largest=1,
            says="Size of the spool as a share of what it may take.",
            bad="at 100 % the newest events are dropped.",
            runbook="SpoolFilling",
            queries=(
                Query(
                    f"daedalus_ingestor_spool_bytes{{{INSTANCE}}} / daedalus_ingestor_spool_limit_bytes{{{INSTANCE}}}",
                    "{{instance}}",
                ),
            ),
            limits=Limits(0.5, 0.8),
        ),
        Panel(
            "graph", "Age of the spool", unit="s",
            says="Age of the oldest event in the spool; 0: it is empty.",
            bad="climbing: nothing is taken from it. A disk that refuses shows as a failure.",
            runbook="SpoolInUse",
            queries=(
                Query(f"daedalus_ingestor_spool_age_seconds{{{INSTANCE}}}", "{{instance}}"),
            ),
            limits=Limits(60, 600),
        ),
        Panel(
            "graph", "Trouble with the spool",
            says="In each interval, by replica: refusals of its disk, damaged records, tails that a crash tore.",
            bad="refusals: the disk is full or broken. Damage and torn tails without a crash of the machine.",
            runbook="SpoolDiskFails",
            queries=(
                Query(growth("daedalus_ingestor_spool_failures_total", INSTANCE, "instance"), "{{instance}} refusals"),
                Query(growth("daedalus_ingestor_spool_damaged_total", INSTANCE, "instance"), "{{instance}} damaged"),
                Query(growth("daedalus_ingestor_spool_torn_total", INSTANCE, "instance"), "{{instance}} torn tails"),
            ),
            limits=Limits(1, 10),
        ),
        Panel(
            "graph", "Late, repeated and corrected",
            says="In each interval: events recorded as late, outside their sequence; trades that came again; "
            "capture times that were ahead of the server's clock.",
            bad="corrected times: this machine's clock is wrong. Folders that stay: the ingestor's log names them.",
            runbook="LateFoldersStay",
            queries=(
                Query(growth("daedalus_ingestor_late_events_total", MARKET), "late"),
                Query(growth("daedalus_ingestor_late_kept_events_total", INSTANCE), "kept to be late"),
                Query(growth("daedalus_ingestor_repeated_trades_total", MARKET), "repeated trades"),
                Query(growth("daedalus_ingestor_clamped_timestamps_total", INSTANCE), "corrected times"),
                Query(f"sum by (state) (daedalus_ingestor_late_folders{{{INSTANCE}}})", "folders: {{state}}"),
            ),
        ),
    ),
)  # fmt: skip
