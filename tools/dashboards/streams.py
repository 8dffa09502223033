"""What lies in Redis, who has read it, and who owns which market."""

from tools.dashboards.boards import Board
from tools.dashboards.panels import Limits, Panel, Query
from tools.dashboards.promql import INSTANCE, MARKET, growth

STREAMS = Board(
    title="Streams and leases",
    answers="How full Redis is, how far each consumer group is behind, and which replica owns the markets.",
    panels=(
        Panel(
            "graph", "Oldest unread entry", unit="s",
            says="Age of the oldest entry that a consumer group has not read, by stream and group.",
            bad="a line that climbs with the clock: this group stands still, and Redis fills. "
            "`daedalus streams remove-group` removes one that nobody needs.",
            runbook="WriterBehind",
            queries=(
                Query(
                    f"max by (stream, group) (daedalus_stream_group_oldest_unread_seconds{{{MARKET}}})",
                    "{{stream}} {{group}}",
                ),
            ),
            limits=Limits(300, 900),
        ),
        Panel(
            "graph", "Unread entries",
            says="Entries that a consumer group has not read, by stream and group.",
            bad="growing without end.",
            runbook="WriterBehind",
            queries=(
                Query(
                    f"sum by (stream, group) (daedalus_stream_group_lag_entries{{{MARKET}}})", "{{stream}} {{group}}"
                ),
            ),
        ),
        Panel(
            "graph", "Length of the streams", stacked=True,
            says="Entries in Redis, by stream. Silver and Gold are kept for 10 minutes for live readers.",
            bad="raw growing: one of its groups does not move.",
            runbook="RedisMemoryHigh",
            queries=(Query(f"sum by (stream) (daedalus_stream_length_entries{{{MARKET}}})", "{{stream}}"),),
        ),
        Panel(
            "graph", "Memory of the streams", unit="bytes", stacked=True,
            says="What the streams take of Redis' memory, estimated.",
            bad="growing without end.",
            runbook="RedisMemoryHigh",
            queries=(Query(f"sum by (stream) (daedalus_stream_memory_bytes{{{MARKET}}})", "{{stream}}"),),
        ),
        Panel(
            "graph", "Memory of Redis", unit="bytes",
            says="What counts towards maxmemory on each node, and maxmemory.",
            bad="above three quarters of maxmemory: at it Redis refuses new events, and the spool fills.",
            runbook="RedisMemoryHigh",
            queries=(
                Query("max by (node) (daedalus_redis_memory_used_bytes)", "{{node}} used"),
                Query("max by (node) (daedalus_redis_memory_limit_bytes > 0)", "{{node}} maxmemory"),
            ),
        ),
        Panel(
            "stat", "Append-only file", width=4,
            says="Whether every node writes its append-only file without errors.",
            bad="broken: a restart of Redis would lose what it holds.",
            runbook="RedisAppendOnlyFails",
            queries=(Query("min(daedalus_redis_append_only_ok)"),),
            limits=Limits(0.5, 1, falling=True),
            words=(("0", "broken", "red"), ("1", "written", "green")),
        ),
        Panel(
            "stat", "Clock against Redis", width=4, unit="s",
            says="The largest difference of a service's clock and a server's.",
            bad="from a second: times of capture are wrong; from 5 s they are replaced by the server's.",
            runbook="ClockSkew",
            queries=(Query(f"max(abs(daedalus_redis_clock_offset_seconds{{{INSTANCE}}}))"),),
            limits=Limits(1, 5),
        ),
        Panel(
            "graph", "Markets owned", stacked=True,
            says="Markets whose lease each replica holds, by role.",
            bad="the sum of a role is below what is configured, or one replica has nearly all.",
            runbook="MarketsWithoutOwner",
            queries=(
                Query(f"sum by (role, instance) (daedalus_lease_held_markets{{{INSTANCE}}})", "{{role}} {{instance}}"),
            ),
        ),
        Panel(
            "graph", "Markets that nobody owns",
            says="Configured markets without an owner, by role.",
            bad="above 0 for longer than leases.ttl_seconds.",
            runbook="MarketsWithoutOwner",
            queries=(
                Query(
                    "role:daedalus_lease_unowned_markets:max",
                    "{{role}}",
                ),
            ),
            limits=Limits(1, 2),
        ),
        Panel(
            "graph", "Load", unit="cps", stacked=True,
            says="Events a second of the markets each replica owns, by which they share markets out.",
            bad="very uneven for minutes: a market heavier than all others cannot be shared.",
            runbook="MarketsWithoutOwner",
            queries=(Query(f"sum by (role, instance) (daedalus_lease_load{{{INSTANCE}}})", "{{role}} {{instance}}"),),
        ),
        Panel(
            "graph", "Since the leases were renewed", unit="s",
            says="Seconds since a replica last renewed all its leases.",
            bad="near leases.ttl_seconds (10): others take its markets. Redis is slow, or the process is starved.",
            runbook="LeasesNotRenewed",
            queries=(
                Query(
                    f"max by (role, instance) (daedalus_lease_renewal_age_seconds{{{INSTANCE}}})",
                    "{{role}} {{instance}}",
                ),
            ),
            limits=Limits(5, 30),
        ),
        Panel(
            "graph", "Changes of leases",
            says="Leases taken, given back and lost, and rounds of renewal that failed, in each interval.",
            bad="lost, without a crash or a pause to explain it; markets that move to and fro.",
            runbook="LeasesChangeHands",
            queries=(
                Query(
                    growth("daedalus_lease_changes_total", INSTANCE, "role, change"),
                    "{{role}} {{change}}",
                ),
                Query(
                    growth("daedalus_lease_renew_failures_total", INSTANCE, "role"),
                    "{{role}} not renewed",
                ),
            ),
            limits=Limits(10, 100),
        ),
    ),
)  # fmt: skip
