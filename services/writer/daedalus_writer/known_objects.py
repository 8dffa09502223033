"""The newest objects of a stream, known without another look: those once found in the store, and those made since.

look -> survey -> creating (in doubt) -> survey -> another server process: may another writer have been there? -> look
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_writer.newest_objects import Newest


@dataclass(slots=True)
class Survey:
    """The newest objects of a stream; complete for as long as nobody else writes it."""

    newest: Newest
    lease: Lease
    server: str
    """The process under which the store was looked at, or the stream settled since."""
    tenure: int | None = None
    """`LeaseKeeper.tenure` when the stream was settled."""
    is_settled: bool = False

    def holds(self, lease: Lease, server: str, tenure: int | None) -> bool:
        """Nobody else can have written since: the process that checks the epoch still lives, or the lease cannot have
        run out. The epoch alone does not say so under another process, which may have lost that others had it."""
        is_unbroken = tenure is not None and tenure == self.tenure
        return self.lease == lease and (self.server == server or is_unbroken)


@dataclass(slots=True)
class Place:
    """Where a survey is kept; `busy` while it is made, or objects are."""

    survey: Survey | None = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class KnownObjects:
    """By market and stream. Nobody looks while objects are being created: those under way might be missed."""

    def __init__(self) -> None:
        self._places: defaultdict[tuple[Market, str], Place] = defaultdict(Place)

    @asynccontextmanager
    async def creating(self, lease: Lease, stream: str) -> AsyncIterator[Newest]:
        """Give it each object that exists now. Where this ends early some are in doubt, so that nothing is known."""
        place = self._places[lease.market, stream]
        async with place.busy:
            survey, place.survey = place.survey, None
            made = Newest()
            yield made
            if survey is not None and survey.lease == lease:
                survey.newest.update(made)
                place.survey = survey

    @asynccontextmanager
    async def looking(self, market: Market, stream: str) -> AsyncIterator[Place]:
        """The place of a stream of which no object is being created meanwhile."""
        place = self._places[market, stream]
        async with place.busy:
            yield place

    def forget_settled(self, market: Market, stream: str, server: str) -> None:
        """To be settled once more under one process, a stream must have been removed by hand; objects may be, too."""
        place = self._places[market, stream]
        if place.survey is not None and place.survey.is_settled and place.survey.server == server:
            place.survey = None

    def settle(self, lease: Lease, stream: str, server: str, tenure: int | None) -> None:
        """The stream was settled under `server`; `tenure` was looked up before that."""
        survey = self._places[lease.market, stream].survey
        if survey is not None and survey.lease == lease:
            survey.server, survey.tenure, survey.is_settled = server, tenure, True
