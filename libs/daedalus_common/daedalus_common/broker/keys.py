"""Keys of a market in Redis; all share one hash tag, so one script can change them in one Cluster slot."""

from collections.abc import Mapping

from daedalus_common.leases import Role
from daedalus_common.markets import Market

RAW, SILVER, GOLD = "raw", "silver", "gold"
STREAMS = (RAW, SILVER, GOLD)

Groups = Mapping[str, tuple[str, ...]]
"""The consumer groups of each stream; their last-delivered id is the consumer's committed cursor."""


def groups(*, features: bool) -> Groups:
    """The groups of the enabled consumers: one that nobody moves would keep its stream from ever being trimmed."""
    return {RAW: ("writer", "featurizer") if features else ("writer",), SILVER: ("writer",), GOLD: ("writer",)}


def tag(market: Market) -> str:
    return f"{{{market.name}}}"


def stream(market: Market, name: str) -> str:
    """`{binanceus:BTC-USDT}:raw`"""
    return f"{tag(market)}:{name}"


def sequence(market: Market) -> str:
    """Hash: what the market's sequence has come to (seq, ts, generation; publisher epoch and its applied count)."""
    return f"{tag(market)}:sequence"


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


def dead_letters(market: Market) -> str:
    """Stream: entries that were not ours, with their reason."""
    return f"{tag(market)}:dead"


def replicas(role: Role) -> str:
    """Sorted set: replica name -> server time in ms when it last said it was alive."""
    return f"daedalus:replicas:{role}"
