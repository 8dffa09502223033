"""What the writer found in the store about a stream that another server process serves now."""

from collections.abc import Mapping

import msgspec


class Settlement(msgspec.Struct, frozen=True):
    """What the store has of a stream, as the writer found it under one server process."""

    stream: str
    server: str
    durable: bytes
    """For the next writer that opens the stream."""
    counters: Mapping[str, str] = {}
    """Of the newest objects, as `plans.make_plan` takes them, where the server has lost some."""
    lost: bool = False
    """The server lacks entries that are durable. What follows are the ends to get beyond, of raw, silver and gold."""
    last_ids: tuple[str, str, str] = ("", "", "")
    seqs: tuple[int, int, int] = (0, 0, 0)
    generation: int = 0
    ts: int = 0
