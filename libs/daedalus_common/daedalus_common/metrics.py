"""What every service tells Prometheus: of its leases, by its role, and of the servers and disks that it stands on."""

from daedalus_common.telemetry.metrics import counter, gauge

LEASE_CHANGES = counter(
    "daedalus_lease_changes_total",
    "Leases taken, given back, and lost: to another replica, or because the server forgot them.",
    ("role", "change"),
)
LEASE_LOAD = gauge(
    "daedalus_lease_load",
    "Events a second of the markets this replica owns, smoothed over 30 s, by which replicas share markets out.",
    ("role",),
)
RENEW_FAILURES = counter(
    "daedalus_lease_renew_failures_total",
    "Rounds of renewal that Redis did not answer in full.",
    ("role",),
)
RENEWAL_AGE = gauge(
    "daedalus_lease_renewal_age_seconds",
    "Since every lease was last renewed; past leases.ttl_seconds others take the markets.",
    ("role",),
)
LEASE_CONFIGURED = gauge(
    "daedalus_lease_configured_markets", "Markets that the configuration shares out among the replicas.", ("role",)
)
LEASE_HELD = gauge("daedalus_lease_held_markets", "Markets whose lease this replica holds.", ("role",))

REDIS_MEMORY_USED = gauge(
    "daedalus_redis_memory_used_bytes", "Memory of a server that counts towards its maxmemory.", ("node",)
)
REDIS_MEMORY_LIMIT = gauge("daedalus_redis_memory_limit_bytes", "A server's maxmemory; 0: it has none.", ("node",))
REDIS_APPEND_ONLY = gauge(
    "daedalus_redis_append_only_ok",
    "1: a server's append-only file is on, and was last written and rewritten without an error; otherwise 0.",
    ("node",),
)
REDIS_CLOCK_OFFSET = gauge(
    "daedalus_redis_clock_offset_seconds", "This process's clock minus a server's; above 0: ours is ahead.", ("node",)
)

DISK_FREE = gauge(
    "daedalus_disk_free_bytes",
    "Free space, for users other than root, of the disk that holds the spool, or a store in a local directory.",
    ("role",),
)
DISK_SIZE = gauge("daedalus_disk_size_bytes", "Size of that disk.", ("role",))
