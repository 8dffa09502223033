"""What the owned markets' streams hold next: one pipelined read of all, and of those far behind one more ahead.

read -> steps are computed and committed, while the server answers what was asked ahead -> read
"""

import asyncio
from collections.abc import Callable, Collection, Sequence

from daedalus_common.batches import RawEntry
from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog, Place
from daedalus_featurizer.market_work import MarketWork


class Reader:
    """`read` may raise redis errors; nothing is lost by them."""

    def __init__(self, market_log: MarketLog, max_entries: int, monotonic: Callable[[], float]) -> None:
        """Markets with `max_entries` waiting get no more."""
        self._log = market_log
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._behind: list[MarketWork] = []
        """Those whose last reply was full: there is more."""
        self._asked: list[tuple[MarketWork, Place]] = []
        self._answer: asyncio.Task[list[list[RawEntry]]] | None = None

    async def read(self, works: Collection[MarketWork]) -> bool:
        """Gives each market what it has next; True if one has more to read at once."""
        behind = await self._take_ahead(works)
        hungry = [work for work in works if work.waiting < self._max_entries]
        places = self._places(hungry)
        replies = await self._log.read_many(places) if places else []
        for work in works:
            work.at_end = False
        for work, place, entries in zip(hungry, places, replies, strict=True):
            work.accept(entries, self._monotonic())
            is_full = len(entries) == place.count
            work.at_end = not is_full and work.lease.market not in self._log.unanswered
            if is_full:
                behind.append(work)
        self._behind = list(dict.fromkeys(behind))
        return bool(behind)

    def ask_ahead(self) -> None:
        """Asks for what the markets that are behind have next; only those, for of the others it would soon be old."""
        if not self._behind or self._answer is not None:
            return
        places = self._places(self._behind)
        self._asked = list(zip(self._behind, places, strict=True))
        self._answer = asyncio.create_task(self._log.read_ahead(places))

    async def close(self) -> None:
        """What was asked ahead is not wanted any more."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)

    async def _take_ahead(self, works: Collection[MarketWork]) -> list[MarketWork]:
        """Accepts what was asked ahead, of markets that are still worked on; those that have more.

        Those with too much waiting get none of it: their steps are refused, and it would come again and again.
        """
        answer, self._answer = self._answer, None
        if answer is None:
            return []
        replies, current = await answer, set(works)
        behind = []
        for (work, place), entries in zip(self._asked, replies, strict=True):
            if work in current and work.read_after == place.after and work.waiting < self._max_entries:
                work.accept(entries, self._monotonic())
                if len(entries) == place.count:
                    behind.append(work)
        return behind

    def _places(self, works: Sequence[MarketWork]) -> list[Place]:
        count = read_count(len(works), self._max_entries)
        return [Place(work.lease.market, keys.RAW, work.read_after, count) for work in works]


def read_count(markets: int, max_entries: int, reply_size_bytes: int = 8_000_000, entry_size_bytes: int = 2_048) -> int:
    """Entries to ask of each market so that one reply stays within 8 MB: a book of 2 x 50 levels takes about 1.7 KB."""
    return max(10, min(max_entries, reply_size_bytes // (entry_size_bytes * max(1, markets))))
