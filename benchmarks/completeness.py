"""Was everything recorded that the simulator sent?"""

from collections.abc import Sequence

from benchmarks.results import CheckFailed
from support.stack import Simulator


def sent_count(simulator: Simulator, symbol: str, channel: str) -> int:
    """How many frames of the channel (`depth`, `trade`, `ticker`) went out."""
    channels = simulator.ledger(ids=False)["symbols"][symbol]["channels"]
    return int(channels[channel]["sent"]) if channel in channels else 0


def sent_ids(simulator: Simulator, symbol: str, channel: str) -> list[int]:
    """The ids of all frames of the channel in the order in which they went out; of depth updates the last id u."""
    ids = simulator.ledger()["symbols"][symbol]["channels"][channel]["ids"]
    return [each[1] if channel == "depth" else each for each in ids]


def check_whole(what: str, sent: Sequence[int], recorded: Sequence[int], early: int) -> None:
    """Raises CheckFailed unless `recorded` is all of `sent`, once and in order, but for at most `early` at its start.

    (The depth updates that come before the snapshot are part of the first book.)
    """
    first = next((place for place, id_ in enumerate(sent) if id_ in recorded[:1]), len(sent))
    if first > early or list(recorded) != list(sent[first:]):
        raise CheckFailed(f"{len(sent):,} {what} were sent, {len(recorded):,} recorded, which are not the same")
