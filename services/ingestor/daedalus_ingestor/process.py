"""The composition root: settings in, a running ingestor out."""

from collections.abc import Mapping, Sequence
from functools import partial
from uuid import uuid4

import uvloop

from daedalus_common.broker.client import connect_to
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.leases import Role
from daedalus_common.service import ServiceContext, StartupError, run_service, wait_for_redis
from daedalus_common.surroundings import watch_disk, watched
from daedalus_ingestor.ccxt_exchange import make_exchange
from daedalus_ingestor.feed import CcxtFeed
from daedalus_ingestor.ingestor import Ingestor
from daedalus_ingestor.market_spool import SpoolError
from daedalus_ingestor.queue import EventQueue
from daedalus_ingestor.settings import Settings, settings_from
from daedalus_ingestor.spool import Spool


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """The exit code."""
    description = "Watches exchanges and publishes every update to its market's stream."
    return run_service("ingestor", description, run, argv, env, loop_factory=uvloop.new_event_loop)


async def run(context: ServiceContext) -> None:
    settings = settings_from(context.config)
    if not settings.markets:
        raise StartupError("no market is configured; list symbols under ccxt.exchanges.<id>.channels")
    spool = _spool(settings, context)
    client = connect_to(context.config.redis)

    def new_feed(name: str, queue: EventQueue) -> CcxtFeed:
        feed = settings.feeds[name]
        return CcxtFeed(feed, queue, context.health, partial(make_exchange, feed.access))

    try:
        if await wait_for_redis(client, context.stop, context.health, context.log):
            keeper = LeaseKeeper(
                client, Role.INGESTOR, context.name, settings.markets, settings.lease_ttl, lambda: uuid4().hex
            )
            async with watched(client):
                await Ingestor(settings, client, keeper, context.health, new_feed, spool).run(context.stop)
    finally:
        await client.aclose()


def _spool(settings: Settings, context: ServiceContext) -> Spool | None:
    if not settings.spool_max_bytes:
        return None
    try:
        spool = Spool(
            settings.spool_dir,
            settings.spool_max_bytes,
            fsync=context.config.ingestion.enable_fsync,
            health=context.health,
        )
    except SpoolError as error:
        raise StartupError(str(error)) from error
    watch_disk("spool", settings.spool_dir)
    return spool
