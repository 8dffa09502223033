"""One screen: is everything recorded now?"""

from tools.dashboards.boards import Board
from tools.dashboards.panels import Limits, Panel, Query
from tools.dashboards.promql import EXCHANGE, INSTANCE, MARKET, OURS, SYMBOL, growth, or_zero, rate

_OLDEST = f'max(daedalus_stream_group_oldest_unread_seconds{{{MARKET}, group="%s"}})'
_SILENCE = f"market_channel:daedalus_ingestor_silence_seconds:min{{{EXCHANGE}, {SYMBOL}}}"

OVERVIEW = Board(
    title="Overview",
    answers="Is everything recorded now? All of the first two lines green: yes.",
    panels=(
        Panel(
            "stat", "Markets without an ingestor", width=4, height=4,
            says="Configured markets whose ingestor lease nobody holds.",
            bad="above 0 for longer than a lease's expiry: nobody watches these markets; the time is a gap.",
            runbook="MarketsWithoutOwner",
            queries=(Query('role:daedalus_lease_unowned_markets:max{role="ingestor"}'),),
            limits=Limits(1, 2),
        ),
        Panel(
            "stat", "Subscriptions not live", width=4, height=4,
            says="Subscriptions that are starting, waiting or given up.",
            bad="above 0 for minutes: a channel is not received. Starting: it never was; waiting: it was lost.",
            runbook="MarketNeverStarted",
            queries=(Query(f'sum(daedalus_ingestor_subscriptions{{{EXCHANGE}, {INSTANCE}, state!="live"}})'),),
            limits=Limits(1, 5),
        ),
        Panel(
            "stat", "Longest silence", width=4, height=4, unit="s",
            says="Seconds since the last update of the quietest channel of any market.",
            bad="a market that trades goes quiet for minutes: its connection hangs, or the exchange stands still. "
            "Rarely traded markets are quiet in health; look at the table for which it is.",
            runbook="MarketStale",
            queries=(Query(f"max({_SILENCE})"),),
            limits=Limits(60, 300),
        ),
        Panel(
            "stat", "Oldest event not stored", width=4, height=4, unit="s",
            says="Age of the oldest entry of any stream that the writer has not made durable.",
            bad="more than a few flush intervals: the writer is slow, away, or its store refuses.",
            runbook="WriterBehind",
            queries=(Query(_OLDEST % "writer"),),
            limits=Limits(300, 900),
        ),
        Panel(
            "stat", "Oldest event without features", width=4, height=4, unit="s",
            says="Age of the oldest raw entry that the featurizer has not gone through.",
            bad="more than a minute: rows come late; nothing is lost while Redis has memory.",
            runbook="FeaturizerBehind",
            queries=(Query(_OLDEST % "featurizer"),),
            limits=Limits(30, 60),
        ),
        Panel(
            "stat", "Replicas that do not answer", width=4, height=4,
            says="Processes of our services that Prometheus could not scrape.",
            bad="above 0: a process is down, hangs, or its host is gone. Docker starts it again.",
            runbook="ReplicaDown",
            queries=(Query(f"sum(1 - up{{{OURS}, {INSTANCE}}})"),),
            limits=Limits(1, 1.5),
        ),
        Panel(
            "stat", "Events lost, in the time shown", width=4, height=4,
            says="Events that gaps made durable declare lost, where their number is known.",
            bad="above 0: these are missing in Bronze, and the tables under quality/ say so.",
            runbook="GapRate",
            queries=(Query(or_zero(growth("daedalus_writer_gap_lost_events_total", MARKET, over="$__range"))),),
            limits=Limits(1, 100),
        ),
        Panel(
            "stat", "Events dropped, in the time shown", width=4, height=4,
            says="Updates dropped because queue and spool were full, and captured events that were never published.",
            bad="above 0: Redis was away or slow for longer than the spool holds out.",
            runbook="EventsDropped",
            queries=(
                Query(or_zero(growth("daedalus_ingestor_dropped_events_total", MARKET, over="$__range")), "dropped"),
                Query(
                    or_zero(growth("daedalus_ingestor_abandoned_events_total", INSTANCE, over="$__range")),
                    "abandoned",
                ),
            ),
            limits=Limits(1, 100),
        ),
        Panel(
            "stat", "Events in the spool", width=4, height=4,
            says="Events on the ingestors' disks that are not known to be in their stream.",
            bad="above 0 for minutes: Redis is away, slow or full. They are sent as soon as it takes them.",
            runbook="SpoolInUse",
            queries=(Query(f"sum(daedalus_ingestor_spool_events{{{INSTANCE}}})"),),
            limits=Limits(1, 100_000),
        ),
        Panel(
            "stat", "Memory of Redis", width=4, height=4, unit="percentunit",
            says="Used memory of the fullest node, as a share of its maxmemory; none where it has no maxmemory.",
            bad="from 75 %: at 100 % Redis refuses new events and the spool fills.",
            runbook="RedisMemoryHigh",
            queries=(Query("max(node:daedalus_redis_memory_used:ratio)"),),
            limits=Limits(0.75, 0.9),
        ),
        Panel(
            "stat", "Free disk", width=4, height=4, unit="percentunit",
            says="Free share of the fullest disk that holds the spool or a local store.",
            bad="below 15 %: soon nothing can be spooled or stored.",
            runbook="DiskFilling",
            queries=(Query("min(job_role:daedalus_disk_free:ratio)"),),
            limits=Limits(0.15, 0.05, falling=True),
        ),
        Panel(
            "stat", "Alerts that fire", width=4, height=4,
            says="Alerts of deploy/prometheus/rules that fire now; the table below names them.",
            bad="above 0: follow the runbook's section of that alert.",
            runbook="Runbook",
            queries=(Query(or_zero('count(ALERTS{alertstate="firing"})')),),
            limits=Limits(1, 3),
        ),
        Panel(
            "graph", "Events captured", width=8, height=7, unit="cps", stacked=True,
            says="Updates a second, by channel.",
            bad="a step down, or zero, while the exchange is open.",
            runbook="MarketStale",
            queries=(Query(rate("daedalus_ingestor_events_total", MARKET, "channel"), "{{channel}}"),),
        ),
        Panel(
            "graph", "Rows made durable", width=8, height=7, unit="cps", stacked=True,
            says="Rows a second whose object is in the store, by layer.",
            bad="zero for longer than a flush interval while events are captured.",
            runbook="WriterBehind",
            queries=(Query(rate("daedalus_writer_rows_total", MARKET, "layer"), "{{layer}}"),),
        ),
        Panel(
            "graph", "Oldest unread entry", width=8, height=7, unit="s",
            says="Age of the oldest entry that each consumer group has not read.",
            bad="a line that climbs with the clock: this group stands still. A stranger's group counts too: "
            "nothing is trimmed before it has read.",
            runbook="WriterBehind",
            queries=(
                Query(f"max by (group) (daedalus_stream_group_oldest_unread_seconds{{{MARKET}}})", "{{group}}"),
            ),
        ),
        Panel(
            "table", "Markets", width=16, height=8,
            says="Each market: updates a second, seconds since its last update, age of its oldest entry not stored.",
            bad="a market without updates, or with a silence that its neighbours do not have.",
            runbook="MarketStale",
            queries=(
                Query(rate("daedalus_ingestor_events_total", MARKET, "exchange, symbol")),
                Query(f"min by (exchange, symbol) ({_SILENCE})"),
                Query(
                    "max by (exchange, symbol) "
                    f'(daedalus_stream_group_oldest_unread_seconds{{{MARKET}, group="writer"}})'
                ),
            ),
            columns=("updates", "silence", "not stored"),
            units=(
                ("updates", "cps", None),
                ("silence", "s", Limits(60, 300)),
                ("not stored", "s", Limits(300, 900)),
            ),
        ),
        Panel(
            "table", "Alerts that fire", width=8, height=8,
            says="Name, severity and subject of every alert that fires. Empty is good.",
            bad="any line.",
            runbook="Runbook",
            queries=(Query('ALERTS{alertstate="firing"}'),),
        ),
    ),
)  # fmt: skip
