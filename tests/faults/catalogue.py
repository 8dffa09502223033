"""Every cell of the matrix. Numbers are seconds, milliseconds where named so, and bytes."""

from daedalus_common.leases import Role
from faults import exchange_faults, process_faults, redis_faults, store_faults
from faults.cells import NOBODY_WATCHED, Cell
from faults.network_faults import Traffic, network_faults
from faults.pipeline import ROLES, STALE_SECONDS, TTL_SECONDS

PAST_LEASE = (TTL_SECONDS + 0.3, TTL_SECONDS + 1.5)
PAST_STALE = (STALE_SECONDS, STALE_SECONDS + 1.5)
AWAY = NOBODY_WATCHED | {"spool_lost"}
"""Without Redis a market may change hands: what its former owner had in memory, and newer events in its spool, is then
late, and a gap stands before those of the spool."""
LONG_AWAY = AWAY | {"server_lost"}
BOOK_ANEW = frozenset({"reconnect", "resync"})

COMMANDS = Traffic(latency=(0.02, 0.15), request_bytes=5_000, reply_bytes=5_000, bytes_per_second=60_000)
UPLOADS = Traffic(latency=(0.05, 0.25), request_bytes=20_000, reply_bytes=1_000, bytes_per_second=100_000)
"""Objects of 2 to 15 kB, whose answers are headers."""

_MOVES = {Role.INGESTOR: "published", Role.WRITER: "written", Role.FEATURIZER: "featurized"}


def cells() -> list[Cell]:
    """The whole matrix in the order of its table."""
    return [*_processes(), *_redis(), *_store(), *_exchange(), *_surroundings()]


DOWN_FOR_MINUTES = Cell("redis", "down for minutes", redis_faults.restarted, (90.0, 120.0), gaps=AWAY, alone=True)
"""Longer than a seed may take: a soak begins with it."""

SHORT = (
    "ingestor:kill -9",
    "writer:kill -9",
    "writer:SIGSTOP past the lease",
    "featurizer:kill -9",
    "redis:kill -9",
    "redis:reset",
    "store:timeout after commit",
    "store:503",
    "exchange:drop",
)


def short() -> list[Cell]:
    """What every change has to pass: each component with a fault, and one zombie."""
    return [cell for cell in cells() if cell.name in SHORT]


def _processes() -> list[Cell]:
    found = []
    for role in ROLES:
        moves = _MOVES[role]
        gaps = AWAY if role is Role.INGESTOR else frozenset()
        # Awake again, a frozen ingestor finds its websockets too long without a pong, and ends them.
        frozen = gaps | {"reconnect", "stale"} if role is Role.INGESTOR else gaps
        # A market may come back before the exchange has said that it ended there: its connection begins anew.
        given = gaps | {"reconnect"} if role is Role.INGESTOR else gaps
        found += [
            Cell(role, "kill -9", process_faults.killed(role), (0.0, 1.5), moves, gaps),
            Cell(role, "SIGSTOP past the lease", process_faults.frozen(role), PAST_LEASE, moves, frozen, alone=True),
            Cell(role, "restart", process_faults.restarted(role), (0.0, 1.0), moves, given),
        ]
    scaled = process_faults.scaled(Role.FEATURIZER)
    found.append(Cell("featurizer", "1 to 3 to 2 replicas", scaled, (1.0, 2.5), "featurized"))
    found += [
        Cell(
            role, "memory limit", process_faults.short_of_memory(role), (1.0, 3.0), _MOVES[role],
            AWAY | BOOK_ANEW | {"bad_frame", "stale"} if role is Role.INGESTOR else frozenset(),
            may_end=frozenset({role}),
        )
        for role in ROLES
    ]  # fmt: skip
    return sorted(found, key=lambda cell: [role.value for role in ROLES].index(cell.component))


def _redis() -> list[Cell]:
    return [
        Cell("redis", "kill -9", redis_faults.killed, (0.1, 1.5), gaps=LONG_AWAY),
        Cell("redis", "restart", redis_faults.restarted, (0.0, 0.5)),
        Cell("redis", "SIGSTOP", redis_faults.frozen, (0.5, 4.0), gaps=AWAY),
        *(
            Cell("redis", name, action, hold, gaps=frozenset() if name in ("latency", "reset") else AWAY)
            for name, (action, hold) in network_faults(redis_faults.proxy_of, COMMANDS).items()
        ),
        Cell("redis", "maxmemory", redis_faults.out_of_memory, (1.0, 4.0), gaps=AWAY),
        Cell(
            "redis", "disk full", redis_faults.disk_full, (1.0, 3.0), gaps=AWAY,
            needs=frozenset({"disks"}),
        ),
        Cell("redis", "lost tail", redis_faults.tail_lost, (0.1, 1.0), gaps=LONG_AWAY, alone=True),
    ]  # fmt: skip


