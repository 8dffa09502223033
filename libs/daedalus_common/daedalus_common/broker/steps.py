"""The featurizer's atomic step: what it reads, and what it commits."""

from collections.abc import Sequence

import msgspec


class StoredState(msgspec.Struct, frozen=True):
    """The featurizer's state as committed; `hot` is None before the first step."""

    genesis: str | None
    hot: bytes | None
    history: tuple[bytes, ...]


class Row(msgspec.Struct, frozen=True):
    """A Silver or Gold row to add to its stream."""

    layer: str
    table: str
    payload: bytes


class Step(msgspec.Struct, frozen=True):
    """The featurizer's atomic step: entries up to `to_id` became `rows` and the new state."""

    from_id: str
    to_id: str
    entries: int
    hot: bytes
    history: Sequence[bytes]
    """Rows to add to the ring."""
    keep_history: int
    """Length of the ring after the step."""
    rows: Sequence[Row]
    server: str = ""
    """The server process that state and entries were read from; "" = whichever it is."""
    genesis: str = ""
    """The stored genesis that the state was read with; "" = whichever it is."""
