"""The order book of a recording, rebuilt from its snapshot and depth updates, in the recording's own texts."""

from daedalus_simulator.frames import Frame
from daedalus_simulator.market import Snapshot

_Levels = list[list[str]]


class TapeBook:
    """Levels by price text: a recording writes a price the same way each time."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._bids = dict(_pairs(snapshot.bids))
        self._asks = dict(_pairs(snapshot.asks))
        self._last_update_id = snapshot.last_update_id

    def apply(self, frame: Frame, levels: tuple[_Levels, _Levels]) -> None:
        """Set the changed (bids, asks). An update the book already contains is ignored."""
        if frame.last_id <= self._last_update_id:
            return
        for side, changes in ((self._bids, levels[0]), (self._asks, levels[1])):
            for price, size in changes:
                if float(size) > 0:
                    side[price] = size
                else:
                    side.pop(price, None)
        self._last_update_id = frame.last_id

    def snapshot(self) -> Snapshot:
        """All levels, best first."""
        bids = [[price, self._bids[price]] for price in sorted(self._bids, key=float, reverse=True)]
        asks = [[price, self._asks[price]] for price in sorted(self._asks, key=float)]
        return Snapshot(self._last_update_id, bids, asks)


def _pairs(levels: _Levels) -> list[tuple[str, str]]:
    return [(price, size) for price, size in levels]
