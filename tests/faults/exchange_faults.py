"""Faults of the exchange, on the simulator's command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from faults.cells import Action, Trial
from faults.pipeline import STALE_SECONDS, SYMBOLS
from faults.rig import Rig

Body = dict[str, Any]


def told(draw: Callable[[Random], list[Body]]) -> Action:
    """The simulator gets these commands one after the other; each ends by itself."""

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        withheld = _withheld(rig)
        touched = 0
        for body in draw(rng):
            answer = rig.simulator.post("/control/fault", **body)
            if body["kind"] not in ("skip", "stall"):
                touched += int(answer["connections"])
        yield Trial(touched=lambda: touched + _withheld(rig) - withheld)

    return action


def _withheld(rig: Rig) -> int:
    """Frames generated and not sent, so far."""
    symbols = rig.simulator.ledger(ids=False)["symbols"].values()
    counts = [channel for symbol in symbols for channel in symbol["channels"].values()]
    return sum(channel["generated"] - channel["sent"] for channel in counts)


def dropped(rng: Random) -> list[Body]:
    return [{"kind": "drop", "how": rng.choice(["abort", "close"])}]


def stalled(rng: Random) -> list[Body]:
    return [{"kind": "stall", "seconds": STALE_SECONDS + rng.uniform(0.5, 1.5)}]


def malformed(rng: Random) -> list[Body]:
    return [{"kind": "malformed"}]


def skipped(rng: Random) -> list[Body]:
    return [{"kind": "skip", "symbol": rng.choice(SYMBOLS), "channel": "depth", "count": rng.randint(1, 5)}]


def too_many_requests(rng: Random) -> list[Body]:
    """Connections end, and new ones are refused for a while."""
    refused = {"kind": "status", "status": 429, "seconds": rng.uniform(0.5, 2.0), "websocket": True}
    return [refused, {"kind": "drop", "how": "abort"}]
