"""What the processes take of their machine."""

from tools.dashboards.boards import Board
from tools.dashboards.panels import Limits, Panel, Query
from tools.dashboards.promql import INSTANCE, OURS

_OURS = f"{OURS}, {INSTANCE}"

HOST = Board(
    title="Host",
    answers="Processor, memory, files and disk: whether the machine is large enough for what runs on it.",
    panels=(
        Panel(
            "graph", "Processor", unit="percentunit", stacked=True, width=12,
            says="Share of one core that each process takes.",
            bad="near the container's limit of cpus, or the sum near the number of cores.",
            runbook="ProcessMemoryHigh",
            queries=(Query(f"rate(process_cpu_seconds_total{{{_OURS}}}[$__rate_interval])", "{{job}} {{instance}}"),),
        ),
        Panel(
            "graph", "Memory", unit="bytes", stacked=True, width=12,
            says="Resident memory of each process.",
            bad="climbing for hours, or near the container's mem_limit: it would be killed. Normal: docs/sizing.md.",
            runbook="ProcessMemoryHigh",
            queries=(Query(f"process_resident_memory_bytes{{{_OURS}}}", "{{job}} {{instance}}"),),
        ),
        Panel(
            "graph", "Open files", unit="percentunit",
            says="Open files and sockets as a share of what the process may have.",
            bad="climbing for hours: something is not closed.",
            runbook="ProcessMemoryHigh",
            queries=(Query(f"process_open_fds{{{_OURS}}} / process_max_fds{{{_OURS}}}", "{{job}} {{instance}}"),),
            limits=Limits(0.5, 0.8),
        ),
        Panel(
            "graph", "Running for", unit="s",
            says="Time since each process started.",
            bad="a saw: the process ends and is started again.",
            runbook="ServiceRestarts",
            queries=(Query(f"time() - process_start_time_seconds{{{_OURS}}}", "{{job}} {{instance}}"),),
        ),
        Panel(
            "graph", "Collections of garbage", unit="cps",
            says="Runs of Python's garbage collector over the oldest objects (generation 2), a second.",
            bad="several a second: it eats processor time.",
            runbook="ProcessMemoryHigh",
            queries=(
                Query(
                    f'rate(python_gc_collections_total{{{_OURS}, generation="2"}}[$__rate_interval])',
                    "{{job}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "graph", "Free disk", unit="bytes",
            says="Free space of the disks that hold the spool and stores in local directories.",
            bad="falling to zero within the days you want to be away.",
            runbook="DiskFilling",
            queries=(Query(f"min by (role) (daedalus_disk_free_bytes{{{INSTANCE}}})", "{{role}}"),),
        ),
        Panel(
            "graph", "Memory of Redis", unit="bytes",
            says="What each node uses of its maxmemory.",
            bad="near maxmemory.",
            runbook="RedisMemoryHigh",
            queries=(Query("max by (node) (daedalus_redis_memory_used_bytes)", "{{node}}"),),
        ),
        Panel(
            "graph", "Clock against Redis", unit="s",
            says="How far the clock of each service's machine is from Redis', without sign.",
            bad="from a second: no time server is reached.",
            runbook="ClockSkew",
            queries=(
                Query(
                    f"max by (job, instance) (abs(daedalus_redis_clock_offset_seconds{{{_OURS}}}))",
                    "{{job}} {{instance}}",
                ),
            ),
            limits=Limits(1, 5),
        ),
        Panel(
            "graph", "Time of a scrape", unit="s",
            says="How long each service takes to answer Prometheus.",
            bad="above a second: the process is starved. At 10 s it counts as down.",
            runbook="ReplicaDown",
            queries=(Query(f"scrape_duration_seconds{{{_OURS}}}", "{{job}} {{instance}}"),),
            limits=Limits(1, 5),
        ),
        Panel(
            "graph", "Series in Prometheus",
            says="Series that Prometheus holds in memory, and evaluations of rules that failed.",
            bad="growing without end: something makes new series all the time. Failures: alerts may be missing.",
            runbook="RulesFail",
            queries=(
                Query("prometheus_tsdb_head_series", "series"),
                Query("sum(increase(prometheus_rule_evaluation_failures_total[$__rate_interval]))", "failures"),
            ),
            limits=Limits(100_000, 1_000_000),
        ),
    ),
)  # fmt: skip
