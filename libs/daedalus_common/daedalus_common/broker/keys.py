"""Keys of a market in Redis; all share one hash tag, so one script can change them in one Cluster slot."""

from collections.abc import Mapping

from daedalus_common.leases import Role
from daedalus_common.markets import Market

RAW, SILVER, GOLD, LATE = "raw", "silver", "gold", "late"
STREAMS = (RAW, SILVER, GOLD, LATE)
EVENT_STREAMS = (RAW, LATE)
"""They hold events, which go to Bronze; the others hold rows. `late` is outside the market's sequence."""

Groups = Mapping[str, tuple[str, ...]]
"""The consumer groups of each stream; their last-delivered id is the consumer's committed cursor."""


def groups(*, features: bool) -> Groups:
    """The groups of the enabled consumers: one that nobody moves would keep its stream from ever being trimmed."""
    raw = ("writer", "featurizer") if features else ("writer",)
    return {RAW: raw, SILVER: ("writer",), GOLD: ("writer",), LATE: ("writer",)}


def tag(market: Market) -> str:
    return f"{{{market.name}}}"


def stream(market: Market, name: str) -> str:
    """`{binanceus:BTC-USDT}:raw`"""
    return f"{tag(market)}:{name}"


def sequence(market: Market) -> str:
    """Hash: what the market's sequence has come to (seq, ts, generation; publisher epoch and its applied count)."""
    return f"{tag(market)}:sequence"


def late_places(market: Market) -> str:
    """Hash: late folder of an ingestor -> the last position in it whose event is in the stream `late`."""
    return f"{tag(market)}:late-places"


def lease(market: Market, role: Role) -> str:
    return f"{tag(market)}:lease:{role}"


def state(market: Market) -> str:
    """Hash: the featurizer's hot state and row counters."""
    return f"{tag(market)}:state"


def history(market: Market) -> str:
    """List: the featurizer's ring of recent rows."""
    return f"{tag(market)}:history"


def schemas(market: Market) -> str:
    """Hash: schema id -> JSON of the row schema, for everyone who decodes silver and gold."""
    return f"{tag(market)}:schemas"


def plan(market: Market) -> str:
    """Hash: stream -> the writer's plan in progress."""
    return f"{tag(market)}:plan"


def counters(market: Market) -> str:
    """Hash: table -> "partition counter" of the last segment or part."""
    return f"{tag(market)}:counters"


def quality(market: Market) -> str:
    """Hash: `gaps` -> JSON of what the writer knows of the market's gaps at its cursor in raw."""
    return f"{tag(market)}:quality"


def durable(market: Market) -> str:
    """Hash: stream -> what the store has of it, as the writer found when the server became another process; `muted`
    and a stream -> rows that are computed from a state without it."""
    return f"{tag(market)}:durable"


def dead_letters(market: Market) -> str:
    """Stream: entries that were not ours, with their reason."""
    return f"{tag(market)}:dead"


def replicas(role: Role) -> str:
    """Sorted set: replica name -> server time in ms when it last said it was alive."""
    return f"daedalus:replicas:{role}"


def replicas_of(role: Role, exchange: str) -> str:
    """The same of those that reach the exchange. All are in one slot: markets are shared out while its node is there,
    be it one exchange or many."""
    return f"daedalus:{{replicas}}:{exchange}:{role}"


def handovers(role: Role) -> str:
    """Counter: leases of the role that were given back; who sees it move looks for free markets at once."""
    return f"daedalus:handovers:{role}"
