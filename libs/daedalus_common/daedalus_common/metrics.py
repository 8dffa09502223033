"""What every owner of markets tells Prometheus of its leases, by its role."""

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