def _store() -> list[Cell]:
    server = store_faults.server
    network = network_faults(store_faults.proxy_of, UPLOADS)
    # A reset that is over at once meets nothing where no connection happens to be open.
    del network["reset"]
    found = {
        "500": (server(lambda f, _: f.answer(500, "InternalError", share=0.7)), (1.0, 3.0)),
        "503": (server(lambda f, _: f.answer(503, "SlowDown", share=0.7)), (1.0, 3.0)),
        "403": (server(lambda f, _: f.answer(403, "AccessDenied")), (0.5, 2.0)),
        "timeout after commit": (server(lambda f, _: f.lose_answers(share=0.5)), (1.0, 2.5)),
        "silence after commit": (
            server(lambda f, r: f.lose_answers(share=0.5, silent_seconds=r.uniform(1.0, 3.0))),
            (2.0, 4.0),
        ),
        "slow": (server(lambda f, r: f.slow(r.uniform(0.2, 1.0))), (1.0, 3.0)),
        **network,
    }
    s3, local = frozenset({"s3"}), frozenset({"local", "disks"})
    # A writer that starts meanwhile is refused and ends with the fix; its supervisor starts it again.
    may_end = {"403": frozenset({Role.WRITER})}
    full, read_only = store_faults.disk(lambda d: d.full()), store_faults.disk(lambda d: d.read_only())
    return [
        *(
            Cell("store", name, action, hold, "written", needs=s3, may_end=may_end.get(name, frozenset()))
            for name, (action, hold) in found.items()
        ),
        Cell("store", "disk full", full, (1.0, 3.0), "written", needs=local),
        Cell("store", "read-only", read_only, (1.0, 3.0), "written", needs=local),
    ]


def _exchange() -> list[Cell]:
    told = exchange_faults.told
    # Books do not move while they stall, so nothing can catch up: what follows the fault must.
    return [
        Cell("exchange", "drop", told(exchange_faults.dropped), (0.2, 0.5), gaps=BOOK_ANEW),
        Cell(
            "exchange",
            "stall",
            told(exchange_faults.stalled),
            (STALE_SECONDS, STALE_SECONDS + 1.5),
            gaps=BOOK_ANEW | {"stale"},
        ),
        Cell("exchange", "malformed", told(exchange_faults.malformed), (0.2, 0.5), gaps=BOOK_ANEW | {"bad_frame"}),
        Cell("exchange", "skip", told(exchange_faults.skipped), (1.0, 2.0), gaps=BOOK_ANEW | {"sequence"}),
        Cell("exchange", "429", told(exchange_faults.too_many_requests), (1.0, 2.5), gaps=BOOK_ANEW | {"refused"}),
    ]


def _surroundings() -> list[Cell]:
    clocks = frozenset({"clocks"})
    without_spool = AWAY | {"overflow"}
    return [
        *(
            Cell(
                "spool", name, process_faults.spool_disk(bring), (1.5, 4.0), gaps=without_spool, alone=True,
                needs=frozenset({"disks"}),
            )
            for name, bring in (("disk full", lambda d: d.full()), ("read-only", lambda d: d.read_only()))
        ),
        # ccxt measures an exchange's silence by the wall clock: after a jump it ends the connection.
        Cell(
            "clock", "of services jumps", process_faults.clock_jumped, (1.0, 3.0),
            gaps=NOBODY_WATCHED | BOOK_ANEW, needs=clocks,
        ),
        Cell("clock", "of Redis jumps", redis_faults.clock_jumped, (1.0, 3.0), gaps=AWAY, needs=clocks),
        Cell(
            "build", "rolling update", process_faults.rolled, (0.5, 1.0), "written", gaps=NOBODY_WATCHED, alone=True,
            first=True, needs=frozenset({"older"}),
        ),
    ]  # fmt: skip
