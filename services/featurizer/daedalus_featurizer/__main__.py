"""Turns the events of a market into feature rows and bars: `python -m daedalus_featurizer --config FILE`."""

import os
import sys
from importlib.metadata import entry_points
from uuid import uuid4

from daedalus_common.broker.client import connect_to
from daedalus_common.broker.lease_keeper import LeaseKeeper
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.leases import Role
from daedalus_common.service import ServiceContext, StartupError, run_service, wait_for_redis
from daedalus_common.surroundings import watched
from daedalus_features import EXTENSIONS_GROUP, ExtensionError, load_extensions
from daedalus_featurizer.featurizer import Featurizer
from daedalus_featurizer.settings import settings_from


async def run(context: ServiceContext) -> None:
    _load_extensions(context)
    settings = settings_from(context.config)
    client = connect_to(context.config.redis)
    try:
        if await wait_for_redis(client, context.stop, context.health, context.log):
            keeper = LeaseKeeper(
                client, Role.FEATURIZER, context.name, tuple(settings.params), settings.lease_ttl, lambda: uuid4().hex
            )
            async with watched(client):
                await Featurizer(settings, MarketLog(client), keeper, context.health).run(context.stop)
    finally:
        await client.aclose()


def _load_extensions(context: ServiceContext) -> None:
    """Before anything is read: the tables and their columns follow from what is registered."""
    try:
        names = load_extensions(entry_points(group=EXTENSIONS_GROUP))
    except ExtensionError as error:
        raise StartupError(str(error)) from error
    if names:
        context.log.info("extensions loaded", names=", ".join(names))


if __name__ == "__main__":
    sys.exit(
        run_service(
            "featurizer", "Turns the events of a market into feature rows and bars.", run, sys.argv[1:], os.environ
        )
    )
