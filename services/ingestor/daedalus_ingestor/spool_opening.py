"""A market is taken: what an earlier process left in its spool comes first."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import structlog

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.leases import Lease
from daedalus_ingestor.market_spool import MarketSpool, SpoolError
from daedalus_ingestor.recollection import ENTRIES
from daedalus_ingestor.spool import Spool

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """`spool` is None where there is none; `newest` are payloads that are still in it, oldest first."""

    spool: MarketSpool | None
    newest: list[bytes]


_LOG_ID: Final = "log"
_NONE: Final = Opened(None, [])


async def open_spool(spool: Spool | None, client: Client, lease: Lease, *, patiently: bool = True) -> Opened:
    """Call it with the lease held: nobody else can publish then. `patiently`: waits a moment for another process that
    has the folder. Raises redis errors."""
    if spool is None:
        return _NONE
    market = lease.market
    # Redis may be another one than last time, or have lost everything: the name in it tells.
    await client.hsetnx(keys.sequence(market), _LOG_ID, uuid4().hex)
    reply: Any = await client.hmget(keys.sequence(market), ["epoch", "applied", _LOG_ID])
    epoch, applied, log_id = reply
    try:
        opened = await spool.open(market, log_id.decode(), patiently=patiently)
        if not await opened.resume(int(epoch or 0), int(applied or 0), lease.epoch):
            opened = await spool.put_away(opened)
            await opened.resume(0, 0, lease.epoch)
        if opened.is_active:
            log.info("spooled events found, they are published first", market=market.name, events=opened.unread)
        return Opened(opened, await opened.tail(ENTRIES))
    except (SpoolError, OSError) as error:
        log.warning("market has no spool for now", market=market.name, error=str(error))
        await spool.close(market)
        return _NONE


async def open_spool_afterwards(spool: Spool, client: Client, lease: Lease) -> MarketSpool | None:
    """An empty spool for a market that is fed without one, as a former owner that is frozen or cut off still had its
    folder, or the disk failed; what is in the folder is late by now. None: not yet. Raises redis errors."""
    market = lease.market
    log_id: Any = await client.hget(keys.sequence(market), _LOG_ID)
    if log_id is None or spool.is_waiting():
        return None
    try:
        opened = await spool.open(market, log_id.decode(), patiently=False)
        if opened.unread:
            opened = await spool.put_away(opened)
        await opened.resume(0, 0, lease.epoch)
    except (SpoolError, OSError):
        await spool.close(market)
        return None
    log.info("market has a spool now", market=market.name)
    return opened
