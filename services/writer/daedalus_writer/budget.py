"""How the writer's memory is shared between what goes to the two stores, of which one may be away."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from daedalus_common.broker.keys import EVENT_STREAMS


class Pool(StrEnum):
    """Streams whose objects go to one store."""

    EVENTS = "events"
    ROWS = "rows"


_SHARES: Final = {Pool.EVENTS: 0.75, Pool.ROWS: 0.5}
"""At most. So the other always has a quarter, or a half, left: a store that is away fills its own share and no more,
and while both work neither share is in the way."""


def pool_of(stream: str) -> Pool:
    return Pool.EVENTS if stream in EVENT_STREAMS else Pool.ROWS


def budgets(memory_bytes: int, held: Mapping[Pool, int]) -> dict[Pool, int]:
    """What each may hold now, where `held` is what they do hold; together never more than `memory_bytes`."""
    everything = sum(held.get(pool, 0) for pool in Pool)
    return {
        pool: max(0, min(int(memory_bytes * share), memory_bytes - everything + held.get(pool, 0)))
        for pool, share in _SHARES.items()
    }
