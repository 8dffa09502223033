"""A stream is opened: does the store have more of it than the server remembers?

While a server process lives, its data never go back. So that is found out once for each, and kept beside the stream
for every writer that opens it later. A writer who was alone with the stream knows it; another one looks at the store.

unfinished plan -> another server process than last time? -> newest objects, known or looked at -> settle
"""

from collections.abc import Callable
from functools import partial

import structlog

from daedalus_common.broker.keys import GOLD, RAW, SILVER
from daedalus_common.broker.market_log import BEGINNING, MarketLog
from daedalus_common.broker.settlements import Settlement
from daedalus_common.leases import Lease
from daedalus_common.markets import Market
from daedalus_writer import metrics
from daedalus_writer.carrying_out import Carrier
from daedalus_writer.durable_end import Durable, End, Known, joined, unexplained
from daedalus_writer.known_objects import Survey
from daedalus_writer.newest_objects import Newest, newest_objects
from daedalus_writer.patience import Patience

log = structlog.get_logger(__name__)

GROUP = "writer"

TenureOf = Callable[[Lease], int | None]
"""`LeaseKeeper.tenure`."""
_CHECKED = (RAW, SILVER, GOLD)


class Opening:
    """Finds out what of a stream is durable. Raises Fenced or Conflict."""

    def __init__(self, market_log: MarketLog, carrier: Carrier, patience: Patience) -> None:
        self._log = market_log
        self._carrier = carrier
        self._patience = patience
        self._objects = carrier.known

    async def known(self, market: Market, stream: str, server: str = "") -> Known:
        """What was found when the stream was settled last, by whichever writer."""
        durable, muted = await self._patience.redis(lambda: self._log.durable(market, stream))
        return Known(server, Durable.decode(durable).ends if durable else {}, muted)

    async def settle(self, lease: Lease, stream: str, server: str, tenure_of: TenureOf) -> Known:
        """Once for each server process, and wherever the group stands at the beginning: it may have been removed.

        Call it when no plan is pending. "" = the server does not tell which it is.
        """
        market = lease.market
        durable, muted = await self._patience.redis(lambda: self._log.durable(market, stream))
        before = Durable.decode(durable) if durable else Durable("", {})
        cursor = await self._patience.redis(lambda: self._log.cursor(market, stream, GROUP))
        is_settled = server == before.server and cursor.id != BEGINNING
        if stream not in _CHECKED or not server or is_settled:
            return Known(server, before.ends, muted)
        self._objects.forget_settled(market, stream, server)
        newest = await self._newest(lease, stream, server, tenure_of)
        after = Durable(server, joined(before.ends, newest.ends))
        beyond = unexplained(newest.ends, cursor.id, before.ends)
        if beyond is None:
            settlement = Settlement(stream, server, after.encode())
        elif server == before.server or await self._has(market, stream, beyond):
            log.warning("the server no longer knew what was written", market=market.name, stream=stream, to=beyond.id)
            settlement = Settlement(stream, server, after.encode(), newest.counters)
        else:
            settlement = await self._lost(lease, stream, after, newest, tenure_of)
        tenure = tenure_of(lease)  # before: with the process that settles, it has lasted until then
        if await self._patience.redis(lambda: self._log.settle(lease, settlement)):
            metrics.LOST_TAILS.labels(**metrics.market_labels(market)).inc()
        self._objects.settle(lease, stream, server, tenure)
        return await self.known(market, stream, server)

    async def _has(self, market: Market, stream: str, end: End) -> bool:
        return await self._patience.redis(lambda: self._log.has_entry(market, stream, end.id, end.seq))

    async def _lost(self, lease: Lease, stream: str, after: Durable, newest: Newest, tenure_of: TenureOf) -> Settlement:
        """What all three streams must get beyond: they are of one slot, so that all have lost their ends together."""
        found = {name: await self._newest(lease, name, after.server, tenure_of) for name in _CHECKED}
        ends = {name: list(each.ends.values()) for name, each in found.items()}
        everything = [end for of_stream in ends.values() for end in of_stream]
        last = {name: max(ends[name], key=lambda end: end.entry).id if ends[name] else "" for name in _CHECKED}
        log.error(
            "the server has lost entries that are durable: the market goes on behind them",
            market=lease.market.name,
            stream=stream,
            durable_to=last,
        )
        return Settlement(
            stream,
            after.server,
            after.encode(),
            newest.counters,
            lost=True,
            last_ids=(last[RAW], last[SILVER], last[GOLD]),
            generation=max((end.generation for end in ends[RAW]), default=0),
            seqs=(_last_seq(ends[RAW]), _last_seq(ends[SILVER]), _last_seq(ends[GOLD])),
            ts=max((end.ts for end in everything), default=0),
        )

    async def _newest(self, lease: Lease, stream: str, server: str, tenure_of: TenureOf) -> Newest:
        """Looked at where another writer may have been there since the last look: on S3 that takes seconds."""
        async with self._objects.looking(lease.market, stream) as place:
            if place.survey is None or not place.survey.holds(lease, server, tenure_of(lease)):
                shelf = self._carrier.shelf(stream)
                look = partial(self._carrier.in_pool, newest_objects, shelf.store, lease.market, stream)
                place.survey = Survey(await self._patience.store(shelf.role, look), lease, server)
            return place.survey.newest


def _last_seq(ends: list[End]) -> int:
    return max((end.seq for end in ends), default=0)
