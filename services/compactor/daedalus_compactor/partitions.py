"""The partitions of a store, and those that need no look for a while.

A pass lists only what may have changed: a day (a month of Gold) that is over, merged and rid of what it covered is
looked at once a day from then on.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from daedalus_common.stores import ObjectStore

RELOOK = timedelta(days=1)

_DATE = re.compile(r"/year=(\d{4})/month=(\d{1,2})(?:/day=(\d{1,2}))?/$")
_DEPTH = 12
"""Folders: more than any partition of ours has."""


class Partitions:
    """The days of Bronze, Silver and quality, and the months of Gold, below one store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._clean: dict[str, datetime] = {}

    def visit(self, layer: str, now: datetime, look: Callable[[str], bool], stopped: Callable[[], bool]) -> None:
        """Calls `look` with each folder that may need work; it tells whether the folder is in order. Raises StoreError.

        Late events lie in no order, so that their tables are left out.
        """
        leaf = "month" if layer == "gold" else "day"
        self._visit(f"{layer}/", leaf, now, look, stopped, _DEPTH)

    def _visit(
        self,
        folder: str,
        leaf: str,
        now: datetime,
        look: Callable[[str], bool],
        stopped: Callable[[], bool],
        depth: int,
    ) -> bool:
        if stopped() or not depth:
            return False
        if self._clean.get(folder, now) > now:
            return True
        last = folder.rstrip("/").rpartition("/")[2]
        if last.startswith(f"{leaf}="):
            clean = look(folder)
        elif last == "late":
            return True
        else:
            inner = list(self._store.folders(folder))
            # Every one of them, also behind one that is not in order.
            below = [self._visit(f"{folder}{name}/", leaf, now, look, stopped, depth - 1) for name in inner]
            clean = all(below)
        if clean and _is_over(folder, now):
            self._clean[folder] = now + RELOOK
        return clean


def _is_over(folder: str, now: datetime) -> bool:
    """Whether the day or month of a folder is past; others never are."""
    found = _DATE.search(folder)
    if found is None:
        return False
    year, month, day = int(found[1]), int(found[2]), found[3]
    try:
        end = datetime(year, month, int(day or 1), tzinfo=UTC) + timedelta(days=1)
        if day is None:
            end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    except ValueError:
        return False
    return end <= now
